//! `bpftables conntrack`: what conntrack(8) does, for the connections that our programs keep.

use crate::admin::AdminError;
use crate::conntrack::{Connection, Event};
use crate::conntrack_filter::Filter;
use crate::engine::Kernel;
use bpftables_ruleset::Family;
use bpftables_runtime::Watched;
use clap::Subcommand;
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

/// What is done.
#[derive(Debug, Subcommand)]
pub(crate) enum ConntrackCommand {
    /// End all of them, as `conntrack -F`.
    Flush,
    /// End those that all options describe, and list them, as `conntrack -D`.
    Delete {
        #[command(flatten)]
        filter: Filter,
    },
    /// List them as conntrack(8) does.
    List {
        #[command(flatten)]
        filter: Filter,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print beginnings, changes and ends as they come, as `conntrack -E`.
    ///
    /// The table is looked at again and again, so that packets pay nothing for it: what comes and goes between two looks is not seen.
    Watch {
        #[command(flatten)]
        filter: Filter,
        /// As JSON, one object a line.
        #[arg(long)]
        json: bool,
        /// Milliseconds between two looks.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
        interval: u64,
    },
    /// Show how many there may be, or set it: for tables that are made from now on (on this machine, until it boots), and for those of this
    /// network namespace. Without this it is nf_conntrack_max when the first rule is made. A table's memory is taken whole when a rule first
    /// tracks: 270 bytes for each connection that there may be, 330 in IPv6.
    Limit {
        /// Connections of each family at most.
        #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
        limit: Option<u32>,
        /// Forget what was set: tables are made for nf_conntrack_max connections again.
        #[arg(long, conflicts_with = "limit")]
        default: bool,
    },
}

pub(crate) fn run(command: ConntrackCommand) -> Result<ExitCode, AdminError> {
    match command {
        ConntrackCommand::Flush => {
            let ended = Kernel::default().engine()?.conntrack_flush()?;
            writeln!(io::stdout(), "{ended} connections ended")?;
            Ok(ExitCode::SUCCESS)
        }
        ConntrackCommand::Delete { filter } => delete(&filter),
        ConntrackCommand::List { filter, json } => list(&filter, json),
        ConntrackCommand::Watch { filter, json, interval } => watch(&filter, json, Duration::from_millis(interval)),
        ConntrackCommand::Limit { limit: Some(limit), .. } => set_limit(limit),
        ConntrackCommand::Limit { default: true, .. } => {
            Kernel::default().engine()?.forget_conntrack_limit()?;
            Ok(ExitCode::SUCCESS)
        }
        ConntrackCommand::Limit { .. } => limits(),
    }
}

/// A family's name for people.
pub(crate) const fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

fn list(filter: &Filter, json: bool) -> Result<ExitCode, AdminError> {
    let found = Kernel::default().engine()?.conntrack_list()?;
    let connections: Vec<Connection> = found.iter().filter(|c| filter.matches(c)).map(Connection::new).collect();
    let mut out = BufWriter::new(io::stdout().lock());
    if json {
        serde_json::to_writer_pretty(&mut out, &connections).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        for connection in &connections {
            writeln!(out, "{}", connection.line())?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn delete(filter: &Filter) -> Result<ExitCode, AdminError> {
    let ended = Kernel::default().engine()?.conntrack_delete(|conn| filter.matches(conn))?;
    let mut out = BufWriter::new(io::stdout().lock());
    for conn in &ended {
        writeln!(out, "{}", Connection::new(conn).line())?;
    }
    out.flush()?;
    writeln!(io::stderr(), "bpftables: {} flow entries have been deleted.", ended.len())?;
    // conntrack(8)'s: nothing to delete is a failure.
    Ok(if ended.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Until nobody reads any more, or a signal.
fn watch(filter: &Filter, json: bool, interval: Duration) -> Result<ExitCode, AdminError> {
    let mut kernel = Kernel::default();
    let mut watched = Watched::default();
    // What is there is no event.
    kernel.engine()?.conntrack_changes(&mut watched)?;
    loop {
        std::thread::sleep(interval);
        let changes = kernel.engine()?.conntrack_changes(&mut watched)?;
        let mut out = BufWriter::new(io::stdout().lock());
        for (change, found) in changes.iter().filter(|(_, found)| filter.matches(found)) {
            let connection = Connection::new(found);
            if json {
                let mut line = serde_json::Serializer::new(&mut out);
                Event::new(*change, connection).serialize(&mut line).map_err(io::Error::from)?;
                writeln!(out)?;
            } else {
                writeln!(out, "{}", connection.event(*change))?;
            }
        }
        out.flush()?;
    }
}

fn limits() -> Result<ExitCode, AdminError> {
    let found = Kernel::default().engine()?.conntrack_limits()?;
    let mut out = io::stdout();
    for table in &found {
        let room = match table.room {
            Some(room) => format!("room for {room}"),
            None => "no rule tracks them yet".to_owned(),
        };
        writeln!(out, "{}: {} connections at most, {room}", name(table.family), table.limit)?;
    }
    if found.is_empty() {
        writeln!(out, "nothing is loaded in this network namespace")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn set_limit(limit: u32) -> Result<ExitCode, AdminError> {
    let small = Kernel::default().engine()?.set_conntrack_limit(limit)?;
    for table in &small {
        writeln!(
            io::stderr(),
            "bpftables: {}: the table has room for {} connections only, its limit stays {}; a larger one is made when the rules are \
             restored after `bpftables uninstall-hooks`",
            name(table.family),
            table.room.unwrap_or_default(),
            table.limit
        )?;
    }
    Ok(if small.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
