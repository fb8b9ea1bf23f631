//! `bpftables`: what iptables has no command for.

use crate::context::Context;
use crate::dry::Dry;
use crate::engine::Kernel;
use crate::lock::{DEFAULT_PATH, Wait, XtablesLock};
use crate::multicall::Program;
use crate::names::SystemNames;
use bpftables_ruleset::Family;
use clap::{Parser, Subcommand};
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
    /// Detach everything of ours from the devices of this network namespace and forget rules, counters and connections.
    UninstallHooks,
    /// Say whether iptables-restore could load a file; nothing is changed.
    Check {
        /// A file as iptables-save writes it.
        file: PathBuf,
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

fn execute(command: Command) -> Result<ExitCode, AdminError> {
    match command {
        Command::UninstallHooks => uninstall(),
        Command::Check { file } => check(&file),
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

fn uninstall() -> Result<ExitCode, AdminError> {
    let _lock = XtablesLock::acquire(&lock_path(), Wait::Forever)?;
    let was_there = Kernel::default().engine()?.uninstall()?;
    let mut out = io::stdout();
    writeln!(out, "{}", if was_there { "removed" } else { "nothing to remove" })?;
    Ok(ExitCode::SUCCESS)
}

fn check(file: &std::path::Path) -> Result<ExitCode, AdminError> {
    let mut dry = Dry::default();
    let lock_path = std::env::temp_dir().join(format!("bpftables-check-{}.lock", std::process::id()));
    let program = Program::Restore(Family::V4);
    let code = {
        let mut context = Context {
            backend: &mut dry,
            names: &SystemNames::default(),
            stdin: &mut io::empty(),
            stdout: &mut io::stdout(),
            stderr: &mut io::stderr(),
            lock_path: lock_path.clone(),
            now: crate::clock::ctime,
            argv0: program.name().to_owned(),
        };
        crate::run(program, &["--".to_owned(), file.display().to_string()], &mut context)
    };
    let _ = std::fs::remove_file(lock_path);
    if code == 0 {
        let tables = &dry.ruleset().tables;
        let chains: usize = tables.iter().map(|table| table.chains().count()).sum();
        let rules: usize = tables.iter().flat_map(|table| table.chains()).map(|chain| chain.rules.len()).sum();
        let (tables, lines) = (tables.len(), dry.lines());
        writeln!(io::stdout(), "{tables} tables, {chains} chains, {rules} rules: an image of {lines} lines")?;
    }
    Ok(ExitCode::from(code))
}
