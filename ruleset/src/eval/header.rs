//! Matches of the network header, and TCP's ECN bits.

use super::Packet;
use crate::addr::Family;
use crate::matches::{HopComparison, Match};
use std::net::IpAddr;

/// Whether `m` holds; `None` if it asks for something else, such as the link header or a socket.
#[must_use]
pub fn holds(m: &Match, packet: &Packet) -> Option<bool> {
    let hops = packet.ttl();
    let compared = |comparison, value| match comparison {
        HopComparison::Equal => hops == value,
        HopComparison::NotEqual => hops != value,
        HopComparison::Less => hops < value,
        HopComparison::Greater => hops > value,
    };
    Some(match m {
        Match::Length(l) => (usize::from(l.min)..=usize::from(l.max)).contains(&packet.len()) != l.invert,
        Match::Ttl(t) => compared(t.comparison, t.value),
        Match::Hl(h) => compared(h.comparison, h.value),
        Match::Tos(t) => (packet.tos() & t.mask == t.value) != t.invert,
        Match::Dscp(d) => (packet.tos() >> 2 == d.dscp) != d.invert,
        Match::Ecn(e) => {
            let ip = e.ect.is_none_or(|(ect, invert)| (packet.tos() & 3 == ect) != invert);
            let asked = e.ece.is_some() || e.cwr.is_some();
            // Where IPv6's later fragments would have them, netfilter reads something else.
            let readable = packet.family() == Family::V4 || packet.fragment_offset() == 0;
            let tcp = || {
                let flags = packet.payload().get(..20)?[13];
                let bit = |wanted: Option<bool>, bit: u8| wanted.is_none_or(|invert| (flags & bit != 0) != invert);
                Some(bit(e.ece, 0x40) && bit(e.cwr, 0x80))
            };
            ip && (!asked || readable && tcp().unwrap_or(false))
        }
        Match::Iprange(r) => {
            let within = |range: Option<(IpAddr, IpAddr, bool)>, addr: IpAddr| {
                range.is_none_or(|(lo, hi, invert)| (lo <= addr && addr <= hi) != invert)
            };
            within(r.source, packet.saddr()) && within(r.destination, packet.daddr())
        }
        _ => return None,
    })
}

impl Packet {
    /// TTL or hop limit, as it is at the hook.
    #[must_use]
    pub fn ttl(&self) -> u8 {
        self.data.get(if self.family() == Family::V4 { 8 } else { 7 }).copied().unwrap_or(0)
    }

    /// Type of service or traffic class.
    #[must_use]
    pub fn tos(&self) -> u8 {
        let byte = |at: usize| self.data.get(at).copied().unwrap_or(0);
        if self.family() == Family::V4 { byte(1) } else { byte(0) << 4 | byte(1) >> 4 }
    }
}
