//! `-j TOS` (xt_DSCP.c, `tos_tg`): TOS = (TOS AND NOT `mask`) XOR `value`; in IPv6 the traffic class.

use super::TargetKind;
use crate::check::{Place, Problem};
use crate::matches::tos::NAMES;
use crate::rule::Rule;
use crate::table::TableKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j TOS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TosSet {
    /// Value.
    pub value: u8,
    /// Mask.
    pub mask: u8,
}

impl TargetKind for TosSet {
    fn check(&self, place: Place, _: &Rule) -> Result<(), Problem> {
        place.in_tables(&[TableKind::Mangle], "TOS belongs in the mangle table")
    }
}

impl Text for TosSet {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " --set-tos 0x{:02x}/0x{:02x}", self.value, self.mask)
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        let Self { value, mask } = *self;
        let name = NAMES.iter().find(|(_, named)| *named == value && mask == 0x3f && !cx.numeric);
        match (value, mask) {
            // So many spaces and so few, as legacy.
            _ if let Some((name, _)) = name => write!(out, "  TOS set{name}"),
            (0, mask) if !cx.numeric => write!(out, " TOS and 0x{:02x}", !mask),
            (value, mask) if value == mask && !cx.numeric => write!(out, " TOS or 0x{value:02x}"),
            (value, 0) if !cx.numeric => write!(out, " TOS xor 0x{value:02x}"),
            (value, mask) => write!(out, " TOS set 0x{value:02x}/0x{mask:02x}"),
        }
    }
}
