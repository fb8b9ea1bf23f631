//! Edits of one table, as the commands ask for them: append, insert, delete, replace, check, chains, flush, zero, policies.
//!
//! Architecture Invariant: an edit that fails leaves the table as it was.

mod fresh;

use crate::addr::Family;
use crate::chain::{Chain, ChainName, Policy};
use crate::counters::{CounterView, Counters};
use crate::rule::Rule;
use crate::table::{Hook, Table, TableKind};
use crate::targets::Target;
use fresh::Fresh;
use rustc_hash::{FxHashMap, FxHashSet};

/// Why an edit was refused. The text is legacy's, as it follows `iptables: ` (the full stop is the shim's).
/// Every one of them is exit code 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The chain named by the command (or, for some commands, by a jump) does not exist.
    #[error("No chain/target/match by that name")]
    NoSuchChain,
    /// `-N` of a chain that is there.
    #[error("Chain already exists")]
    ChainExists,
    /// `-E` onto a chain that is there.
    #[error("File exists")]
    RenameOntoExisting,
    /// `-X` of a chain with rules.
    #[error("Directory not empty")]
    ChainNotEmpty,
    /// `-X` of a chain to which rules jump.
    #[error("Too many links")]
    ChainReferenced,
    /// `-X` of a built-in chain.
    #[error("Invalid argument")]
    BuiltinChain,
    /// `-D` of a rule that is not there, or from a chain that is not there.
    #[error("Bad rule (does a matching rule exist in that chain?)")]
    NoSuchRule,
    /// `-C` or `-D` of a rule that is not there and whose target is no mere verdict.
    #[error("No chain/target/match by that name")]
    NoSuchJumpRule,
    /// `-I CHAIN n` beyond the end.
    #[error("Index of insertion too big")]
    InsertPosition,
    /// `-R CHAIN n` beyond the end.
    #[error("Index of replacement too big")]
    ReplacePosition,
    /// `-D CHAIN n` beyond the end.
    #[error("Index of deletion too big")]
    DeletePosition,
    /// `-Z CHAIN n` beyond the end.
    #[error("Index of counter too big")]
    ZeroPosition,
    /// `-P` of a chain that is not built in.
    #[error("Bad built-in chain name")]
    PolicyChain,
    /// `-P` with something else than ACCEPT and DROP.
    #[error("Bad policy name")]
    BadPolicy,
    /// A jump to a built-in chain.
    #[error("Invalid argument")]
    JumpToBuiltin,
}

impl EditError {
    /// Legacy's errno is EINVAL: "Run `dmesg' for more information." follows the full stop.
    #[must_use]
    pub const fn is_invalid_argument(&self) -> bool {
        matches!(self, Self::BuiltinChain | Self::BadPolicy | Self::JumpToBuiltin)
    }
}

/// A table of which only those chains are in memory that are edited.
pub trait Source {
    /// Whether it has a chain.
    fn has(&self, chain: &str) -> bool;
    /// Reads a chain that it has; none if that fails, and whoever edits has to look at the whole table then. Asked once for each.
    fn take(&self, chain: &str) -> Option<Chain>;
    /// How many rules jump or go to a chain.
    fn references(&self, chain: &str) -> u32;
    /// Whether all that was asked for could be read, and nobody changed it since. If not, no edit's answer counts.
    fn is_sound(&self) -> bool;
}

/// Where the chains of a table come from that are not there yet, and which came.
struct Missing<'a> {
    source: &'a dyn Source,
    taken: FxHashSet<ChainName>,
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
    /// A rule was added of which the kernel keeps less than was said ([`curtail`]).
    curtailed: bool,
}

fn jump_of(rule: &Rule) -> Option<&ChainName> {
    match &rule.target {
        Target::Jump(chain) | Target::Goto(chain) => Some(chain),
        _ => None,
    }
}

fn refer(references: &mut FxHashMap<ChainName, i64>, rule: &Rule, by: i64) {
    let Some(chain) = jump_of(rule) else { return };
    match references.get_mut(chain) {
        Some(count) => *count += by,
        None => {
            references.insert(chain.clone(), by);
        }
    }
}

