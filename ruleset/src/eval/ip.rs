//! The rule's own selectors (`ip_packet_match`).

use super::packet::Packet;
use crate::addr::{AddrMatch, IfacePattern};
use crate::rule::IpMatch;
use std::net::{IpAddr, Ipv4Addr};

/// Whether the header and the devices are as the rule asks.
pub(super) fn holds(ip: &IpMatch, packet: &Packet) -> bool {
    let fragment = packet.fragment_offset() != 0;
    ip.src.as_ref().is_none_or(|m| addr(m, packet.saddr()))
        && ip.dst.as_ref().is_none_or(|m| addr(m, packet.daddr()))
        && ip.iif.as_ref().is_none_or(|p| iface(p, packet.iif.as_deref()))
        && ip.oif.as_ref().is_none_or(|p| iface(p, packet.oif.as_deref()))
        && ip.proto.is_none_or(|(proto, invert)| proto == 0 || (packet.proto() == proto) != invert)
        && ip.fragment.is_none_or(|invert| fragment != invert)
}

/// An address against `ADDR/MASK`, with its `!`.
pub(super) fn addr(m: &AddrMatch, addr: Ipv4Addr) -> bool {
    let (IpAddr::V4(want), IpAddr::V4(mask)) = (m.addr, m.mask) else { return false };
    ((addr.to_bits() & mask.to_bits()) == (want.to_bits() & mask.to_bits())) != m.invert
}

/// A hook without such a device has one without a name.
fn iface(pattern: &IfacePattern, name: Option<&str>) -> bool {
    let name = name.unwrap_or("");
    let same = if pattern.wildcard { name.starts_with(&*pattern.name) } else { name == &*pattern.name };
    same != pattern.invert
}
