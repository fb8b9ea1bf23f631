//! `-j TTL` (xt_HL.c): the time to live of IPv4.

use super::TargetKind;
use crate::check::{Place, Problem};
use crate::rule::Rule;
use crate::table::TableKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is done to a TTL or hop limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HopChange {
    /// It becomes this.
    Set(u8),
    /// It grows, up to 255.
    Increment(u8),
    /// It shrinks, down to 0.
    Decrement(u8),
}

impl HopChange {
    pub(super) fn save(self, name: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        let (verb, value) = match self {
            Self::Set(value) => ("set", value),
            Self::Increment(value) => ("inc", value),
            Self::Decrement(value) => ("dec", value),
        };
        write!(out, " --{name}-{verb} {value}")
    }

    pub(super) fn list(self, name: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        let (verb, value) = match self {
            Self::Set(value) => ("set to", value),
            Self::Increment(value) => ("increment by", value),
            Self::Decrement(value) => ("decrement by", value),
        };
        write!(out, " {name} {verb} {value}")
    }
}

/// `-j TTL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TtlSet(pub HopChange);

impl TargetKind for TtlSet {
    fn check(&self, place: Place, _: &Rule) -> Result<(), Problem> {
        place.in_tables(&[TableKind::Mangle], "TTL belongs in the mangle table")
    }
}

impl Text for TtlSet {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.0.save("ttl", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.0.list("TTL", out)
    }
}
