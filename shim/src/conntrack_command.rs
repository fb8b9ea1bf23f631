//! `bpftables conntrack`: what conntrack(8) does, for the connections that our programs keep.

use crate::admin::AdminError;
use crate::conntrack::{Connection, Detail, Event};
use crate::conntrack_filter::Filter;
use crate::engine::Kernel;
use crate::words::many;
use bpftables_ruleset::Family;
use bpftables_runtime::{Change, Connection as Found, Watched};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is done.
#[derive(Debug, Subcommand)]
pub(crate) enum ConntrackCommand {
    /// End all of them, as `conntrack -F`.
    #[command(short_flag = 'F')]
    Flush,
    /// End those that all options describe, and list them, as `conntrack -D`.
    #[command(short_flag = 'D')]
    Delete {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        output: Output,
    },
    /// List them, as `conntrack -L`.
    #[command(short_flag = 'L')]
    List {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        output: Output,
    },
    /// Print how many there are (of those that all options describe), as `conntrack -C`.
    #[command(short_flag = 'C')]
    Count {
        #[command(flatten)]
        filter: Filter,
    },
    /// Print beginnings, changes and ends as they come, as `conntrack -E`.
    ///
    /// The table is looked at again and again, so that packets pay nothing for it: what comes and goes between two looks is not seen.
    #[command(short_flag = 'E')]
    Watch {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        output: Output,
        /// Only these, separated by commas.
        #[arg(short = 'e', long, value_delimiter = ',', ignore_case = true, value_name = "EVENT,...")]
        event_mask: Vec<EventKind>,
        /// Milliseconds between two looks.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
        interval: u64,
    },
    /// Show how many there may be, or set it: for tables that are made from now on (on this machine, until it boots), and for those of this
    /// network namespace. Without this it is nf_conntrack_max when the first rule is made. A table's memory is taken whole when a rule first
    /// tracks: 270 bytes for each connection that there may be, 330 in IPv6.
    Limit(NewLimit),
}

/// What becomes of the limit; without any of them it is shown.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct NewLimit {
    /// Connections of each family at most.
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    limit: Option<u32>,
    /// Forget what was set: tables are made for nf_conntrack_max connections again. Those that there are keep their limits.
    #[arg(long)]
    default: bool,
}

/// How connections are printed.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// As JSON; of events one object a line.
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// What lines tell beyond the usual, separated by commas.
    #[arg(short = 'o', long, value_delimiter = ',', ignore_case = true, value_name = "DETAIL,...")]
    output: Vec<Detail>,
}

/// What becomes of connections, as conntrack(8) calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub(crate) enum EventKind {
    /// They begin.
    New,
    /// They change.
    Updates,
    /// They end.
    Destroy,
    /// Any of these.
    All,
}

impl EventKind {
    fn holds(self, change: Change) -> bool {
        match self {
            Self::New => change == Change::New,
            Self::Updates => change == Change::Updated,
            Self::Destroy => change == Change::Destroyed,
            Self::All => true,
        }
    }
}

pub(crate) fn run(command: ConntrackCommand) -> Result<ExitCode, AdminError> {
    match command {
        ConntrackCommand::Flush => {
            let ended = Kernel::default().engine()?.conntrack_flush()?;
            writeln!(io::stdout(), "{} ended", many(ended, "connection"))?;
            Ok(ExitCode::SUCCESS)
        }
        ConntrackCommand::Delete { filter, output } => delete(&verified(filter)?, &output),
        ConntrackCommand::List { filter, output } => list(&verified(filter)?, &output),
        ConntrackCommand::Count { filter } => count(&verified(filter)?),
        ConntrackCommand::Watch { filter, output, event_mask, interval } => {
            watch(&verified(filter)?, &output, &event_mask, Duration::from_millis(interval))
        }
        ConntrackCommand::Limit(NewLimit { limit: Some(limit), .. }) => set_limit(limit),
        ConntrackCommand::Limit(NewLimit { default: true, .. }) => forget_limit(),
        ConntrackCommand::Limit(_) => limits(),
    }
}

/// A family's name for people.
pub(crate) const fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

fn verified(filter: Filter) -> Result<Filter, AdminError> {
    filter.verify().map(|()| filter).map_err(AdminError::Usage)
}

