//! The rule's own selectors (`ip_packet_match`).

use super::Answer;
use super::packet::Packet;
use crate::addr::{AddrMatch, IfacePattern, masked};
use crate::rule::IpMatch;
use std::net::IpAddr;

/// Whether the header and the devices are as the rule asks. `-p` in IPv6 (`-p all` too) drops a packet whose extension headers are cut
/// short.
pub(super) fn holds(ip: &IpMatch, packet: &Packet) -> Answer {
    let before = ip.src.as_ref().is_none_or(|m| addr(m, packet.saddr()))
        && ip.dst.as_ref().is_none_or(|m| addr(m, packet.daddr()))
        && ip.iif.as_ref().is_none_or(|p| iface(p, packet.iif.as_deref()))
        && ip.oif.as_ref().is_none_or(|p| iface(p, packet.oif.as_deref()));
    if !before {
        return Answer::No;
    }
    if let Some((proto, invert)) = ip.proto {
        let Some(found) = packet.proto() else { return Answer::Hotdrop };
        if proto != 0 && (found == proto) == invert {
            return Answer::No;
        }
    }
    ip.fragment.is_none_or(|invert| (packet.fragment_offset() != 0) != invert).into()
}

/// An address against `ADDR/MASK`, with its `!`.
pub(super) fn addr(m: &AddrMatch, addr: IpAddr) -> bool {
    (masked(addr, m.mask) == masked(m.addr, m.mask)) != m.invert
}

/// A hook without such a device has one without a name.
fn iface(pattern: &IfacePattern, name: Option<&str>) -> bool {
    let name = name.unwrap_or("");
    let same = if pattern.wildcard { name.starts_with(&*pattern.name) } else { name == &*pattern.name };
    same != pattern.invert
}
