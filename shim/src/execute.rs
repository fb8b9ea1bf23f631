//! One parsed command, done to one table.

use crate::failure::Failure;
use bpftables_parser::{AlsoZero, Command, RuleSpec, Verb};
use bpftables_ruleset::edit::{EditError, Editor};
use bpftables_ruleset::{Chain, CounterView, Counters, Names, Rule};
use std::io::Write;

/// Whether a command left the table as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing to commit.
    Unchanged,
    /// Something to commit.
    Changed,
}

/// Where a command's words go, and what it needs to say them.
pub struct Voice<'a> {
    /// Standard output.
    pub stdout: &'a mut dyn Write,
    /// Standard error.
    pub stderr: &'a mut dyn Write,
    /// Names for listings without `-n`.
    pub names: &'a dyn Names,
}

/// Does what `command` says to the table that `editor` holds. Prints what legacy prints. An error means that the table is to be thrown
/// away: part of the command may have been done.
pub fn execute(
    editor: &mut Editor<'_>,
    command: Command,
    view: &dyn CounterView,
    voice: &mut Voice<'_>,
) -> Result<Effect, Failure> {
    let verbose = command.verbose > 0;
    if let Some(chain) = chain_of(&command.verb) {
        editor.load(chain);
    }
    let effect = match command.verb {
        Verb::Append { chain, rule } => {
            edit_all(editor, *rule, verbose, voice, |editor, rule| editor.append(&chain, rule))?
        }
        Verb::Insert { chain, position, rule } => {
            edit_all(editor, *rule, verbose, voice, |editor, rule| editor.insert(&chain, position, rule))?
        }
        Verb::Replace { chain, position, rule } => {
            edit_all(editor, *rule, verbose, voice, |editor, rule| editor.replace(&chain, position, rule))?
        }
        Verb::Delete { chain, rule } => {
            edit_all(editor, *rule, verbose, voice, |editor, rule| editor.delete(&chain, &rule))?
        }
        Verb::Check { chain, rule } => {
            edit_all(editor, *rule, verbose, voice, |editor, rule| editor.check(&chain, &rule))?;
            Effect::Unchanged
        }
        Verb::DeleteNumber { chain, position } => {
            editor.delete_number(&chain, position)?;
            Effect::Changed
        }
        Verb::List { ref chain, position, zero } => {
            crate::text::list(voice, editor.table(), &command, chain.as_deref(), position, view)?;
            also_zero(editor, chain.as_deref(), position, zero, verbose, view, voice)?
        }
        Verb::ListRules { ref chain, position, zero } => {
            crate::text::list_rules(voice, editor.table(), &command, chain.as_deref(), position, view)?;
            also_zero(editor, chain.as_deref(), position, zero, verbose, view, voice)?
        }
        Verb::Flush { chain } => flush(editor, chain.as_deref(), verbose, voice)?,
        Verb::Zero { chain } => zero_chains(editor, chain.as_deref(), verbose, view, voice)?,
        Verb::ZeroNumber { chain, position } => zero_number(editor, &chain, position, view)?,
        Verb::NewChain { chain } => {
            editor.new_chain(&chain)?;
            Effect::Changed
        }
        Verb::DeleteChain { chain } => delete_chains(editor, chain.as_deref(), verbose, voice)?,
        Verb::Rename { chain, to } => {
            editor.rename_chain(&chain, &to)?;
            Effect::Changed
        }
        Verb::Policy { chain, policy, counters } => set_policy(editor, &chain, &policy, counters, view)?,
        Verb::Help { .. } | Verb::Version { .. } | Verb::Nothing => Effect::Unchanged,
    };
    Ok(effect)
}

/// The one chain that a command is about.
fn chain_of(verb: &Verb) -> Option<&str> {
    match verb {
        Verb::Append { chain, .. }
        | Verb::Insert { chain, .. }
        | Verb::Replace { chain, .. }
        | Verb::Delete { chain, .. }
        | Verb::Check { chain, .. }
        | Verb::DeleteNumber { chain, .. }
        | Verb::ZeroNumber { chain, .. }
        | Verb::NewChain { chain }
        | Verb::Policy { chain, .. } => Some(chain),
        Verb::Flush { chain } | Verb::Zero { chain } | Verb::DeleteChain { chain } => chain.as_deref(),
        _ => None,
    }
}

/// Whether a command can be done to a table of which only some chains are in memory.
#[must_use]
pub fn is_of_one_chain(command: &Command) -> bool {
    chain_of(&command.verb).is_some() && command.verbose <= 1
}

