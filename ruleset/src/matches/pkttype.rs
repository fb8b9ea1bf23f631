//! `-m pkttype`: to whom the link layer sent a packet (xt_pkttype.c).

use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m pkttype`: to whom the link layer sent a packet (xt_pkttype.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pkttype {
    /// `PACKET_HOST` (0), `PACKET_BROADCAST`, `PACKET_MULTICAST` or `PACKET_OTHERHOST`.
    pub kind: u8,
    /// `!`.
    pub invert: bool,
}

/// Names and numbers; the first of equal ones is printed.
pub const NAMES: &[(&str, u8)] =
    &[("unicast", 0), ("broadcast", 1), ("multicast", 2), ("otherhost", 3), ("bcast", 1), ("mcast", 2), ("host", 0)];

impl Pkttype {
    fn name(&self) -> &'static str {
        NAMES.iter().find(|(_, kind)| *kind == self.kind).map_or("", |(name, _)| name)
    }
}

impl Text for Pkttype {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --pkt-type {}", not(self.invert), self.name())
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " PKTTYPE {}= {}", if self.invert { "!" } else { "" }, self.name())
    }
}

impl MatchKind for Pkttype {}
