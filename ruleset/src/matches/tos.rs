//! `-m tos`: bits of the TOS field or traffic class (xt_dscp.c, rev 1).

use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m tos`: bits of the TOS field or traffic class (xt_dscp.c, rev 1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tos {
    /// Value.
    pub value: u8,
    /// Mask.
    pub mask: u8,
    /// `!`.
    pub invert: bool,
}

/// The old names of values.
pub const NAMES: &[(&str, u8)] = &[
    ("Minimize-Delay", 0x10),
    ("Maximize-Throughput", 0x08),
    ("Maximize-Reliability", 0x04),
    ("Minimize-Cost", 0x02),
    ("Normal-Service", 0x00),
];

/// The mask of a value that was given by its name.
pub const NAMED_MASK: u8 = 0x3f;

impl Text for Tos {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --tos 0x{:02x}/0x{:02x}", not(self.invert), self.value, self.mask)
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " tos match{}", if self.invert { "!" } else { "" })?;
        let named = NAMES.iter().find(|(_, value)| self.mask == NAMED_MASK && *value == self.value);
        match named {
            Some((name, _)) if !cx.numeric => write!(out, " {name}"),
            _ => write!(out, "0x{:02x}/0x{:02x}", self.value, self.mask),
        }
    }
}

impl MatchKind for Tos {}
