//! The control groups that rules name: found when their table is committed, and the same ones while it stays, as legacy holds them.

use crate::error::{EngineError, Result};
use crate::sys::cgroup::Hierarchy;
use bpftables_ruleset::matches::Match;
use bpftables_ruleset::{CheckError, Ruleset, Table, TableKind};
use std::collections::BTreeMap;

/// Numbers of control groups by the table whose rules name them, and their path.
pub(crate) type Found = BTreeMap<(TableKind, Box<str>), u64>;

/// Finds those that the rules name; of tables that stay (`stays`) as they were found before.
pub(crate) fn find(
    ruleset: &Ruleset,
    before: &[(TableKind, Box<str>, u64)],
    stays: impl Fn(TableKind) -> bool,
) -> Result<Found> {
    let mut found = Found::new();
    let kept = before.iter().filter(|(table, ..)| stays(*table));
    found.extend(kept.map(|(table, path, id)| ((*table, path.clone()), *id)));
    let mut hierarchy = None;
    for table in ruleset.tables.iter().filter(|table| !stays(table.kind)) {
        resolve(table, &mut hierarchy, &mut found)?;
    }
    Ok(found)
}

fn resolve(table: &Table, hierarchy: &mut Option<Hierarchy>, found: &mut Found) -> Result<()> {
    for chain in table.chains() {
        for (index, rule) in chain.rules.iter().enumerate() {
            for m in &rule.matches {
                let Match::Cgroup(m) = m else { continue };
                let Some((path, _)) = &m.path else { continue };
                let key = (table.kind, path.clone());
                if found.contains_key(&key) {
                    continue;
                }
                if hierarchy.is_none() {
                    *hierarchy = Hierarchy::open().inspect_err(|error| tracing::info!(%error, "control groups")).ok();
                }
                let Some(id) = hierarchy.as_ref().and_then(|hierarchy| hierarchy.find(path).ok()) else {
                    let (chain, reason) = (chain.name.clone(), "there is no such control group");
                    return Err(EngineError::Refused(CheckError::Invalid { chain, rule: index + 1, reason }));
                };
                found.insert(key, id);
            }
        }
    }
    Ok(())
}
