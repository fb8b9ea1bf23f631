//! `-m addrtype` (`xt_addrtype.c`), which asks other questions in IPv6 than in IPv4.

use super::env::Environment;
use super::packet::Packet;
use crate::matches::Addrtype;
use std::net::{IpAddr, Ipv6Addr};

const UNSPEC: u16 = 1;
const UNICAST: u16 = 1 << 1;
const LOCAL: u16 = 1 << 2;
const ANYCAST: u16 = 1 << 4;
const MULTICAST: u16 = 1 << 5;
const UNREACHABLE: u16 = 1 << 7;

/// Source and destination, as far as they are asked about.
pub fn holds(m: &Addrtype, packet: &Packet, env: &dyn Environment) -> bool {
    let device = match (m.limit_in, m.limit_out) {
        (true, _) => packet.iif.as_deref(),
        (_, true) => packet.oif.as_deref(),
        _ => None,
    };
    let is = |types: u16, addr: IpAddr| match addr {
        IpAddr::V4(addr) => types >> env.addr_type(addr, device) & 1 != 0,
        IpAddr::V6(addr) => is_v6(types, addr, env, device),
    };
    (m.src == 0 || is(m.src, packet.saddr()) != m.invert_src)
        && (m.dst == 0 || is(m.dst, packet.daddr()) != m.invert_dst)
}

/// Each kind that the address itself shows must hold; of those that routing tells, one.
fn is_v6(types: u16, addr: Ipv6Addr, env: &dyn Environment, device: Option<&str>) -> bool {
    let asks = |kind: u16| types & kind != 0;
    let unicast = !addr.is_multicast() && !addr.is_unspecified() && addr.to_ipv4_mapped().is_none();
    if asks(MULTICAST) && !addr.is_multicast() || asks(UNICAST) && !unicast || asks(UNSPEC) && !addr.is_unspecified() {
        return false;
    }
    let routed = types & (LOCAL | ANYCAST | UNREACHABLE);
    routed == 0 || routed & env.route_types(addr, device) != 0
}
