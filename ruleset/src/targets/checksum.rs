//! `-j CHECKSUM --checksum-fill` (xt_CHECKSUM.c): a checksum that was left to the device is computed now.

use super::TargetKind;
use crate::check::{Place, Problem};
use crate::rule::Rule;
use crate::table::TableKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j CHECKSUM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Checksum;

impl TargetKind for Checksum {
    fn check(&self, place: Place, _: &Rule) -> Result<(), Problem> {
        place.in_tables(&[TableKind::Mangle], "CHECKSUM belongs in the mangle table")
    }
}

impl Text for Checksum {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" --checksum-fill")
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" CHECKSUM fill")
    }
}
