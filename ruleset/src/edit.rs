//! Edits of one table, as the commands ask for them: append, insert, delete, replace, check, chains, flush, zero, policies.
//!
//! Architecture Invariant: an edit that fails leaves the table as it was.

mod chains;
mod error;
mod fresh;
mod references;
mod refill;
mod rules;
mod zero;

pub use error::EditError;
pub use references::reference_counts;
pub use refill::zero_rules;

use crate::addr::Family;
use crate::chain::{Chain, ChainName};
use crate::counters::{Counters, Slot};
use crate::rule::LineId;
use crate::table::{Table, TableKind};
use fresh::Fresh;
use refill::Refills;
use rustc_hash::{FxHashMap, FxHashSet};

/// A table of which only those chains are in memory that are edited.
pub trait Source {
    /// Whether it has a chain.
    fn has(&self, chain: &str) -> bool;
    /// Reads a chain that it has; none if that fails, and whoever edits has to look at the whole table then. Asked once for each.
    fn take(&self, chain: &str) -> Option<Chain>;
    /// How many rules jump or go to a chain.
    fn references(&self, chain: &str) -> u32;
    /// By which lines a chain's rules were made, in order; none if that is not known.
    fn lines(&self, _chain: &str) -> Option<Vec<LineId>> {
        None
    }
    /// What the kernel has counted in a slot.
    fn counted(&self, _slot: Slot) -> Counters {
        Counters::default()
    }
    /// Whether all that was asked for could be read, and nobody changed it since. If not, no edit's answer counts.
    fn is_sound(&self) -> bool;
}

/// Where the chains of a table come from that are not there yet, and which came.
struct Missing<'a> {
    source: &'a dyn Source,
    taken: FxHashSet<ChainName>,
    refills: Refills,
}

/// What an editor of parts leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edited {
    /// Chains that were taken from the source.
    pub taken: FxHashSet<ChainName>,
    /// Chains that were not, since they have the rules that they had; but these have counted nothing now.
    pub refilled: Vec<ChainName>,
}

impl std::fmt::Debug for Missing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Missing").field("taken", &self.taken).finish_non_exhaustive()
    }
}

/// A table being changed. It counts the references to chains once, when they are first needed, and keeps that count, so that a long
/// list of edits stays linear.
#[derive(Debug)]
pub struct Editor<'a> {
    table: &'a mut Table,
    /// Of a table in memory, all of them; else by how many they changed.
    references: Option<FxHashMap<ChainName, i64>>,
    missing: Option<Missing<'a>>,
    /// The user's chains, in the hands of an editor that began with none, until somebody wants to see the table.
    fresh: Option<Fresh>,
    /// A rule was added of which the kernel keeps less than was said ([`rules::curtail`]).
    curtailed: bool,
}

impl<'a> Editor<'a> {
    /// Begins to edit.
    pub fn new(table: &'a mut Table) -> Self {
        let fresh = table.user.is_empty().then(Fresh::default);
        Self { table, references: None, missing: None, fresh, curtailed: false }
    }

    /// Begins to edit a table whose chains are read one by one, when an edit needs them. `table` has none but empty built-in ones; what it
    /// has at the end, and was not taken from `source`, is new.
    pub fn of_parts(table: &'a mut Table, source: &'a dyn Source) -> Self {
        let missing = Missing { source, taken: FxHashSet::default(), refills: Refills::default() };
        let (references, fresh) = (Some(FxHashMap::default()), Some(Fresh::default()));
        Self { table, references, missing: Some(missing), fresh, curtailed: false }
    }

    /// The table as it is now. Of one that is read chain by chain, those that were edited.
    #[must_use]
    pub fn table(&mut self) -> &Table {
        self.settle()
    }

