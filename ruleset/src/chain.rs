//! Chains.

use crate::counters::{CounterView, Counters, Slot};
use crate::rule::Rule;
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt;

/// A chain's name: 1 to 28 bytes (`XT_EXTENSION_MAXNAMELEN` - 1), checked by the parser.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChainName(pub Box<str>);

impl Borrow<str> for ChainName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ChainName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What happens at the end of a built-in chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Policy {
    /// The packet goes on.
    Accept,
    /// The packet ends here.
    Drop,
}

/// A chain and its rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Its name.
    pub name: ChainName,
    /// The policy of a built-in chain; none for a user's.
    pub policy: Option<Policy>,
    /// Where the policy counts (built-in chains only).
    pub slot: Slot,
    /// To be added (wrapping) to what the kernel counted in `slot`.
    pub offset: Counters,
    /// The rules in order.
    pub rules: Vec<Rule>,
}

impl Chain {
    /// An empty chain that counted nothing.
    #[must_use]
    pub fn new(name: ChainName, policy: Option<Policy>) -> Self {
        Self { name, policy, slot: Slot::UNASSIGNED, offset: Counters::default(), rules: Vec::new() }
    }

    /// The policy's counters as a person sees them.
    pub fn counters(&self, view: &dyn CounterView) -> Counters {
        view.get(self.slot).plus(self.offset)
    }
}
