//! `-m cpu`: which CPU handles a packet (xt_cpu.c).

use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m cpu`: which CPU handles a packet (xt_cpu.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cpu {
    /// Its number.
    pub cpu: u32,
    /// `!`.
    pub invert: bool,
}

impl Text for Cpu {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --cpu {}", not(self.invert), self.cpu)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " cpu {}{}", if self.invert { "! " } else { "" }, self.cpu)
    }
}

impl MatchKind for Cpu {}