/// Names that no chain can have, since they are verdicts.
fn is_verdict(name: &str) -> bool {
    matches!(name, "ACCEPT" | "DROP" | "QUEUE" | "RETURN")
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
        let missing = Missing { source, taken: FxHashSet::default() };
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
        let Some(missing) = &mut self.missing else { return };
        if missing.taken.contains(name) || !missing.source.has(name) {
            return;
        }
        // One that was made since stands for itself, under a name that was free.
        let Some(chain) = missing.source.take(name) else { return };
        missing.taken.insert(chain.name.clone());
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
        let Some(missing) = self.missing.take() else { return };
        let part = std::mem::replace(self.settle(), whole);
        merge(self.table, part, &missing.taken);
        self.references = None;
    }

    /// Ends. Which chains were taken from the source.
    #[must_use]
    pub fn finish(mut self) -> FxHashSet<ChainName> {
        self.missing.take().map(|missing| missing.taken).unwrap_or_default()
    }

    fn refer(&mut self, rule: &Rule, by: i64) {
        if let Some(references) = &mut self.references {
            refer(references, rule, by);
        }
    }

    /// How many rules jump or go to `chain`.
    pub fn references(&mut self, chain: &str) -> u32 {
        self.settle();
        let table = &*self.table;
        let all = || reference_counts(table).into_iter().map(|(name, count)| (name, count.into())).collect();
        let here = self.references.get_or_insert_with(all).get(chain).copied().unwrap_or(0);
        let elsewhere = self.missing.as_ref().map_or(0, |missing| missing.source.references(chain));
        u32::try_from(here + i64::from(elsewhere)).unwrap_or(0)
    }

    fn jump_allowed(&self, rule: &Rule) -> Result<(), EditError> {
        match jump_of(rule) {
            Some(chain) if self.is_builtin(&chain.0) => Err(EditError::JumpToBuiltin),
            Some(chain) if !self.is_chain(&chain.0) => Err(EditError::NoSuchChain),
            _ => Ok(()),
        }
    }

    /// `-A`.
    ///
    /// # Errors
    /// [`EditError::NoSuchChain`], [`EditError::JumpToBuiltin`].
    pub fn append(&mut self, chain: &str, rule: Rule) -> Result<(), EditError> {
        self.load(chain);
        let allowed = self.jump_allowed(&rule);
        if self.references.is_some() {
            self.chain(chain).ok_or(EditError::NoSuchChain)?;
            allowed.clone()?;
            self.refer(&rule, 1);
        }
        // Among tens of thousands of chains a look-up is what an append costs.
        self.curtailed |= is_curtailed(&rule);
        let Some(chain) = self.chain_mut(chain) else { return Err(EditError::NoSuchChain) };
        allowed?;
        chain.rules.push(rule);
        Ok(())
    }

    /// `-I`, `position` counted from 1.
    ///
    /// # Errors
    /// [`EditError::NoSuchChain`], [`EditError::InsertPosition`], [`EditError::JumpToBuiltin`].
    pub fn insert(&mut self, chain: &str, position: u32, rule: Rule) -> Result<(), EditError> {
        self.load(chain);
        let rules = self.chain(chain).ok_or(EditError::NoSuchChain)?.rules.len();
        let index = (position as usize).saturating_sub(1);
        if index > rules {
            return Err(EditError::InsertPosition);
        }
        self.jump_allowed(&rule)?;
        self.refer(&rule, 1);
        self.curtailed |= is_curtailed(&rule);
        if let Some(chain) = self.chain_mut(chain) {
            chain.rules.insert(index, rule);
        }
        Ok(())
    }

    /// `-R`, `position` counted from 1.
    ///
    /// # Errors
    /// [`EditError::NoSuchChain`], [`EditError::ReplacePosition`], [`EditError::JumpToBuiltin`].
    pub fn replace(&mut self, chain: &str, position: u32, rule: Rule) -> Result<(), EditError> {
        self.load(chain);
        let rules = self.chain(chain).ok_or(EditError::NoSuchChain)?.rules.len();
        let index = (position as usize).wrapping_sub(1);
        if index >= rules {
            return Err(EditError::ReplacePosition);
        }
        self.jump_allowed(&rule)?;
        self.refer(&rule, 1);
        self.curtailed |= is_curtailed(&rule);
        if let Some(chain) = self.chain_mut(chain) {
            let old = std::mem::replace(&mut chain.rules[index], rule);
            self.refer(&old, -1);
        }
        Ok(())
    }

    fn find(&mut self, chain: &str, rule: &Rule) -> Result<usize, EditError> {
        self.load(chain);
        let rules = &self.chain(chain).ok_or(EditError::NoSuchRule)?.rules;
        self.jump_allowed(rule)?;
        rules.iter().position(|other| other == rule).ok_or(match rule.target {
            Target::None | Target::Accept | Target::Drop | Target::Return | Target::Queue(_) => EditError::NoSuchRule,
            _ => EditError::NoSuchJumpRule,
        })
    }

    /// `-C`.
    ///
    /// # Errors
    /// [`EditError::NoSuchRule`] or [`EditError::NoSuchJumpRule`] when there is none such.
    pub fn check(&mut self, chain: &str, rule: &Rule) -> Result<(), EditError> {
        self.find(chain, rule).map(|_| ())
    }

    /// `-D` with a rule: the first that is the same.
    ///
    /// # Errors
    /// As [`Editor::check`].
    pub fn delete(&mut self, chain: &str, rule: &Rule) -> Result<(), EditError> {
        let index = self.find(chain, rule)?;
        self.remove(chain, index);
        Ok(())
    }

    fn remove(&mut self, chain: &str, index: usize) {
        if let Some(chain) = self.chain_mut(chain) {
            let old = chain.rules.remove(index);
            self.refer(&old, -1);
        }
    }

    /// `-D` with a number, counted from 1.
    ///
    /// # Errors
    /// [`EditError::NoSuchChain`], [`EditError::DeletePosition`].
    pub fn delete_number(&mut self, chain: &str, position: u32) -> Result<(), EditError> {
        self.load(chain);
        let rules = self.chain(chain).ok_or(EditError::NoSuchChain)?.rules.len();
        let index = (position as usize).wrapping_sub(1);
        if index >= rules {
            return Err(EditError::DeletePosition);
        }
        self.remove(chain, index);
        Ok(())
    }

    /// `-N`.
    ///
    /// # Errors
    /// [`EditError::ChainExists`].
    pub fn new_chain(&mut self, chain: &str) -> Result<(), EditError> {
        if self.is_chain(chain) || is_verdict(chain) {
            return Err(EditError::ChainExists);
        }
        self.insert_chain(Chain::new(chain.into(), None));
        Ok(())
    }

    fn insert_chain(&mut self, chain: Chain) {
        match &mut self.fresh {
            Some(fresh) => fresh.insert(chain),
            None => {
                self.table.user.insert(chain.name.clone(), chain);
            }
        }
    }

    fn remove_chain(&mut self, chain: &str) -> Option<Chain> {
        self.settle().user.remove(chain)
    }

    /// `-X CHAIN`.
    ///
    /// # Errors
    /// [`EditError::NoSuchChain`], [`EditError::BuiltinChain`], [`EditError::ChainReferenced`], [`EditError::ChainNotEmpty`].
    pub fn delete_chain(&mut self, chain: &str) -> Result<(), EditError> {
        self.load(chain);
        let found = self.chain(chain).ok_or(EditError::NoSuchChain)?;
        let empty = found.rules.is_empty();
        if self.is_builtin(chain) {
            return Err(EditError::BuiltinChain);
        }
        if self.references(chain) > 0 {
            return Err(EditError::ChainReferenced);
        }
        if !empty {
            return Err(EditError::ChainNotEmpty);
        }
        self.remove_chain(chain);
        Ok(())
    }

    /// `-X` without a chain: every user's chain, in the order of their names. Like legacy it goes on after one that cannot go, and
    /// reports the last refusal; what legacy then does is not to commit anything, so a caller throws the table away on an error.
    ///
    /// # Errors
    /// As [`Editor::delete_chain`].
    pub fn delete_all_chains(&mut self) -> Result<(), EditError> {
        debug_assert!(self.is_whole());
        let names: Vec<ChainName> = self.settle().user.keys().cloned().collect();
        let mut result = Ok(());
        for name in names {
            if let Err(error) = self.delete_chain(&name.0) {
                result = Err(error);
            }
        }
        result
    }

    /// `-E`: rules that jump to the chain follow.
    ///
    /// # Errors
    /// [`EditError::RenameOntoExisting`], [`EditError::NoSuchChain`].
    pub fn rename_chain(&mut self, from: &str, to: &str) -> Result<(), EditError> {
        debug_assert!(self.is_whole());
        if self.is_chain(to) || is_verdict(to) {
            return Err(EditError::RenameOntoExisting);
        }
        if self.is_builtin(from) {
            return Err(EditError::NoSuchChain);
        }
        let mut chain = self.remove_chain(from).ok_or(EditError::NoSuchChain)?;
        chain.name = to.into();
        self.insert_chain(chain);
        let table = self.settle();
        let chains = table.builtin.iter_mut().chain(table.user.values_mut());
        for rule in chains.flat_map(|chain| &mut chain.rules) {
            if let Target::Jump(name) | Target::Goto(name) = &mut rule.target
                && &*name.0 == from
            {
                *name = to.into();
            }
        }
        if let Some(references) = &mut self.references
            && let Some(count) = references.remove(from)
        {
            references.insert(to.into(), count);
        }
        Ok(())
    }

    /// `-F CHAIN`.
    ///
    /// # Errors
    /// [`EditError::NoSuchChain`].
    pub fn flush(&mut self, chain: &str) -> Result<(), EditError> {
        self.load(chain);
        let chain = self.chain_mut(chain).ok_or(EditError::NoSuchChain)?;
        for rule in std::mem::take(&mut chain.rules) {
            self.refer(&rule, -1);
        }
        Ok(())
    }

    /// `-F` without a chain.
    pub fn flush_all(&mut self) {
        debug_assert!(self.is_whole());
        let table = self.settle();
        for chain in table.builtin.iter_mut().chain(table.user.values_mut()) {
            chain.rules.clear();
        }
        self.references = None;
    }

    /// What `iptables-restore` without `--noflush` does at `*table`: no rules, no user's chains; policies and their counters stay.
    pub fn reset(&mut self) {
        self.flush_all();
        self.table.user.clear();
        self.fresh = Some(Fresh::default());
    }

    /// `-Z CHAIN`: the rules' counters and, of a built-in chain, the policy's. What the kernel counted is subtracted, not written.
    ///
    /// # Errors
    /// [`EditError::NoSuchChain`].
    pub fn zero(&mut self, chain: &str, view: &dyn CounterView) -> Result<(), EditError> {
        self.load(chain);
        zero_chain(self.chain_mut(chain).ok_or(EditError::NoSuchChain)?, view);
        Ok(())
    }

    /// `-Z` without a chain.
    pub fn zero_all(&mut self, view: &dyn CounterView) {
        debug_assert!(self.is_whole());
        let table = self.settle();
        for chain in table.builtin.iter_mut().chain(table.user.values_mut()) {
            zero_chain(chain, view);
        }
    }

    /// `-Z CHAIN n`, counted from 1.
    ///
    /// # Errors
    /// [`EditError::NoSuchChain`], [`EditError::ZeroPosition`].
    pub fn zero_number(&mut self, chain: &str, position: u32, view: &dyn CounterView) -> Result<(), EditError> {
        self.load(chain);
        let chain = self.chain_mut(chain).ok_or(EditError::NoSuchChain)?;
        let rule = (position as usize).checked_sub(1).and_then(|index| chain.rules.get_mut(index));
        let rule = rule.ok_or(EditError::ZeroPosition)?;
        rule.offset = Counters::default().minus(view.get(rule.slot));
        Ok(())
    }

    /// `-P`, and the policy of a chain line of a restore. The policy's counters become `counters` (`-c`, or a restore with
    /// `--counters`), or zero without.
    ///
    /// # Errors
    /// [`EditError::PolicyChain`], [`EditError::BadPolicy`].
    pub fn set_policy(
        &mut self,
        chain: &str,
        policy: &str,
        counters: Option<Counters>,
        view: &dyn CounterView,
    ) -> Result<(), EditError> {
        if !self.is_builtin(chain) {
            return Err(EditError::PolicyChain);
        }
        self.load(chain);
        let policy = match policy {
            "ACCEPT" => Policy::Accept,
            "DROP" => Policy::Drop,
            _ => return Err(EditError::BadPolicy),
        };
        if let Some(chain) = self.chain_mut(chain) {
            chain.policy = Some(policy);
            chain.offset = counters.unwrap_or_default().minus(view.get(chain.slot));
        }
        Ok(())
    }
}

