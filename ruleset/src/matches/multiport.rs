//! `-m multiport` (xt_multiport.c, rev 1).

use crate::addr::PortRange;
use crate::check::{Place, Problem, need};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m multiport`: up to 15 ports, a range counting as two.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Multiport {
    /// Which of the packet's ports.
    pub side: MultiportSide,
    /// In the order given; a single port has `lo == hi` and `is_range` false.
    pub ports: Vec<MultiportEntry>,
    /// `!`.
    pub invert: bool,
}

/// One element of the list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MultiportEntry {
    /// The ports.
    pub range: PortRange,
    /// Written as a range (`80:80` prints back so).
    pub is_range: bool,
}

/// Which port is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MultiportSide {
    /// `--sports`.
    Source,
    /// `--dports`.
    Destination,
    /// `--ports`: either.
    Either,
}

impl MultiportSide {
    const fn word(self) -> &'static str {
        match self {
            Self::Source => "sports",
            Self::Destination => "dports",
            Self::Either => "ports",
        }
    }
}

impl Text for Multiport {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --{} ", if self.invert { " !" } else { "" }, self.side.word())?;
        for (index, entry) in self.ports.iter().enumerate() {
            write!(out, "{}{}", if index == 0 { "" } else { "," }, entry.range.lo)?;
            if entry.is_range {
                write!(out, ":{}", entry.range.hi)?;
            }
        }
        Ok(())
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        let protocol = match cx.protocol {
            6 => Some("tcp"),
            17 => Some("udp"),
            136 => Some("udplite"),
            132 => Some("sctp"),
            33 => Some("dccp"),
            _ => None,
        };
        write!(out, " multiport {} {}", self.side.word(), if self.invert { " !" } else { "" })?;
        for (index, entry) in self.ports.iter().enumerate() {
            if index != 0 {
                out.write_char(',')?;
            }
            cx.write_port(entry.range.lo, protocol, out)?;
            if entry.is_range {
                out.write_char(':')?;
                cx.write_port(entry.range.hi, protocol, out)?;
            }
        }
        Ok(())
    }
}

impl MatchKind for Multiport {
    fn check(&self, place: Place) -> Result<(), Problem> {
        let ports: usize = self.ports.iter().map(|entry| 1 + usize::from(entry.is_range)).sum();
        need(
            matches!(place.protocol, Some((6 | 17 | 33 | 132 | 136, false))) && ports <= 15,
            "multiport needs a protocol with ports, and takes 15 of them",
        )
    }
}
