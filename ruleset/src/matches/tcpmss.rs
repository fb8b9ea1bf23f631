//! `-m tcpmss`: the MSS option of TCP (xt_tcpmss.c).

use crate::check::{Place, Problem};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not, write_bounds};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m tcpmss`: the MSS option of TCP (xt_tcpmss.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tcpmss {
    /// Lowest.
    pub min: u16,
    /// Highest, inclusive.
    pub max: u16,
    /// `!`.
    pub invert: bool,
}

impl Text for Tcpmss {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --mss ", not(self.invert))?;
        write_bounds(self.min, self.max, out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " tcpmss match {}", if self.invert { "!" } else { "" })?;
        write_bounds(self.min, self.max, out)
    }
}

impl MatchKind for Tcpmss {
    fn check(&self, place: Place) -> Result<(), Problem> {
        place.needs_protocol(6, "the tcpmss match needs -p tcp")
    }
}
