//! The command lines of bpftables: `iptables`, `iptables-save`, `iptables-restore` and the administrator's `bpftables`.
//!
//! Architecture Invariant: legacy's exit codes, and its words for what went wrong with rules and tables, are made in
//! [`failure`] alone.
//! Architecture Invariant: the commands know the datapath as a [`backend::Backend`] only, and the world as a
//! [`context::Context`], so that whole sessions run in a test's process.

mod accounts;
pub mod admin;
mod adopt;
pub mod apply;
pub mod backend;
pub mod clock;
pub mod conntrack;
mod conntrack_command;
pub mod conntrack_filter;
pub mod context;
pub mod daemon;
pub mod documents;
pub mod dry;
mod dump;
pub mod engine;
pub mod execute;
pub mod failure;
pub mod getopt;
pub mod iptables;
mod lines;
pub mod lock;
pub mod multicall;
pub mod names;
pub mod restore;
pub mod save;
mod status;
pub mod text;
mod words;
pub mod xml;

use context::Context;
use failure::{Failure, Located};
use multicall::Program;

/// Runs a program other than `bpftables` and says what went wrong; the exit code. Standard output is flushed.
pub fn run(program: Program, arguments: &[String], context: &mut Context<'_>) -> u8 {
    let result = match program {
        Program::Tables(family) => iptables::run(family, arguments, context).map_err(Located::from),
        Program::Save(family) => save::run(family, arguments, context).map_err(Located::from),
        Program::Restore(family) => restore::run(family, arguments, context),
        Program::Xml => xml::run(arguments, context).map_err(Located::from),
        Program::Apply(_) | Program::Admin | Program::Agent => {
            Err(Failure::plain(2, format!("{} is no iptables command", program.name())).into())
        }
    };
    let mut say = |Located { failure, line }: Located| {
        let text = failure.render(program.name(), line);
        let _ = context.stderr.write_all(text.as_bytes());
        failure.code()
    };
    // As with C's streams: who reads both by one pipe finds the error first, and what was printed before it behind.
    let code = result.err().map(&mut say);
    let flushed = context.stdout.flush().err().map(|error| Located::from(Failure::from(error)));
    match (code, flushed) {
        (Some(code), _) => code,
        (None, Some(broken)) => say(broken),
        (None, None) => 0,
    }
}
