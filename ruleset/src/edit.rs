//! Edits of one table, as the commands ask for them: append, insert, delete, replace, check, chains, flush, zero, policies.
//!
//! Architecture Invariant: an edit that fails leaves the table as it was.

mod fresh;

use crate::addr::Family;
use crate::chain::{Chain, ChainName, Policy};
use crate::counters::{CounterView, Counters};
use crate::rule::Rule;
use crate::table::{Hook, Table};
use crate::targets::Target;
use fresh::Fresh;
use rustc_hash::FxHashMap;

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

/// A table being changed. It counts the references to chains once, when they are first needed, and keeps that count, so that a long
/// list of edits stays linear.
#[derive(Debug)]
pub struct Editor<'a> {
    table: &'a mut Table,
    references: Option<FxHashMap<ChainName, u32>>,
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

fn refer(references: &mut FxHashMap<ChainName, u32>, rule: &Rule, by: i64) {
    if let Some(chain) = jump_of(rule) {
        let count = references.entry(chain.clone()).or_insert(0);
        *count = u32::try_from(i64::from(*count) + by).unwrap_or(0);
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
        Self { table, references: None, fresh, curtailed: false }
    }

    /// The table as it is now.
    #[must_use]
    pub fn table(&mut self) -> &Table {
        self.settle()
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
        match &self.fresh {
            Some(fresh) => fresh.has(name) || self.is_builtin(name),
            None => self.table.chain(name).is_some(),
        }
    }

    /// Whether `name` is a built-in chain.
    #[must_use]
    pub fn is_builtin(&self, name: &str) -> bool {
        self.table.kind.hooks().iter().any(|hook| hook.chain_name() == name)
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
        let references = self.references.get_or_insert_with(|| reference_counts(table));
        references.get(chain).copied().unwrap_or(0)
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

    fn find(&self, chain: &str, rule: &Rule) -> Result<usize, EditError> {
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
    pub fn check(&self, chain: &str, rule: &Rule) -> Result<(), EditError> {
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
        let chain = self.chain_mut(chain).ok_or(EditError::NoSuchChain)?;
        for rule in std::mem::take(&mut chain.rules) {
            self.refer(&rule, -1);
        }
        Ok(())
    }

    /// `-F` without a chain.
    pub fn flush_all(&mut self) {
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
        zero_chain(self.chain_mut(chain).ok_or(EditError::NoSuchChain)?, view);
        Ok(())
    }

    /// `-Z` without a chain.
    pub fn zero_all(&mut self, view: &dyn CounterView) {
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
