//! `-j HL` (xt_HL.c): the hop limit of IPv6.

use super::TargetKind;
use super::ttl::HopChange;
use crate::check::{Place, Problem};
use crate::rule::Rule;
use crate::table::TableKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j HL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HlSet(pub HopChange);

impl TargetKind for HlSet {
    fn check(&self, place: Place, _: &Rule) -> Result<(), Problem> {
        place.in_tables(&[TableKind::Mangle], "HL belongs in the mangle table")
    }
}

impl Text for HlSet {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.0.save("hl", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.0.list("HL", out)
    }
}
