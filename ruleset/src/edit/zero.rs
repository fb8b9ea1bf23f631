//! Counters that begin anew.

use super::{EditError, Editor};
use crate::chain::Chain;
use crate::counters::{CounterView, Counters};

impl Editor<'_> {
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
}

fn zero_chain(chain: &mut Chain, view: &dyn CounterView) {
    chain.offset = Counters::default().minus(view.get(chain.slot));
    for rule in &mut chain.rules {
        rule.offset = Counters::default().minus(view.get(rule.slot));
    }
}
