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
///
/// It also follows their names, addresses and settings, brings into sets what -j SET made of them, and writes what LOG, TRACE and NFLOG tell.
/// All of its state is in the kernel: whenever it ends, what is attached goes on, and the next one takes over.
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

impl Arguments {
    /// Whether there are the files, or can be.
    fn writable(&self) -> Result<(), DaemonError> {
        let lines = self.log_to.iter().filter(|path| path.as_os_str() != "-");
        for path in lines.chain(&self.nflog_to) {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            opened.map_err(|error| DaemonError::Output { path: path.clone(), error })?;
        }
        Ok(())
    }
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

/// What the manual page says beyond the command line.
pub const MANUAL: &[(&str, &str)] = &[
    (
        "SIGNALS",
        "@ SIGTERM, SIGINT
It ends. What is attached stays attached, and the next one takes over.
@ SIGHUP
The files of --log-to and --nflog-to are opened again, for logrotate(8): the old ones are not written to any more.",
    ),
    (
        "EXIT STATUS",
        "@ 0
It was ended by a signal.
@ 1
It could not begin, which standard error says: without the rights, without a BPF file system, with a file that cannot be written, or where \
another agent serves already what it was to serve.
@ 2
The command line is wrong.",
    ),
    (
        "ENVIRONMENT",
        "@ BPFTABLES_LOG
What it says on standard error: error, warn, info (without this), debug or trace, also for parts alone \
(warn,bpftables_runtime=debug).
@ NO_COLOR
Without colours.",
    ),
    (
        "SEVERAL AGENTS",
        "A network namespace is served by one agent. A second one for all namespaces ends with status 1, as does one with --this-namespace \
where one is served already. An agent for all leaves a namespace to one with --this-namespace that was there first, says so, and serves it \
once that one ends.",
    ),
    (
        "WHERE EVENTS GO",
        "Lines of LOG and TRACE go to the kernel's log, with the facility user and the time of writing. Those of other network namespaces than \
the first go there only where net.netfilter.nf_log_all_netns is 1, as legacy's do:

! sysctl net.netfilter.nf_log_all_netns=1

With --log-to a file has those of all namespaces. What programs tell waits in a ring while no agent runs: the next one writes it. What finds \
the ring full, is too much (1000 lines and 10000 packets a second, for each namespace and family) or can't be written is counted by event_lost \
of bpftables status, and packets go on. A file that can't be written, since its disk is full, is told once on standard error, and once more \
when it is over.",
    ),
    (
        "AS A SERVICE",
        "The package's unit reads /etc/default/bpftables, where options stand:

! BPFTABLESD_OPTIONS=\"--log-to /var/log/bpftables/log --nflog-to /var/log/bpftables/nflog.pcapng\"

/var/log/bpftables and /run are what the unit lets it write to. Another directory needs a drop-in (systemctl edit bpftablesd):

! [Service]
! ReadWritePaths=/srv/log

systemctl reload bpftablesd sends SIGHUP.",
    ),
];

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
    let missing = ns::missing_capabilities(&ns::NEEDED)?;
    if !missing.is_empty() {
        return Err(DaemonError::Capabilities(missing.join(", ")));
    }
    // They are opened when there is something to write; whether they can be is said now.
    arguments.writable()?;
    let (termination, hangup) = (wait::termination()?, wait::signals(&[libc::SIGHUP])?);
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
        let signals = wait::readable(&[termination.as_fd(), hangup.as_fd()], LOOK_EVERY)?;
        if signals[0] {
            break;
        }
        if signals[1] {
            wait::take(&hangup)?;
            agent.reopen();
            match arguments.writable() {
                Ok(()) => tracing::info!("files of events are opened again"),
                Err(error) => tracing::error!(%error, "events will be lost"),
            }
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
