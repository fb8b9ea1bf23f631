//! `-m esp`: the SPI of an ESP header (xt_esp.c). The range of SPIs is shared with the matches of AH and IPComp.

use crate::check::{Place, Problem};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not, write_bounds};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A range of identifiers, with or without `!`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdentifierRange {
    /// Lowest.
    pub min: u32,
    /// Highest, inclusive.
    pub max: u32,
    /// `!`.
    pub invert: bool,
}

impl Default for IdentifierRange {
    fn default() -> Self {
        Self { min: 0, max: u32::MAX, invert: false }
    }
}

impl IdentifierRange {
    /// It holds for everything, and is not printed.
    fn is_any(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn save(&self, option: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        if self.is_any() {
            return Ok(());
        }
        write!(out, "{} --{option} ", not(self.invert))?;
        write_bounds(self.min, self.max, out)
    }

    /// `label:1`, `labels:!1:2`.
    pub(crate) fn list(&self, label: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        if self.is_any() {
            return Ok(());
        }
        let plural = if self.min == self.max { "" } else { "s" };
        write!(out, "{label}{plural}:{}", if self.invert { "!" } else { "" })?;
        write_bounds(self.min, self.max, out)
    }
}

/// `-m esp`: the SPI of an ESP header (xt_esp.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Esp {
    /// `--espspi`.
    pub spi: IdentifierRange,
}

impl Text for Esp {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.spi.save("espspi", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" esp")?;
        self.spi.list(" spi", out)
    }
}

impl MatchKind for Esp {
    fn check(&self, place: Place) -> Result<(), Problem> {
        place.needs_protocol(50, "the esp match needs -p esp")
    }
}
