//! The tables of `-m hashlimit` that a ruleset names, reached from a hook or not: a table lives while a rule names it.

use crate::error::CompileError;
use crate::image::HashlimitTable;
use bpftables_ruleset::Ruleset;
use bpftables_ruleset::matches::Match;
use std::collections::{BTreeMap, BTreeSet};

/// Tables that the programs can hold.
const MAX_TABLES: usize = 256;

/// Tables by name.
#[derive(Debug, Default)]
pub(crate) struct Tables(BTreeMap<Box<str>, HashlimitTable>);

impl Tables {
    /// The first rule that names a table makes it, as in legacy.
    pub(crate) fn new(ruleset: &Ruleset) -> Result<Self, CompileError> {
        let chains = ruleset.tables.iter().flat_map(|table| table.chains());
        let mut first = BTreeMap::new();
        for m in chains.flat_map(|chain| &chain.rules).flat_map(|rule| &rule.matches) {
            if let Match::Hashlimit(h) = m {
                first.entry(&h.name).or_insert(h);
            }
        }
        if first.len() > MAX_TABLES {
            let (max, got) = (MAX_TABLES as u64, first.len() as u64);
            return Err(CompileError::Limit { place: None, what: "tables of -m hashlimit", max, got });
        }
        let mut taken = BTreeSet::new();
        let mut tables = BTreeMap::new();
        for (name, maker) in first {
            let id = crate::recent::number(name, &mut taken);
            tables.insert(name.clone(), HashlimitTable { id, maker: (**maker).clone() });
        }
        Ok(Self(tables))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&HashlimitTable> {
        self.0.get(name)
    }

    pub(crate) fn into_vec(self) -> Vec<HashlimitTable> {
        self.0.into_values().collect()
    }
}
