//! The ruleset's text, written to a stream.

use crate::execute::Voice;
use crate::failure::Failure;
use bpftables_parser::Command;
use bpftables_ruleset::matches::connlabel::NO_LABEL_NAMES;
use bpftables_ruleset::names::NumberNames;
use bpftables_ruleset::text::{list as listing, save as saving};
use bpftables_ruleset::{CounterView, EditError, Family, Match, Names, Rule, Table};
use std::fmt;
use std::io::{self, Write};

/// Lets text be written to a stream, and keeps the stream's error.
struct Stream<'a> {
    out: &'a mut dyn Write,
    error: Option<io::Error>,
}

impl fmt::Write for Stream<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.out.write_all(text.as_bytes()).map_err(|error| {
            self.error = Some(error);
            fmt::Error
        })
    }
}

fn stream<T>(out: &mut dyn Write, write: impl FnOnce(&mut Stream<'_>) -> Result<T, fmt::Error>) -> Result<T, Failure> {
    let mut stream = Stream { out, error: None };
    match (write(&mut stream), stream.error) {
        (Ok(value), _) => Ok(value),
        (Err(fmt::Error), Some(error)) => Err(error.into()),
        // A match with which legacy ends in the middle of its line.
        (Err(fmt::Error), None) => Err(Failure::Said(1)),
    }
}

/// `-L`.
pub fn list(
    voice: &mut Voice<'_>,
    table: &Table,
    command: &Command,
    chain: Option<&str>,
    position: u32,
    view: &dyn CounterView,
) -> Result<(), Failure> {
    let options = listing::Options {
        verbose: command.verbose > 0,
        numeric: command.numeric,
        exact: command.exact,
        line_numbers: command.line_numbers,
    };
    let names = voice.names;
    label_notices(chosen(table, chain, position), names, voice.stderr);
    let found = stream(voice.stdout, |out| listing::list(table, chain, position, options, names, view, out))?;
    Ok(found.ok_or(EditError::NoSuchChain)?)
}

/// `-S`.
pub fn list_rules(
    voice: &mut Voice<'_>,
    table: &Table,
    command: &Command,
    chain: Option<&str>,
    position: u32,
    view: &dyn CounterView,
) -> Result<(), Failure> {
    let counters = command.verbose > 0;
    label_notices(chosen(table, chain, position), voice.names, voice.stderr);
    let found = stream(voice.stdout, |out| saving::list_rules(table, chain, position, counters, view, out))?;
    Ok(found.ok_or(EditError::NoSuchChain)?)
}

/// The line that `-v` prints of a rule.
pub fn echo(voice: &mut Voice<'_>, rule: &Rule, family: Family) -> Result<(), Failure> {
    let names = voice.names;
    label_notices(std::iter::once(rule), names, voice.stderr);
    stream(voice.stdout, |out| listing::echo(rule, family, names, out))
}

/// What a second `-v` prints.
pub fn dump(out: &mut dyn Write, table: &Table, family: Family, view: &dyn CounterView) -> Result<(), Failure> {
    stream(out, |out| crate::dump::dump(table, family, view, out))
}

/// A table from `*NAME` to `COMMIT`.
pub fn save(table: &Table, counters: bool, view: &dyn CounterView, voice: &mut Voice<'_>) -> Result<(), Failure> {
    label_notices(chosen(table, None, 0), voice.names, voice.stderr);
    stream(voice.stdout, |out| saving::table(table, counters, view, out))
}

/// The rules that are about to be printed.
fn chosen<'t>(table: &'t Table, chain: Option<&'t str>, position: u32) -> impl Iterator<Item = &'t Rule> {
    let chains = table.chains().filter(move |found| chain.is_none_or(|name| name == &*found.name.0));
    let rules = chains.flat_map(|chain| chain.rules.iter().enumerate());
    rules.filter(move |(index, _)| position == 0 || index + 1 == position as usize).map(|(_, rule)| rule)
}

/// Labels of connections have names only where there is a file of them.
fn label_notices<'r>(rules: impl Iterator<Item = &'r Rule>, names: &dyn Names, stderr: &mut dyn Write) {
    let labels = rules.flat_map(|rule| &rule.matches).filter(|m| matches!(m, Match::Connlabel(_))).count();
    if labels > 0 && names.number_names(NumberNames::ConnectionLabels).is_none() {
        for _ in 0..labels {
            let _ = writeln!(stderr, "{NO_LABEL_NAMES}");
        }
    }
}
