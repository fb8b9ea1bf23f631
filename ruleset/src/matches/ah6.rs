//! `-m ah` of IPv6: an AH header (ip6t_ah.c).

use crate::matches::MatchKind;
use crate::matches::esp::IdentifierRange;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m ah` of IPv6: an AH header (ip6t_ah.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ah6 {
    /// `--ahspi`.
    pub spi: IdentifierRange,
    /// `--ahlen`; 0 without `!`: any.
    pub length: u32,
    /// `! --ahlen`.
    pub invert_length: bool,
    /// `--ahres`.
    pub reserved: bool,
}

impl Ah6 {
    const fn asks_length(&self) -> bool {
        self.length != 0 || self.invert_length
    }
}

impl Text for Ah6 {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.spi.save("ahspi", out)?;
        if self.asks_length() {
            write!(out, "{} --ahlen {}", not(self.invert_length), self.length)?;
        }
        out.write_str(if self.reserved { " --ahres" } else { "" })
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" ah ")?;
        self.spi.list("spi", out)?;
        if self.asks_length() {
            write!(out, "length:{}{}", if self.invert_length { "!" } else { "" }, self.length)?;
        }
        out.write_str(if self.reserved { " reserved" } else { "" })
    }
}

impl MatchKind for Ah6 {}