    /// Whether the whole table is in memory.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.missing.is_none()
    }

    /// Which table it is.
    #[must_use]
    pub fn kind(&self) -> TableKind {
        self.table.kind
    }

    /// Has a chain in memory that an edit, or a look at it, is about.
    pub fn load(&mut self, name: &str) {
        if self.missing.as_ref().is_some_and(|missing| missing.refills.waits(name)) {
            self.unfold(name);
            return;
        }
        let Some(missing) = &mut self.missing else { return };
        if missing.taken.contains(name) || !missing.source.has(name) {
            return;
        }
        // One that was made since stands for itself, under a name that was free.
        let Some(chain) = missing.source.take(name) else { return };
        missing.taken.insert(chain.name.clone());
        self.put(chain);
    }

    /// Puts a chain that was read where it belongs.
    fn put(&mut self, chain: Chain) {
        match self.table.builtin.iter_mut().find(|builtin| builtin.name == chain.name) {
            Some(builtin) => *builtin = chain,
            None => self.insert_chain(chain),
        }
    }

    /// The table's family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.table.family
    }

    /// A chain by name, built-in or user's.
    #[must_use]
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        match &self.fresh {
            Some(fresh) => match fresh.get(name) {
                Some(chain) => Some(chain),
                None => self.table.chain(name),
            },
            None => self.table.chain(name),
        }
    }

    fn chain_mut(&mut self, name: &str) -> Option<&mut Chain> {
        match &mut self.fresh {
            Some(fresh) => match fresh.get_mut(name) {
                Some(chain) => Some(chain),
                None => self.table.chain_mut(name),
            },
            None => self.table.chain_mut(name),
        }
    }

    /// Puts every chain where it belongs.
    fn settle(&mut self) -> &mut Table {
        if let Some(fresh) = self.fresh.take() {
            // Built from sorted names at once, which is far quicker than one by one.
            self.table.user.append(&mut fresh.into_chains().collect());
        }
        self.table
    }

    /// Whether `name` is a chain, built-in or user's.
    #[must_use]
    pub fn is_chain(&self, name: &str) -> bool {
        let here = match &self.fresh {
            Some(fresh) => fresh.has(name) || self.is_builtin(name),
            None => false,
        };
        here || self.table.chain(name).is_some()
            || self.missing.as_ref().is_some_and(|missing| !missing.taken.contains(name) && missing.source.has(name))
    }

    /// Whether `name` is a built-in chain.
    #[must_use]
    pub fn is_builtin(&self, name: &str) -> bool {
        self.table.kind.hooks().iter().any(|hook| hook.chain_name() == name)
    }

    /// Goes on with the whole table, as it was before these edits.
    pub fn widen(&mut self, whole: Table) {
        self.unfold_all(false);
        let Some(missing) = self.missing.take() else { return };
        let part = std::mem::replace(self.settle(), whole);
        merge(self.table, part, &missing.taken);
        self.references = None;
    }

    /// Ends.
    #[must_use]
    pub fn finish(mut self) -> Edited {
        self.unfold_all(true);
        let edited = |missing: Missing<'_>| Edited { taken: missing.taken, refilled: missing.refills.into_names() };
        self.missing.take().map(edited).unwrap_or_default()
    }
}

impl Drop for Editor<'_> {
    fn drop(&mut self) {
        let curtailed = self.curtailed;
        let table = self.settle();
        if curtailed {
            let chains = table.builtin.iter_mut().chain(table.user.values_mut());
            chains.flat_map(|chain| &mut chain.rules).for_each(rules::curtail);
        }
    }
}

/// Puts chains that were edited apart back into their table: those of `part`, of which `taken` came from there.
pub fn merge(whole: &mut Table, part: Table, taken: &FxHashSet<ChainName>) {
    whole.user.retain(|name, _| !taken.contains(name));
    let builtin = whole.builtin.iter_mut().zip(part.builtin);
    builtin.filter(|(_, new)| taken.contains(&new.name)).for_each(|(old, new)| *old = new);
    whole.user.extend(part.user);
}

#[cfg(test)]
mod tests;
