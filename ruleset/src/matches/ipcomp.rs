//! `-m ipcomp`: the CPI of an IPComp header (xt_ipcomp.c).

use crate::check::{Place, Problem};
use crate::matches::MatchKind;
use crate::matches::esp::IdentifierRange;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m ipcomp`: the CPI of an IPComp header (xt_ipcomp.c).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ipcomp {
    /// `--ipcompspi`; 0 alone when not given.
    pub spi: IdentifierRange,
    /// `--compres`.
    pub reserved: bool,
}

impl Default for Ipcomp {
    fn default() -> Self {
        Self { spi: IdentifierRange { min: 0, max: 0, invert: false }, reserved: false }
    }
}

impl Text for Ipcomp {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.spi.save("ipcompspi", out)?;
        out.write_str(if self.reserved { " --compres" } else { "" })
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" comp ")?;
        self.spi.list("spi", out)?;
        out.write_str(if self.reserved { " reserved" } else { "" })
    }
}

impl MatchKind for Ipcomp {
    fn check(&self, place: Place) -> Result<(), Problem> {
        place.needs_protocol(108, "the ipcomp match needs -p ipcomp")
    }
}
