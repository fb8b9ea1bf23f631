//! `bpftables`: what iptables has no command for.

use crate::adopt::{self, Netfilter};
use crate::conntrack_command::{self, ConntrackCommand};
use crate::context::Context;
use crate::daemon;
use crate::documents;
use crate::dry::Dry;
use crate::engine::Kernel;
use crate::failure::Kind;
use crate::lock::{DEFAULT_PATH, Waiting};
use crate::multicall::Program;
use crate::names::SystemNames;
use crate::status;
use crate::words::many;
use bpftables_ruleset::Family;
use bpftables_runtime::sys::ns;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::io::{self, Write};
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
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// The connections that our programs keep.
    Conntrack {
        #[command(subcommand)]
        command: Box<ConntrackCommand>,
    },
    /// Whether forwarded packets may go straight from device to device where the stack would only forward them: in this network namespace
    /// at once, and in those of this machine that get rules later, until the next boot.
    HostRouting {
        /// on (as it is at first) or off.
        switch: Switch,
    },
    /// Write the bytes of the live image that programs read, for debugging.
    DumpImage {
        /// IPv6's.
        #[arg(short = '6', long)]
        ipv6: bool,
        /// Where to.
        file: PathBuf,
    },
    /// Detach everything of ours from the devices of this network namespace and forget rules, counters and connections.
    UninstallHooks {
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Make netfilter's rules of this network namespace ours, with their counters and connections, and remove them there.
    ///
    /// While both sides' rules are in force, for a moment, no packet passes. What is refused leaves everything as it was.
    Adopt {
        /// Whose rules, if both have some.
        #[arg(long, value_enum)]
        from: Option<Netfilter>,
        /// Only say whether it could be done.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Give our rules of this network namespace back to netfilter, with their counters and connections, and detach everything of ours.
    Release {
        /// Who gets them.
        #[arg(long, value_enum, default_value = "legacy")]
        to: Netfilter,
        #[command(flatten)]
        waiting: Waiting,
    },
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

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// Why an administrator's command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    /// Not root.
    #[error("Permission denied (you must be root)")]
    NotRoot,
    /// The kernel's side.
    #[error(transparent)]
    Engine(#[from] bpftables_runtime::EngineError),
    /// The xtables lock.
    #[error(transparent)]
    Lock(#[from] crate::lock::LockError),
    /// It can't be done, and was not begun or was taken back.
    #[error("{0}")]
    Refused(String),
    /// The command line asks for what there can't be.
    #[error("{0}")]
    Usage(String),
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
    let of_the_kernel =
        !matches!(arguments.command, Command::Check { .. } | Command::Completions { .. } | Command::Manual { .. });
    let outcome = match of_the_kernel && ns::effective_uid() != 0 {
        true => Err(AdminError::NotRoot),
        false => execute(arguments.command),
    };
    match outcome {
        Ok(code) => code,
        Err(AdminError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(141),
        Err(error) => {
            let _ = writeln!(io::stderr(), "bpftables: {error}");
            ExitCode::from(match error {
                AdminError::Usage(_) => Kind::Parameter,
                // As iptables' when it does not get the lock.
                AdminError::Lock(_) => Kind::Resource,
                _ => Kind::Other,
            } as u8)
        }
    }
}

/// What the manual page says beyond the command line.
pub const MANUAL: &[(&str, &str)] = &[
    (
        "EXIT STATUS",
        "@ 0
It is done.
@ 1
It is not, which standard error says; of conntrack delete also: there was none. Of check: a rule is refused (or what iptables-restore \
would end with).
@ 2
The command line is wrong.
@ 4
The xtables lock was not to be had.
@ 141
Nobody reads standard output any more.",
    ),
    (
        "ENVIRONMENT",
        "@ XTABLES_LOCKFILE
The file whose lock all commands that change rules hold (/run/xtables.lock without this).
@ BPFTABLES_LOG
What is to be said on standard error of what is done: error, warn, info, debug or trace, also for parts alone \
(warn,bpftables_runtime=debug). Nothing without this.",
    ),
];

/// The command line's description.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

const fn family(ipv6: bool) -> Family {
    if ipv6 { Family::V6 } else { Family::V4 }
}

fn execute(command: Command) -> Result<ExitCode, AdminError> {
    match command {
        Command::Status { json } => status::print(json),
        Command::Conntrack { command } => conntrack_command::run(*command),
        Command::HostRouting { switch } => {
            Kernel::default().engine()?.set_host_routing(switch == Switch::On)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::DumpImage { ipv6, file } => dump_image(family(ipv6), &file),
        Command::UninstallHooks { waiting } => uninstall(waiting),
        Command::Adopt { from, dry_run, waiting } => adopt::adopt(from, dry_run, waiting),
        Command::Release { to, waiting } => adopt::release(to, waiting),
        Command::Check { ipv6, file } => check(family(ipv6), &file),
        Command::Completions { shell } => {
            documents::completions(self::command(), shell, &mut io::stdout().lock());
            Ok(ExitCode::SUCCESS)
        }
        Command::Manual { agent } => {
            let (described, more) = if agent { (daemon::command(), daemon::MANUAL) } else { (self::command(), MANUAL) };
            documents::manual(described, more, &mut io::stdout().lock())?;
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

fn dump_image(family: Family, file: &std::path::Path) -> Result<ExitCode, AdminError> {
    let Some(bytes) = Kernel::default().engine()?.dump_image(family)? else {
        writeln!(io::stderr(), "nothing is loaded in this network namespace")?;
        return Ok(ExitCode::FAILURE);
    };
    std::fs::write(file, bytes)?;
    Ok(ExitCode::SUCCESS)
}

fn uninstall(waiting: Waiting) -> Result<ExitCode, AdminError> {
    let _lock = waiting.acquire(&lock_path())?;
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
        let (tables, chains, rules) = (many(tables.len(), "table"), many(chains, "chain"), many(rules, "rule"));
        writeln!(io::stdout(), "{tables}, {chains}, {rules}: an image of {}", many(dry.lines(), "line"))?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}
