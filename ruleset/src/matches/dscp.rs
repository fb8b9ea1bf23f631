//! `-m dscp`: the six DSCP bits of the TOS field or traffic class (xt_dscp.c).

use crate::check::{Place, Problem};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m dscp`: the six DSCP bits of the TOS field or traffic class (xt_dscp.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dscp {
    /// The value, at most 63.
    pub dscp: u8,
    /// `!`.
    pub invert: bool,
}

/// The DiffServ classes, in legacy's order.
pub const CLASSES: &[(&str, u8)] = &[
    ("CS0", 0x00),
    ("CS1", 0x08),
    ("CS2", 0x10),
    ("CS3", 0x18),
    ("CS4", 0x20),
    ("CS5", 0x28),
    ("CS6", 0x30),
    ("CS7", 0x38),
    ("BE", 0x00),
    ("AF11", 0x0a),
    ("AF12", 0x0c),
    ("AF13", 0x0e),
    ("AF21", 0x12),
    ("AF22", 0x14),
    ("AF23", 0x16),
    ("AF31", 0x1a),
    ("AF32", 0x1c),
    ("AF33", 0x1e),
    ("AF41", 0x22),
    ("AF42", 0x24),
    ("AF43", 0x26),
    ("EF", 0x2e),
];

impl Text for Dscp {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --dscp 0x{:02x}", not(self.invert), self.dscp)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " DSCP match {}0x{:02x}", if self.invert { "!" } else { "" }, self.dscp)
    }
}

impl MatchKind for Dscp {
    fn check(&self, _: Place) -> Result<(), Problem> {
        if self.dscp > 63 { Err(Problem::Domain("a DSCP value is at most 63")) } else { Ok(()) }
    }
}
