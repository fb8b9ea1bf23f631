//! `iptables`: one command.

use crate::backend::Snapshot;
use crate::context::Context;
use crate::execute::{Effect, Voice, execute};
use crate::failure::{Failure, PROGRAM_VERSION, cannot_initialize};
use crate::lock::Wait;
use crate::multicall::Program;
use bpftables_parser::{Command, Invocation, Verb, parse_command_noticing};
use bpftables_ruleset::{Editor, Family, Ruleset, TableKind, check};
use std::io::Write;

/// Runs one command line.
pub fn run(family: Family, arguments: &[String], context: &mut Context<'_>) -> Result<(), Failure> {
    let program = Program::Tables(family).name();
    let invocation = Invocation { family, restore: false, program };
    let (before_error, command) = parse_command_noticing(arguments, invocation, context.names);
    for notice in &before_error {
        context.notice(notice);
    }
    let command = command?;
    for notice in &command.notices {
        context.notice(notice);
    }
    if answered(program, &command.verb, context.stdout)? {
        return Ok(());
    }
    let _lock = context.lock(Wait::from_seconds(command.wait.unwrap_or(0)))?;
    let kind = TableKind::from_name(&command.table).ok_or_else(|| no_such_table(program, &command.table))?;
    change(family, kind, command, context)
}

/// Prints what a command that asks for help or the version gets. False: it asks for neither.
pub fn answered(program: &str, verb: &Verb, out: &mut dyn Write) -> Result<bool, Failure> {
    match verb {
        Verb::Help { text } => write!(out, "{program} v{PROGRAM_VERSION}\n\n{text}")?,
        Verb::Version { inverted: true } => writeln!(out, "Not {PROGRAM_VERSION} ;-)")?,
        Verb::Version { inverted: false } => writeln!(out, "{program} v{PROGRAM_VERSION}")?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// The failure for a table that no kernel has.
#[must_use]
pub fn no_such_table(program: &str, table: &str) -> Failure {
    Failure::version(format!(
        "can't initialize {program} table `{table}': Table does not exist (do you need to insmod?)"
    ))
}

fn change(family: Family, kind: TableKind, command: Command, context: &mut Context<'_>) -> Result<(), Failure> {
    let program = Program::Tables(family).name();
    let Snapshot { mut ruleset, counters } =
        context.backend.read(family).map_err(|error| cannot_initialize(program, kind.name(), &error))?;
    let first_time = ruleset.table(kind).is_none();
    let dumped = (command.verbose > 1).then(|| ruleset.table_mut(kind).clone());
    let mut editor = Editor::new(ruleset.table_mut(kind));
    let mut voice = Voice { stdout: context.stdout, stderr: context.stderr, names: context.names };
    let checks = matches!(command.verb, Verb::Check { .. });
    let mut effect = execute(&mut editor, command, &*counters, &mut voice);
    drop(editor);
    // Of the table as it was; also when the command was refused, but not when it was no command.
    if let Some(table) = dumped
        && matches!(effect, Ok(_) | Err(Failure::Refused(_)))
    {
        crate::text::dump(context.stdout, &table, family, &*counters)?;
        effect = effect.map_err(Failure::after_dump);
    }
    let changed = matches!(effect, Ok(Effect::Changed));
    let looked = matches!(effect, Ok(Effect::Unchanged)) || checks;
    let result = effect.and_then(|effect| match effect {
        Effect::Changed => put(&mut ruleset, kind, context),
        _ => Ok(()),
    });
    // Legacy's kernel has the table now, whatever became of the command; but the command's answer stands.
    if first_time
        && !(changed && result.is_ok())
        && let Err(error) = context.backend.touch(family, kind)
    {
        tracing::warn!(%error, "the table could not be recorded as initialised");
    }
    // What a failed command did to it is not known.
    if changed && result.is_ok() || looked && !first_time {
        context.backend.keep(ruleset);
    }
    result
}

fn put(ruleset: &mut Ruleset, kind: TableKind, context: &mut Context<'_>) -> Result<(), Failure> {
    if let Some(table) = ruleset.table(kind) {
        check(table)?;
    }
    Ok(context.backend.commit(ruleset, kind)?)
}
