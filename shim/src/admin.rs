//! `bpftables`: what iptables has no command for.

use crate::conntrack::Connection;
use crate::conntrack_filter::Filter;
use crate::context::Context;
use crate::daemon;
use crate::documents;
use crate::dry::Dry;
use crate::engine::Kernel;
use crate::lock::{DEFAULT_PATH, Wait, XtablesLock};
use crate::multicall::Program;
use crate::names::SystemNames;
use bpftables_ruleset::Family;
use bpftables_runtime::{Coverage, Framing, Hooked};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Looks at and removes what the commands named iptables have put into this network namespace.
#[derive(Debug, Parser)]
#[command(name = "bpftables", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what is loaded and attached in this network namespace.
    Status,
    /// The connections that our programs keep.
    Conntrack {
        #[command(subcommand)]
        command: ConntrackCommand,
    },
    /// Write the bytes of the live image that programs read, for debugging.
    DumpImage {
        /// Where to.
        file: PathBuf,
    },
    /// Detach everything of ours from the devices of this network namespace and forget rules, counters and connections.
    UninstallHooks,
    /// Say whether iptables-restore could load a file, and which rules are in the way; nothing is changed.
    Check {
        /// The file is ip6tables'.
        #[arg(short = '6', long)]
        ipv6: bool,
        /// A file as iptables-save writes it.
        file: PathBuf,
    },
    /// Print what a shell needs to complete the words of this command.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page, for packages.
    #[command(hide = true)]
    Manual {
        /// The agent's.
        #[arg(long)]
        agent: bool,
    },
}

#[derive(Debug, Subcommand)]
enum ConntrackCommand {
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
}

