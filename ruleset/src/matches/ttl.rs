//! `-m ttl`: the time to live of IPv4 (ipt_ttl.c).

use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m ttl`: the time to live of IPv4 (ipt_ttl.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ttl {
    /// How it is compared.
    pub comparison: HopComparison,
    /// With what.
    pub value: u8,
}

/// How a number of hops is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HopComparison {
    /// Equal.
    #[default]
    Equal,
    /// `!` equal.
    NotEqual,
    /// Less.
    Less,
    /// Greater.
    Greater,
}

impl HopComparison {
    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::Greater => ">",
        }
    }

    /// `!` or nothing, and how the option's name ends.
    pub(crate) const fn option(self) -> (&'static str, &'static str) {
        match self {
            Self::Equal => ("", "eq"),
            Self::NotEqual => (" !", "eq"),
            Self::Less => ("", "lt"),
            Self::Greater => ("", "gt"),
        }
    }
}

impl Text for Ttl {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let (not, option) = self.comparison.option();
        write!(out, "{not} --ttl-{option} {}", self.value)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " TTL match TTL {} {}", self.comparison.sign(), self.value)
    }
}

impl MatchKind for Ttl {}
