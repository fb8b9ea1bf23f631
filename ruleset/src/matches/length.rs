//! `-m length`: the length of the IP packet (xt_length.c).

use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not, write_bounds};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m length`: the length of the IP packet (xt_length.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Length {
    /// Shortest, in bytes.
    pub min: u16,
    /// Longest, inclusive.
    pub max: u16,
    /// `!`.
    pub invert: bool,
}

impl Text for Length {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --length ", not(self.invert))?;
        write_bounds(self.min, self.max, out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " length {}", if self.invert { "!" } else { "" })?;
        write_bounds(self.min, self.max, out)
    }
}

impl MatchKind for Length {}
