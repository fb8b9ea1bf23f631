//! Edits of chains.

use super::fresh::Fresh;
use super::{EditError, Editor};
use crate::chain::{Chain, ChainName, Policy};
use crate::counters::{CounterView, Counters};
use crate::rule::LineId;
use crate::targets::Target;

impl Editor<'_> {
    /// `-N`.
    ///
    /// # Errors
    /// [`EditError::ChainExists`].
    pub fn new_chain(&mut self, chain: &str) -> Result<(), EditError> {
        if self.is_chain(chain) || is_verdict(chain) {
            return Err(EditError::ChainExists);
        }
        if let Some(missing) = &mut self.missing {
            missing.refills.made(chain);
        }
        self.insert_chain(Chain::new(chain.into(), None));
        Ok(())
    }

    pub(super) fn insert_chain(&mut self, chain: Chain) {
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
        if let Some(missing) = &mut self.missing {
            missing.refills.end();
        }
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
                rule.line = LineId::NONE;
            }
        }
        if let Some(references) = &mut self.references
            && let Some(count) = references.remove(from)
        {
            references.insert(to.into(), count);
        }
        Ok(())
    }

    /// What `iptables-restore` without `--noflush` does at `*table`: no rules, no user's chains; policies and their counters stay.
    pub fn reset(&mut self) {
        self.flush_all();
        self.table.user.clear();
        self.fresh = Some(Fresh::default());
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

/// Names that no chain can have, since they are verdicts.
fn is_verdict(name: &str) -> bool {
    matches!(name, "ACCEPT" | "DROP" | "QUEUE" | "RETURN")
}