/// Prints them, and says of text how many there were.
fn print(found: &[Found], output: &Output, done: &str) -> Result<(), AdminError> {
    let connections = found.iter().map(Connection::new);
    let mut out = BufWriter::new(io::stdout().lock());
    if output.json {
        serde_json::to_writer_pretty(&mut out, &connections.collect::<Vec<_>>()).map_err(io::Error::from)?;
        writeln!(out)?;
        out.flush()?;
        return Ok(());
    }
    for connection in connections {
        writeln!(out, "{}", connection.line(&output.output))?;
    }
    out.flush()?;
    writeln!(io::stderr(), "bpftables: {} flow entries have been {done}.", found.len())?;
    Ok(())
}

fn found(filter: &Filter) -> Result<Vec<Found>, AdminError> {
    let mut found = Kernel::default().engine()?.conntrack_list()?;
    found.retain(|connection| filter.matches(connection));
    Ok(found)
}

fn list(filter: &Filter, output: &Output) -> Result<ExitCode, AdminError> {
    print(&found(filter)?, output, "shown")?;
    Ok(ExitCode::SUCCESS)
}

fn count(filter: &Filter) -> Result<ExitCode, AdminError> {
    writeln!(io::stdout(), "{}", found(filter)?.len())?;
    Ok(ExitCode::SUCCESS)
}

fn delete(filter: &Filter, output: &Output) -> Result<ExitCode, AdminError> {
    let ended = Kernel::default().engine()?.conntrack_delete(|conn| filter.matches(conn))?;
    print(&ended, output, "deleted")?;
    // conntrack(8)'s: nothing to delete is a failure.
    Ok(if ended.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Until nobody reads any more, or a signal.
fn watch(filter: &Filter, output: &Output, kinds: &[EventKind], interval: Duration) -> Result<ExitCode, AdminError> {
    let mut kernel = Kernel::default();
    let mut watched = Watched::default();
    // What is there is no event.
    kernel.engine()?.conntrack_changes(&mut watched)?;
    let wanted = |change: Change| kinds.is_empty() || kinds.iter().any(|kind| kind.holds(change));
    loop {
        std::thread::sleep(interval);
        let changes = kernel.engine()?.conntrack_changes(&mut watched)?;
        let seen = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut out = BufWriter::new(io::stdout().lock());
        for (change, found) in changes.iter().filter(|(change, found)| wanted(*change) && filter.matches(found)) {
            let connection = Connection::new(found);
            if output.json {
                let mut line = serde_json::Serializer::new(&mut out);
                Event::new(*change, connection).serialize(&mut line).map_err(io::Error::from)?;
                writeln!(out)?;
                continue;
            }
            if output.output.contains(&Detail::Timestamp) {
                write!(out, "[{}.{:06}]\t", seen.as_secs(), seen.subsec_micros())?;
            }
            writeln!(out, "{}", connection.event(*change, &output.output))?;
        }
        out.flush()?;
    }
}

fn limits() -> Result<ExitCode, AdminError> {
    let mut kernel = Kernel::default();
    let engine = kernel.engine()?;
    let (found, (to_come, set)) = (engine.conntrack_limits()?, engine.conntrack_limit_to_come()?);
    let mut out = io::stdout();
    for table in &found {
        let room = match table.room {
            Some(room) => format!("room for {room}"),
            None => "no rule tracks them yet".to_owned(),
        };
        writeln!(out, "{}: {} at most, {room}", name(table.family), many(table.limit as usize, "connection"))?;
    }
    if found.is_empty() {
        writeln!(out, "nothing is loaded in this network namespace")?;
    }
    let why = if set { "set on this machine until it boots" } else { "nf_conntrack_max" };
    writeln!(out, "tables that are made from now on: {} at most, {why}", many(to_come as usize, "connection"))?;
    Ok(ExitCode::SUCCESS)
}

fn forget_limit() -> Result<ExitCode, AdminError> {
    let mut kernel = Kernel::default();
    let engine = kernel.engine()?;
    engine.forget_conntrack_limit()?;
    let (to_come, _) = engine.conntrack_limit_to_come()?;
    for table in engine.conntrack_limits()?.iter().filter(|table| table.limit != to_come) {
        writeln!(
            io::stderr(),
            "bpftables: {}: the table that is there keeps its limit of {}; `bpftables conntrack limit {to_come}` changes it",
            name(table.family),
            many(table.limit as usize, "connection")
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn set_limit(limit: u32) -> Result<ExitCode, AdminError> {
    let small = Kernel::default().engine()?.set_conntrack_limit(limit)?;
    for table in &small {
        writeln!(
            io::stderr(),
            "bpftables: {}: the table has room for {} only, its limit stays {}; a larger one is made when the rules are \
             restored after `bpftables uninstall-hooks`",
            name(table.family),
            many(table.room.unwrap_or_default() as usize, "connection"),
            table.limit
        )?;
    }
    Ok(if small.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
