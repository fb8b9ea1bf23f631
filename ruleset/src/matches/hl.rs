//! `-m hl`: the hop limit of IPv6 (ip6t_hl.c).

use crate::matches::MatchKind;
use crate::matches::ttl::HopComparison;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m hl`: the hop limit of IPv6 (ip6t_hl.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hl {
    /// How it is compared.
    pub comparison: HopComparison,
    /// With what.
    pub value: u8,
}

impl Text for Hl {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let (not, option) = self.comparison.option();
        write!(out, "{not} --hl-{option} {}", self.value)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " HL match HL {} {}", self.comparison.sign(), self.value)
    }
}

impl MatchKind for Hl {}