/// Sets a policy and its counters. Without counters legacy's library starts them at zero (its `COUNTER_MAP_NOMAP`).
pub fn set_policy(
    editor: &mut Editor<'_>,
    chain: &str,
    policy: &str,
    counters: Option<Counters>,
    view: &dyn CounterView,
) -> Result<Effect, EditError> {
    editor.load(chain);
    let state = |editor: &Editor<'_>| editor.chain(chain).map(|chain| (chain.policy, chain.counters(view)));
    let before = state(editor);
    editor.set_policy(chain, policy, Some(counters.unwrap_or_default()), view)?;
    Ok(if before == state(editor) { Effect::Unchanged } else { Effect::Changed })
}

/// Does `edit` with every rule that `spec` stands for. Like legacy it goes on after a refusal and reports the last one.
fn edit_all(
    editor: &mut Editor<'_>,
    spec: RuleSpec,
    verbose: bool,
    voice: &mut Voice<'_>,
    mut edit: impl FnMut(&mut Editor<'_>, Rule) -> Result<(), EditError>,
) -> Result<Effect, Failure> {
    let family = editor.family();
    let resolved = spec.resolve(|name| editor.is_chain(name))?;
    if let Some(notice) = resolved.notice {
        let _ = writeln!(voice.stderr, "{notice}");
    }
    let mut result = Ok(());
    for rule in resolved.rules {
        if verbose {
            crate::text::echo(voice, &rule, family)?;
        }
        if let Err(error) = edit(editor, rule) {
            result = Err(error);
        }
    }
    result?;
    Ok(Effect::Changed)
}

/// The names of the chains a command is about: the one it names, or all in legacy's order.
fn chain_names(editor: &mut Editor<'_>, chain: Option<&str>, builtin: bool) -> Vec<String> {
    match chain {
        Some(chain) => vec![chain.to_owned()],
        None => {
            let wanted = |chain: &&Chain| builtin || chain.policy.is_none();
            editor.table().chains().filter(wanted).map(|chain| chain.name.to_string()).collect()
        }
    }
}

fn flush(
    editor: &mut Editor<'_>,
    chain: Option<&str>,
    verbose: bool,
    voice: &mut Voice<'_>,
) -> Result<Effect, Failure> {
    let mut effect = Effect::Unchanged;
    for name in chain_names(editor, chain, true) {
        if verbose {
            writeln!(voice.stdout, "Flushing chain `{name}'")?;
        }
        if editor.chain(&name).is_some_and(|chain| !chain.rules.is_empty()) {
            effect = Effect::Changed;
        }
        editor.flush(&name)?;
    }
    Ok(effect)
}

fn delete_chains(
    editor: &mut Editor<'_>,
    chain: Option<&str>,
    verbose: bool,
    voice: &mut Voice<'_>,
) -> Result<Effect, Failure> {
    let mut effect = Effect::Unchanged;
    let mut result = Ok(());
    for name in chain_names(editor, chain, false) {
        if verbose {
            writeln!(voice.stdout, "Deleting chain `{name}'")?;
        }
        match editor.delete_chain(&name) {
            Ok(()) => effect = Effect::Changed,
            Err(error) => result = Err(error),
        }
    }
    result?;
    Ok(effect)
}

fn zero_chains(
    editor: &mut Editor<'_>,
    chain: Option<&str>,
    verbose: bool,
    view: &dyn CounterView,
    voice: &mut Voice<'_>,
) -> Result<Effect, Failure> {
    let mut effect = Effect::Unchanged;
    for name in chain_names(editor, chain, true) {
        if verbose {
            writeln!(voice.stdout, "Zeroing chain `{name}'")?;
        }
        if editor.chain(&name).is_some_and(|chain| has_counted(chain, view)) {
            effect = Effect::Changed;
        }
        editor.zero(&name, view)?;
    }
    Ok(effect)
}

fn has_counted(chain: &Chain, view: &dyn CounterView) -> bool {
    let none = Counters::default();
    chain.counters(view) != none || chain.rules.iter().any(|rule| rule.counters(view) != none)
}

fn zero_number(
    editor: &mut Editor<'_>,
    chain: &str,
    position: u32,
    view: &dyn CounterView,
) -> Result<Effect, EditError> {
    editor.zero_number(chain, position, view)?;
    Ok(Effect::Changed)
}

fn also_zero(
    editor: &mut Editor<'_>,
    chain: Option<&str>,
    position: u32,
    zero: AlsoZero,
    verbose: bool,
    view: &dyn CounterView,
    voice: &mut Voice<'_>,
) -> Result<Effect, Failure> {
    match (zero, chain) {
        (AlsoZero::No, _) => Ok(Effect::Unchanged),
        (AlsoZero::Rule, Some(chain)) => Ok(zero_number(editor, chain, position, view)?),
        (AlsoZero::Chains | AlsoZero::Rule, _) => zero_chains(editor, chain, verbose, view, voice),
    }
}