/// Why an administrator's command failed.
#[derive(Debug, thiserror::Error)]
enum AdminError {
    /// The kernel's side.
    #[error(transparent)]
    Engine(#[from] bpftables_runtime::EngineError),
    /// The xtables lock.
    #[error(transparent)]
    Lock(#[from] crate::lock::LockError),
    /// Output.
    #[error("cannot write: {0}")]
    Io(#[from] io::Error),
}

/// Runs a command line, of which the first word is the program's name.
pub fn run(words: &[String]) -> ExitCode {
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match execute(arguments.command) {
        Ok(code) => code,
        Err(AdminError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(141),
        Err(error) => {
            let _ = writeln!(io::stderr(), "bpftables: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The command line's description.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

fn execute(command: Command) -> Result<ExitCode, AdminError> {
    match command {
        Command::Status => status(),
        Command::Conntrack { command: ConntrackCommand::List { filter, json } } => conntrack(&filter, json),
        Command::Conntrack { command: ConntrackCommand::Delete { filter } } => delete(&filter),
        Command::Conntrack { command: ConntrackCommand::Flush } => {
            let ended = Kernel::default().engine()?.conntrack_flush()?;
            writeln!(io::stdout(), "{ended} connections ended")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::DumpImage { file } => dump_image(&file),
        Command::UninstallHooks => uninstall(),
        Command::Check { ipv6, file } => check(if ipv6 { Family::V6 } else { Family::V4 }, &file),
        Command::Completions { shell } => {
            documents::completions(self::command(), shell, &mut io::stdout().lock());
            Ok(ExitCode::SUCCESS)
        }
        Command::Manual { agent } => {
            let described = if agent { daemon::command() } else { self::command() };
            documents::manual(described, &mut io::stdout().lock())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Where the xtables lock is.
#[must_use]
pub fn lock_path() -> PathBuf {
    match std::env::var_os("XTABLES_LOCKFILE") {
        Some(path) if !path.is_empty() => path.into(),
        _ => DEFAULT_PATH.into(),
    }
}

fn status() -> Result<ExitCode, AdminError> {
    let mut kernel = Kernel::default();
    let engine = kernel.engine()?;
    let mut out = BufWriter::new(io::stdout().lock());
    let Some(status) = engine.status()? else {
        writeln!(out, "nothing is loaded in this network namespace")?;
        return Ok(ExitCode::SUCCESS);
    };
    let connections = engine.conntrack_list()?.len();
    let (object, ours) = &status.object;
    writeln!(out, "state        {}", status.location)?;
    let whose = if *ours { "of this version" } else { "of another version" };
    writeln!(out, "programs     {object}, layouts {}, {whose}", status.abi)?;
    writeln!(out, "generation   {} in slot {}", status.generation, status.slot)?;
    writeln!(out, "image        {} lines for the programs, {} bytes in all", status.lines, status.bytes)?;
    for (name, chains, rules) in &status.tables {
        writeln!(out, "table        {name}: {rules} rules, {chains} user chains")?;
    }
    writeln!(out, "connections  {connections} of at most {}", status.max_connections)?;
    let guard = match status.guards {
        0 => "off: nothing but ACCEPT policies, or not known to this kernel",
        _ => "on: what uses a device without our programs is dropped",
    };
    writeln!(out, "guard        {guard}")?;
    for device in &status.devices {
        let note = match device.coverage {
            Coverage::Attached(Framing::Ethernet | Framing::Raw) => String::new(),
            Coverage::Lower => ", owned by another device".to_owned(),
            Coverage::Vrf => ", a VRF: the guard drops its packets".to_owned(),
            Coverage::Unknown(kind) => {
                format!(", link header of unknown kind {kind}: no program fits, the guard drops its IP packets")
            }
        };
        let (ingress, egress) = (hooked(device.ingress), hooked(device.egress));
        writeln!(out, "device       {} ({}): ingress {ingress}, egress {egress}{note}", device.name, device.ifindex)?;
    }
    for (name, old, ours) in &status.settings {
        writeln!(out, "setting      {name}: {ours}, was {old}")?;
    }
    for stat in engine.stats()?.iter().filter(|stat| stat.count > 0) {
        writeln!(out, "statistic    {} {}: {}", stat.name, stat.count, stat.meaning)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

const fn hooked(hooked: Hooked) -> &'static str {
    match hooked {
        Hooked::No => "not ours",
        Hooked::First => "ours",
        Hooked::Behind => "ours, behind another program",
    }
}

fn conntrack(filter: &Filter, json: bool) -> Result<ExitCode, AdminError> {
    let found = Kernel::default().engine()?.conntrack_list()?;
    let connections: Vec<Connection> =
        found.iter().filter(|c| filter.matches(&c.conn)).map(|c| Connection::new(&c.conn, c.remaining)).collect();
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
        writeln!(out, "{}", Connection::new(&conn.conn, conn.remaining).line())?;
    }
    out.flush()?;
    writeln!(io::stderr(), "bpftables: {} flow entries have been deleted.", ended.len())?;
    // conntrack(8)'s: nothing to delete is a failure.
    Ok(if ended.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn dump_image(file: &std::path::Path) -> Result<ExitCode, AdminError> {
    let Some(bytes) = Kernel::default().engine()?.dump_image()? else {
        writeln!(io::stderr(), "nothing is loaded in this network namespace")?;
        return Ok(ExitCode::FAILURE);
    };
    std::fs::write(file, bytes)?;
    Ok(ExitCode::SUCCESS)
}

fn uninstall() -> Result<ExitCode, AdminError> {
    let _lock = XtablesLock::acquire(&lock_path(), Wait::Forever)?;
    let was_there = Kernel::default().engine()?.uninstall()?;
    let mut out = io::stdout();
    writeln!(out, "{}", if was_there { "removed" } else { "nothing to remove" })?;
    Ok(ExitCode::SUCCESS)
}

fn check(family: Family, file: &std::path::Path) -> Result<ExitCode, AdminError> {
    let mut dry = Dry::default();
    let program = Program::Restore(family);
    let code = {
        let mut context = Context {
            backend: &mut dry,
            names: &SystemNames::default(),
            stdin: &mut io::empty(),
            stdout: &mut io::stdout(),
            stderr: &mut io::stderr(),
            lock_path: None,
            now: crate::clock::ctime,
            argv0: program.name().to_owned(),
        };
        crate::run(program, &["--".to_owned(), file.display().to_string()], &mut context)
    };
    if code != 0 {
        return Ok(ExitCode::from(code));
    }
    for error in dry.refused() {
        writeln!(io::stdout(), "{error}")?;
    }
    if dry.refused().is_empty() {
        let tables = &dry.ruleset(family).tables;
        let chains: usize = tables.iter().map(|table| table.chains().count()).sum();
        let rules: usize = tables.iter().flat_map(|table| table.chains()).map(|chain| chain.rules.len()).sum();
        let (tables, lines) = (tables.len(), dry.lines());
        writeln!(io::stdout(), "{tables} tables, {chains} chains, {rules} rules: an image of {lines} lines")?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}
