//! What can go wrong: bug, limit and unsupported are three kinds.

use bpftables_ruleset::text::save::{CounterStyle, write_rule};
use bpftables_ruleset::{NoCounters, Rule, TableKind};
use std::fmt;
use thiserror::Error;

/// Where a rule stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulePlace {
    /// Its table.
    pub table: TableKind,
    /// Its chain.
    pub chain: Box<str>,
    /// Its number as a person counts, from 1.
    pub number: u32,
    /// The rule as `iptables-save` would print it.
    pub text: Box<str>,
}

impl RulePlace {
    /// The place of a chain's rule, which is counted from 0 here.
    #[must_use]
    pub fn new(table: TableKind, chain: &str, index: usize, rule: &Rule) -> Self {
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let mut text = String::new();
        // Writing to a string can't fail.
        let _ = write_rule(rule, chain, CounterStyle::None, &NoCounters, &mut text);
        Self { table, chain: chain.into(), number, text: text.trim_end().into() }
    }
}

impl fmt::Display for RulePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {}, chain {}, rule {}: {}", self.table.name(), self.chain, self.number, self.text)
    }
}

/// Why there is no image.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CompileError {
    /// A rule that the programs can't run exactly. Not a bug.
    #[error("{place}: {reason}")]
    Unsupported {
        /// The rule.
        place: RulePlace,
        /// Why, in words.
        reason: Box<str>,
    },
    /// Something is larger than the image can hold. Not a bug.
    #[error("{}{what}: expected at most {max}, got {got}", place.as_ref().map(|p| format!("{p}: ")).unwrap_or_default())]
    Limit {
        /// The rule, if one is to blame.
        place: Option<RulePlace>,
        /// What is too large.
        what: &'static str,
        /// Largest allowed.
        max: u64,
        /// What came.
        got: u64,
    },
    /// A bug of ours.
    #[error("internal error (a bug): {0}")]
    Internal(Box<str>),
}
