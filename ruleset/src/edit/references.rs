//! How many rules jump or go to a chain.

use super::{EditError, Editor};
use crate::chain::ChainName;
use crate::rule::Rule;
use crate::table::Table;
use crate::targets::Target;
use rustc_hash::FxHashMap;

/// How many rules of the table jump or go to each chain.
#[must_use]
pub fn reference_counts(table: &Table) -> FxHashMap<ChainName, u32> {
    let mut counts: FxHashMap<ChainName, u32> = FxHashMap::default();
    for name in table.chains().flat_map(|chain| &chain.rules).filter_map(jump_of) {
        match counts.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                counts.insert(name.clone(), 1);
            }
        }
    }
    counts
}

fn jump_of(rule: &Rule) -> Option<&ChainName> {
    match &rule.target {
        Target::Jump(chain) | Target::Goto(chain) => Some(chain),
        _ => None,
    }
}

impl Editor<'_> {
    pub(super) fn refer(&mut self, rule: &Rule, by: i64) {
        let Some(references) = &mut self.references else { return };
        let Some(chain) = jump_of(rule) else { return };
        match references.get_mut(chain) {
            Some(count) => *count += by,
            None => {
                references.insert(chain.clone(), by);
            }
        }
    }

    /// How many rules jump or go to `chain`.
    pub fn references(&mut self, chain: &str) -> u32 {
        self.unfold_all(true);
        self.settle();
        let table = &*self.table;
        let all = || reference_counts(table).into_iter().map(|(name, count)| (name, count.into())).collect();
        let here = self.references.get_or_insert_with(all).get(chain).copied().unwrap_or(0);
        let elsewhere = self.missing.as_ref().map_or(0, |missing| missing.source.references(chain));
        u32::try_from(here + i64::from(elsewhere)).unwrap_or(0)
    }

    pub(super) fn jump_allowed(&self, rule: &Rule) -> Result<(), EditError> {
        match jump_of(rule) {
            Some(chain) if self.is_builtin(&chain.0) => Err(EditError::JumpToBuiltin),
            Some(chain) if !self.is_chain(&chain.0) => Err(EditError::NoSuchChain),
            _ => Ok(()),
        }
    }
}
