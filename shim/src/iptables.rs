//! `iptables`: one command.

use crate::backend::{BackendError, Part, Snapshot};
use crate::context::Context;
use crate::execute::{Effect, Voice, execute, is_of_one_chain};
use crate::failure::{Failure, PROGRAM_VERSION, cannot_initialize};
use crate::lock::Wait;
use crate::multicall::Program;
use bpftables_parser::{Command, Invocation, Verb, parse_command_noticing};
use bpftables_ruleset::edit::merge;
use bpftables_ruleset::{Editor, Family, Ruleset, Table, TableKind, check};
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
    let cannot = |error| cannot_initialize(program, kind.name(), &error);
    if is_of_one_chain(&command)
        && let Some(part) = context.backend.part(family, kind).map_err(cannot)?
    {
        return change_part(family, kind, command, &part, context);
    }
    let Snapshot { mut ruleset, counters } = context.backend.read(family).map_err(cannot)?;
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

/// The same for a command about one chain: the others are not read.
fn change_part(
    family: Family,
    kind: TableKind,
    command: Command,
    part: &Part,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let mut table = Table::new(family, kind);
    let mut editor = Editor::of_parts(&mut table, &*part.source);
    let mut voice = Voice { stdout: context.stdout, stderr: context.stderr, names: context.names };
    let effect = execute(&mut editor, command, &*part.counters, &mut voice);
    let edited = editor.finish();
    if !part.source.is_sound() {
        return Err(unsound(family, kind, context));
    }
    let effect = effect?;
    if effect == Effect::Unchanged || context.backend.commit_part(&mut table, &edited.refilled)? {
        return Ok(());
    }
    // Whether it can be done, and what is to be said if not, only the whole tells.
    let program = Program::Tables(family).name();
    let whole = context.backend.read(family).map_err(|error| cannot_initialize(program, kind.name(), &error))?;
    let mut ruleset = whole.ruleset;
    merge(ruleset.table_mut(kind), table, &edited.taken);
    put(&mut ruleset, kind, context)?;
    context.backend.keep(ruleset);
    Ok(())
}

/// What is wrong with what is in force; if nothing is, somebody changed it while it was read.
pub fn unsound(family: Family, kind: TableKind, context: &mut Context<'_>) -> Failure {
    let error = context.backend.read(family).err();
    let error = error.unwrap_or_else(|| BackendError::Raced("the rules changed meanwhile: try again".to_owned()));
    cannot_initialize(Program::Tables(family).name(), kind.name(), &error)
}

fn put(ruleset: &mut Ruleset, kind: TableKind, context: &mut Context<'_>) -> Result<(), Failure> {
    if let Some(table) = ruleset.table(kind) {
        check(table)?;
    }
    Ok(context.backend.commit(ruleset, kind)?)
}