impl Drop for Editor<'_> {
    fn drop(&mut self) {
        let curtailed = self.curtailed;
        let table = self.settle();
        if curtailed {
            let chains = table.builtin.iter_mut().chain(table.user.values_mut());
            chains.flat_map(|chain| &mut chain.rules).for_each(curtail);
        }
    }
}

/// Whether the kernel keeps less of the rule than was said.
fn is_curtailed(rule: &Rule) -> bool {
    matches!(&rule.target, Target::Ct(ct) if ct.notrack)
}

/// Leaves of a rule what the kernel keeps: later commands meet it so, those of the same change as it was said.
fn curtail(rule: &mut Rule) {
    if let Target::Ct(ct) = &mut rule.target {
        ct.curtail();
    }
}

/// Puts chains that were edited apart back into their table: those of `part`, of which `taken` came from there.
pub fn merge(whole: &mut Table, part: Table, taken: &FxHashSet<ChainName>) {
    whole.user.retain(|name, _| !taken.contains(name));
    let builtin = whole.builtin.iter_mut().zip(part.builtin);
    builtin.filter(|(_, new)| taken.contains(&new.name)).for_each(|(old, new)| *old = new);
    whole.user.extend(part.user);
}

fn zero_chain(chain: &mut Chain, view: &dyn CounterView) {
    chain.offset = Counters::default().minus(view.get(chain.slot));
    for rule in &mut chain.rules {
        rule.offset = Counters::default().minus(view.get(rule.slot));
    }
}

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

/// The hook of a built-in chain's name.
#[must_use]
pub fn hook_by_chain_name(name: &str) -> Option<Hook> {
    Hook::ALL.into_iter().find(|hook| hook.chain_name() == name)
}

#[cfg(test)]
mod tests;
