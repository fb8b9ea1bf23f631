//! Chains of a table that is being filled.

use crate::chain::{Chain, ChainName};
use rustc_hash::FxHashMap;
use std::cell::Cell;

/// Chains that the table shall have, found by hash: to look a name up among tens of thousands in order takes longer than all else that
/// an append does.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    chains: Vec<Chain>,
    places: FxHashMap<ChainName, usize>,
    /// Where the last jump led, which is asked twice of each rule.
    jump: Cell<usize>,
    /// What was edited last: the rules of a chain mostly come together.
    edited: Cell<usize>,
}

impl Fresh {
    /// Whether there is such a chain. To be asked about what a rule jumps to.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name, &self.jump).is_some()
    }

    /// A chain to be edited.
    pub(super) fn get(&self, name: &str) -> Option<&Chain> {
        self.chains.get(self.find(name, &self.edited)?)
    }

    /// A chain to be edited.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Chain> {
        let place = self.find(name, &self.edited)?;
        self.chains.get_mut(place)
    }

    /// Adds a chain whose name no other has.
    pub(super) fn insert(&mut self, chain: Chain) {
        self.places.insert(chain.name.clone(), self.chains.len());
        self.chains.push(chain);
    }

    /// All chains by their names, in no order.
    pub(super) fn into_chains(self) -> impl Iterator<Item = (ChainName, Chain)> {
        let mut chains: Vec<Option<Chain>> = self.chains.into_iter().map(Some).collect();
        self.places.into_iter().filter_map(move |(name, place)| Some((name, chains.get_mut(place)?.take()?)))
    }

    fn find(&self, name: &str, last: &Cell<usize>) -> Option<usize> {
        let known = last.get();
        if self.chains.get(known).is_some_and(|chain| &*chain.name.0 == name) {
            return Some(known);
        }
        let place = *self.places.get(name)?;
        last.set(place);
        Some(place)
    }
}
