//! Chains that are flushed and filled again by a restore with `--noflush`, mostly with the lines that filled them before. What such a line
//! means is not asked again, and a chain that gets all of its rules back is not even read.

use super::{EditError, Editor};
use crate::chain::ChainName;
use crate::counters::{CounterView, Counters};
use crate::rule::{LineId, Rule};
use crate::table::Table;
use rustc_hash::FxHashMap;

/// The chains that are filled again.
#[derive(Debug, Default)]
pub(super) struct Refills {
    /// Names by which a rule names something else, as long as no chain has them. None: nothing is filled again (any more).
    others: Option<Vec<&'static str>>,
    chains: FxHashMap<ChainName, Refill>,
    /// Chains in [`Refill::Waits`] that have not all of their rules yet.
    open: usize,
}

#[derive(Debug)]
enum Refill {
    /// It has the first `done` of its rules again, and no others. It is still where it came from.
    Waits { lines: Vec<LineId>, done: usize },
    /// It is in memory.
    Changes(Rest),
}

/// The rules of a chain that it did not get back so far.
#[derive(Debug, Default)]
struct Rest {
    rules: Vec<Option<Rule>>,
    places: FxHashMap<LineId, Vec<u32>>,
    /// The first place behind the last rule that came back: rules keep their order.
    next: u32,
}

impl Rest {
    fn new(rules: Vec<Rule>) -> Self {
        let mut places: FxHashMap<LineId, Vec<u32>> = FxHashMap::default();
        for (at, rule) in (0..).zip(&rules).filter(|(_, rule)| rule.line != LineId::NONE) {
            places.entry(rule.line).or_default().push(at);
        }
        Self { rules: rules.into_iter().map(Some).collect(), places, next: 0 }
    }

    fn take(&mut self, line: LineId) -> Option<Rule> {
        let places = self.places.get(&line)?;
        let at = *places.get(places.partition_point(|at| *at < self.next))?;
        self.next = at + 1;
        self.rules.get_mut(at as usize)?.take()
    }
}

impl Refills {
    /// Whether a chain is filled again and was not read so far.
    pub(super) fn waits(&self, chain: &str) -> bool {
        matches!(self.chains.get(chain), Some(Refill::Waits { .. }))
    }

    /// A chain is new.
    pub(super) fn made(&mut self, chain: &str) {
        if self.others.as_ref().is_some_and(|others| others.contains(&chain)) {
            self.end();
        }
    }

    /// From now on lines may mean something else than they did.
    pub(super) fn end(&mut self) {
        self.others = None;
    }

    /// A chain that is in memory begins anew.
    pub(super) fn forget(&mut self, chain: &str) {
        if !self.waits(chain) {
            self.chains.remove(chain);
        }
    }

    /// The chains that have the rules that they had, sorted.
    pub(super) fn into_names(self) -> Vec<ChainName> {
        let waits = |(name, refill)| matches!(refill, Refill::Waits { .. }).then_some(name);
        let mut names: Vec<ChainName> = self.chains.into_iter().filter_map(waits).collect();
        names.sort_unstable();
        names
    }
}

impl Editor<'_> {
    /// From now on [`Self::refill`] waits for lines that made rules before. `others` are names that rules give to what is no chain: a chain
    /// of such a name makes lines mean something else.
    pub fn expect_lines(&mut self, others: impl IntoIterator<Item = &'static str>) {
        let Some(missing) = &mut self.missing else { return };
        let others: Vec<&'static str> = others.into_iter().collect();
        if !others.iter().any(|name| missing.source.has(name)) {
            missing.refills.others = Some(others);
        }
    }

    /// As [`Self::flush`], of a chain that may be filled again with the rules that it had ([`Self::again`]).
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn refill(&mut self, chain: &str) -> Result<(), EditError> {
        let Some(missing) = &mut self.missing else { return self.flush(chain) };
        let refills = &mut missing.refills;
        if refills.others.is_none() || missing.taken.contains(chain) {
            return self.flush(chain);
        }
        if let Some(Refill::Waits { lines, done }) = refills.chains.get_mut(chain) {
            refills.open += usize::from(!lines.is_empty() && *done == lines.len());
            *done = 0;
            return Ok(());
        }
        let Some(lines) = missing.source.lines(chain) else { return self.flush(chain) };
        refills.open += usize::from(!lines.is_empty());
        refills.chains.insert(chain.into(), Refill::Waits { lines, done: 0 });
        Ok(())
    }

    /// Appends the rule that `line` made, if `chain` is filled again and the line made one of its rules before. It has counted nothing then.
    pub fn again(&mut self, chain: &str, line: LineId) -> bool {
        let Some(refills) = self.missing.as_mut().map(|missing| &mut missing.refills) else { return false };
        if refills.others.is_none() || line == LineId::NONE {
            return false;
        }
        match refills.chains.get_mut(chain) {
            None => return false,
            Some(Refill::Waits { lines, done }) if lines.get(*done) == Some(&line) => {
                *done += 1;
                refills.open -= usize::from(*done == lines.len());
                return true;
            }
            Some(Refill::Waits { .. }) => self.unfold(chain),
            Some(Refill::Changes(_)) => {}
        }
        let Some(missing) = &mut self.missing else { return false };
        let Some(Refill::Changes(rest)) = missing.refills.chains.get_mut(chain) else { return false };
        let Some(mut rule) = rest.take(line) else { return false };
        rule.offset = Counters::default().minus(missing.source.counted(rule.slot));
        self.refer(&rule, 1);
        if let Some(chain) = self.chain_mut(chain) {
            chain.rules.push(rule);
        }
        true
    }

    /// Reads a chain of which only the lines are known so far.
    pub(super) fn unfold(&mut self, name: &str) {
        let Some(missing) = &mut self.missing else { return };
        let Some(Refill::Waits { lines, done }) = missing.refills.chains.remove(name) else { return };
        missing.refills.open -= usize::from(done < lines.len());
        let Some(mut chain) = missing.source.take(name) else { return };
        let rest = chain.rules.split_off(done.min(chain.rules.len()));
        for rule in &mut chain.rules {
            rule.offset = Counters::default().minus(missing.source.counted(rule.slot));
        }
        missing.taken.insert(chain.name.clone());
        let name = chain.name.clone();
        self.put(chain);
        rest.iter().for_each(|rule| self.refer(rule, -1));
        if let Some(missing) = &mut self.missing {
            missing.refills.chains.insert(name, Refill::Changes(Rest::new(rest)));
        }
    }

    /// Reads the chains of which only the lines are known so far: all of them, or those that lack some of their rules.
    pub(super) fn unfold_all(&mut self, lacking: bool) {
        let Some(missing) = &self.missing else { return };
        if lacking && missing.refills.open == 0 {
            return;
        }
        let wanted =
            |refill: &Refill| matches!(refill, Refill::Waits { lines, done } if !lacking || *done < lines.len());
        let names = missing.refills.chains.iter().filter(|(_, refill)| wanted(refill));
        let mut names: Vec<ChainName> = names.map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names.iter().for_each(|name| self.unfold(&name.0));
    }
}

/// Does to the whole table what an editor of parts left to be done ([`super::Edited::refilled`]): the rules of these chains count from nothing.
pub fn zero_rules(table: &mut Table, chains: &[ChainName], view: &dyn CounterView) {
    for name in chains {
        for rule in table.chain_mut(&name.0).into_iter().flat_map(|chain| &mut chain.rules) {
            rule.offset = Counters::default().minus(view.get(rule.slot));
        }
    }
}

#[cfg(test)]
mod tests;
