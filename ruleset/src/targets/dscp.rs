//! `-j DSCP` (xt_DSCP.c): the DiffServ code point, six bits of the TOS byte or traffic class.

use super::TargetKind;
use crate::check::{Place, Problem};
use crate::rule::Rule;
use crate::table::TableKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j DSCP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DscpSet {
    /// Below 64.
    pub dscp: u8,
}

impl TargetKind for DscpSet {
    fn check(&self, place: Place, _: &Rule) -> Result<(), Problem> {
        place.in_tables(&[TableKind::Mangle], "DSCP belongs in the mangle table")
    }
}

impl Text for DscpSet {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " --set-dscp 0x{:02x}", self.dscp)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " DSCP set 0x{:02x}", self.dscp)
    }
}
