//! Edits of a chain's rules.

use super::{EditError, Editor};
use crate::rule::{LineId, Rule};
use crate::targets::Target;

impl Editor<'_> {
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

    /// `-F CHAIN`.
    ///
    /// # Errors
    /// [`EditError::NoSuchChain`].
    pub fn flush(&mut self, chain: &str) -> Result<(), EditError> {
        self.load(chain);
        if let Some(missing) = &mut self.missing {
            missing.refills.forget(chain);
        }
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
}

/// Whether the kernel keeps less of the rule than was said.
fn is_curtailed(rule: &Rule) -> bool {
    matches!(&rule.target, Target::Ct(ct) if ct.notrack)
}

/// Leaves of a rule what the kernel keeps: later commands meet it so, those of the same change as it was said.
pub(super) fn curtail(rule: &mut Rule) {
    if let Target::Ct(ct) = &mut rule.target {
        ct.curtail();
        rule.line = LineId::NONE;
    }
}
