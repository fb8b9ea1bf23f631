//! Time and peak memory of one command.
//!
//! A child's peak memory as the kernel reports it includes that of the process it was forked from, so the
//! command is started by a fresh, small copy of xtask (`measure`) rather than by a bench that holds data.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::sys;

/// The hidden subcommand's command line.
#[derive(Args)]
pub(crate) struct Options {
    /// Network namespace to run in
    #[arg(long)]
    netns: String,
    /// File to read as standard input
    #[arg(long)]
    stdin: Option<PathBuf>,
    /// Kill it after so many seconds
    #[arg(long)]
    limit: u64,
    /// The command
    #[arg(last = true, required = true)]
    argv: Vec<String>,
}

/// What one run took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Exit code, 128 + signal when killed.
    pub(crate) exit: i32,
    /// From fork to the end, in milliseconds.
    pub(crate) wall_ms: f64,
    /// CPU time, in milliseconds.
    pub(crate) user_ms: f64,
    /// CPU time in the kernel, in milliseconds.
    pub(crate) system_ms: f64,
    /// Largest resident set, in KiB.
    pub(crate) peak_kib: u64,
    /// It ran into the limit.
    pub(crate) timed_out: bool,
}

/// The hidden subcommand: runs, waits, prints JSON.
///
/// # Errors
/// The command cannot be started.
pub(crate) fn run(options: &Options) -> Result<()> {
    sys::die_with_parent()?;
    sys::enter_netns(&options.netns).with_context(|| format!("cannot enter {}", options.netns))?;
    // Inherited by the command: what else the machine does moves its time less.
    sys::run_before_others().context("cannot raise the priority")?;
    let input = match &options.stdin {
        Some(path) => std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?.into(),
        None => Stdio::null(),
    };
    let start = Instant::now();
    let child = Command::new(&options.argv[0])
        .args(&options.argv[1..])
        .stdin(input)
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {}", options.argv[0]))?;
    let pid = child.id();
    let limit = Duration::from_secs(options.limit);
    // The pid stays the child's until wait4 returns, and right then the watcher is told.
    let (done, finished) = std::sync::mpsc::channel::<()>();
    let watcher = std::thread::spawn(move || {
        let late = finished.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if late {
            sys::kill(pid);
        }
        late
    });
    let usage = sys::wait_with_usage(pid)?;
    let wall = start.elapsed();
    let _ = done.send(());
    let timed_out = watcher.join().unwrap_or(false);
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let measured = Measured {
        exit: usage.exit,
        wall_ms: ms(wall),
        user_ms: ms(usage.user),
        system_ms: ms(usage.system),
        peak_kib: usage.peak_kib,
        timed_out,
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

/// Runs `argv` in the namespace and reports what it took; a failure of the command is an error that
/// carries its messages.
///
/// # Errors
/// It cannot be started, exits other than 0, or runs into the limit.
pub(crate) fn measure(netns: &str, stdin: Option<&Path>, limit: Duration, argv: &[&str]) -> Result<Measured> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["measure", "--netns", netns, "--limit", &limit.as_secs().max(1).to_string()]);
    if let Some(path) = stdin {
        command.arg("--stdin").arg(path);
    }
    let output = command.arg("--").args(argv).output().context("cannot start the measuring process")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint: String = complaint.trim().chars().take(400).collect();
    if !output.status.success() {
        bail!("measuring `{}` failed: {complaint}", argv.join(" "));
    }
    let measured: Measured = serde_json::from_slice(&output.stdout).context("the measuring process printed no JSON")?;
    if measured.timed_out {
        bail!("`{}` took more than {} s", argv.join(" "), limit.as_secs());
    }
    if measured.exit != 0 {
        bail!("`{}` exited with {}: {complaint}", argv.join(" "), measured.exit);
    }
    Ok(measured)
}
