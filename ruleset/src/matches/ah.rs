//! `-m ah` of IPv4: the SPI of an AH header (ipt_ah.c).

use crate::check::{Place, Problem};
use crate::matches::MatchKind;
use crate::matches::esp::IdentifierRange;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m ah` of IPv4: the SPI of an AH header (ipt_ah.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ah {
    /// `--ahspi`.
    pub spi: IdentifierRange,
}

impl Text for Ah {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.spi.save("ahspi", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" ah ")?;
        self.spi.list("spi", out)
    }
}

impl MatchKind for Ah {
    fn check(&self, place: Place) -> Result<(), Problem> {
        place.needs_protocol(51, "the ah match needs -p ah")
    }
}
