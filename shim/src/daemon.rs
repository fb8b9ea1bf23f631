//! `bpftablesd`: the agent. It attaches to devices as they appear and follows addresses, in every network namespace that has rules of
//! ours. All of its state is in the kernel: whenever it ends, what is attached goes on, and the next one takes over.

use bpftables_runtime::sys::{ns, wait};
use bpftables_runtime::{Agent, EngineError, Outputs, Sink};
use clap::{CommandFactory, Parser};
use sd_notify::NotifyState;
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Between two looks for network namespaces.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Attaches bpftables' programs to devices as they appear, in every network namespace that has rules.
#[derive(Debug, Parser)]
#[command(name = "bpftablesd", version)]
struct Arguments {
    /// Serve only the network namespace that it is started in.
    #[arg(long)]
    this_namespace: bool,
    /// Write the lines of LOG and TRACE to a file, or with `-` to standard error, not to the kernel's log.
    ///
    /// Each line begins with the time at which the packet was seen (UTC), the level and, unless --this-namespace is given, the network
    /// namespace (`host`, `netns/NAME`, or `cookie/NUMBER` where it has no name).
    #[arg(long, value_name = "FILE")]
    log_to: Option<PathBuf>,
    /// Write packets of NFLOG to a file too (pcapng, link type NFLOG), whether their group has a listener or not.
    #[arg(long, value_name = "FILE")]
    nflog_to: Option<PathBuf>,
}

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
enum DaemonError {
    /// Not root.
    #[error("Permission denied (you must be root)")]
    NotRoot,
    /// Root without the rights.
    #[error("{0} is missing (expected root with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN)")]
    Capabilities(String),
    /// A file that events are to be written to.
    #[error("cannot write to {path}: {error}")]
    Output {
        /// Its name.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// There is one already.
    #[error("another agent runs already: there is nothing to do for a second one")]
    Second,
    /// The kernel's side.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Waiting.
    #[error("cannot wait: {0}")]
    Wait(#[from] io::Error),
}

/// The command line's description.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs a command line, of which the first word is the program's name, until SIGTERM.
pub fn run(words: &[String]) -> ExitCode {
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "bpftablesd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> Result<(), DaemonError> {
    if ns::effective_uid() != 0 {
        return Err(DaemonError::NotRoot);
    }
    let missing = ns::missing_capabilities()?;
    if !missing.is_empty() {
        return Err(DaemonError::Capabilities(missing.join(", ")));
    }
    let to_file = arguments.log_to.iter().filter(|path| path.as_os_str() != "-");
    for path in to_file.chain(&arguments.nflog_to) {
        // They are opened when there is something to write; whether they can be is said now.
        let opened = OpenOptions::new().create(true).append(true).open(path);
        opened.map_err(|error| DaemonError::Output { path: path.clone(), error })?;
    }
    let termination = wait::termination()?;
    let only = if arguments.this_namespace { Some(BTreeSet::from([ns::netns_cookie()?])) } else { None };
    let sink = match &arguments.log_to {
        None => Sink::Kernel,
        Some(path) if path.as_os_str() == "-" => Sink::Stderr,
        Some(path) => Sink::File(path.clone()),
    };
    let mut agent =
        Agent::open(only, Outputs { lines: sink, packets: arguments.nflog_to.clone() })?.ok_or(DaemonError::Second)?;
    let found = agent.look()?;
    notify(&[NotifyState::Ready, NotifyState::Status(&status(found.namespaces))]);
    tracing::info!(namespaces = found.namespaces, "serving");
    loop {
        if wait::readable(&[termination.as_fd()], LOOK_EVERY)?[0] {
            break;
        }
        match agent.look() {
            Ok(found) => {
                for cookie in &found.taken_up {
                    tracing::info!(cookie = format!("{cookie:x}"), "network namespace taken up");
                }
                for cookie in &found.left {
                    tracing::info!(cookie = format!("{cookie:x}"), "network namespace left");
                }
                if !found.taken_up.is_empty() || !found.left.is_empty() {
                    notify(&[NotifyState::Status(&status(found.namespaces))]);
                }
                notify(&[NotifyState::Watchdog]);
            }
            // The watchdog is not fed: if it goes on like this, systemd begins anew.
            Err(error) => tracing::error!(%error, "cannot look for network namespaces"),
        }
    }
    notify(&[NotifyState::Stopping]);
    agent.stop();
    tracing::info!("ended; what is attached stays");
    Ok(())
}

fn status(namespaces: usize) -> String {
    format!("serving {namespaces} network namespaces")
}

/// Whoever is not there is not told.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
