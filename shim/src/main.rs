//! The multi-call binary: see the library.

use bpftables::context::Context;
use bpftables::engine::Kernel;
use bpftables::failure::Failure;
use bpftables::multicall::{Program, no_such_program};
use bpftables::names::SystemNames;
use bpftables::{admin, apply, clock, daemon};
use bpftables_parser::ParseError;
use bpftables_ruleset::Family;
use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal as _, LineWriter, Write};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Names the events to be written to standard error, as tracing's filters do (`debug`, `bpftables_runtime=trace`).
const LOG_VARIABLE: &str = "BPFTABLES_LOG";

fn main() -> ExitCode {
    let words: Vec<String> = match std::env::args_os().map(OsString::into_string).collect() {
        Ok(words) => words,
        Err(word) => {
            let failure = Failure::from(ParseError::NotUtf8(word.to_string_lossy().into_owned()));
            let _ = io::stderr().write_all(failure.render(Program::Tables(Family::V4).name(), None).as_bytes());
            return ExitCode::from(failure.code());
        }
    };
    let Some((program, arguments)) = Program::select(&words) else {
        let _ = io::stderr().write_all(no_such_program().as_bytes());
        return ExitCode::FAILURE;
    };
    let told = match (EnvFilter::try_from_env(LOG_VARIABLE), program) {
        (Ok(filter), _) => Some(filter),
        // The agent has no other way to speak.
        (Err(_), Program::Agent) => Some(EnvFilter::new("info")),
        (Err(_), _) => None,
    };
    if let Some(filter) = told {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    }
    let named = || [&[program.name().to_owned()], arguments].concat();
    match program {
        Program::Admin => return admin::run(&named()),
        Program::Agent => return daemon::run(&named()),
        Program::Apply(family) => return ExitCode::from(apply::run(family, arguments)),
        _ => {}
    }
    // As C's streams: lines for a terminal, blocks for others.
    let out = io::stdout().lock();
    let mut stdout: Box<dyn Write> = match out.is_terminal() {
        true => Box::new(LineWriter::with_capacity(1 << 12, out)),
        false => Box::new(BufWriter::with_capacity(1 << 16, out)),
    };
    // The process ends below, with what the engine keeps: to free it piece by piece takes longer.
    let mut kernel = std::mem::ManuallyDrop::new(Kernel::default());
    let mut context = Context {
        backend: &mut *kernel,
        names: &SystemNames::default(),
        stdin: &mut io::stdin().lock(),
        stdout: &mut *stdout,
        stderr: &mut io::stderr(),
        lock_path: Some(admin::lock_path()),
        now: clock::ctime,
        argv0: words.first().cloned().unwrap_or_default(),
    };
    ExitCode::from(bpftables::run(program, arguments, &mut context))
}
