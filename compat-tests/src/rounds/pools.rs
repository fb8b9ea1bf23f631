//! What rules and packets have in common: addresses, ports, devices.

use super::draw::Draw;
use crate::world::Family;

/// Ports that servers have.
pub(super) const PORTS: [&str; 7] = ["53", "80", "443", "22", "8080", "5353", "9999"];
/// The router's devices.
pub(super) const DEVICES: [&str; 5] = ["eth0", "eth1", "eth2", "tun0", "lo"];
/// Packet marks.
pub(super) const MARKS: [&str; 6] = ["0x1", "0x2", "0x10", "0x11", "0xff00", "0xdeadbeef"];

/// Host `host` behind device `net` (1 to 4: c, s, t, p); host 1 is the router.
pub(super) fn host(family: Family, net: usize, host: usize) -> String {
    match family {
        Family::V4 => format!("10.{net}.0.{host}"),
        Family::V6 => format!("fd00:{net}::{host}"),
    }
}

/// An address with a port.
pub(super) fn end(family: Family, addr: &str, port: usize) -> String {
    format!("{addr}{}{port}", if family == Family::V4 { ":" } else { "," })
}

/// Any host of the topology, the router more seldom.
pub(super) fn any_host(draw: &mut Draw, family: Family) -> String {
    let net = draw.weighted(&[(5, 1), (5, 2), (3, 3), (1, 4)]);
    let n = draw.weighted(&[(8, 10), (4, 11), (2, 12), (2, 1), (1, 100)]);
    host(family, net, n)
}

/// A network as rules name it.
pub(super) fn network(draw: &mut Draw, family: Family) -> String {
    let addr = any_host(draw, family);
    let mask = match family {
        Family::V4 => draw.pick(&["32", "32", "32", "31", "24", "24", "16", "8", "255.255.0.255", "255.0.255.0", "0"]),
        Family::V6 => draw.pick(&["128", "128", "128", "127", "64", "64", "32", "16", "ffff::ffff", "0"]),
    };
    format!("{addr}/{mask}")
}

/// A port or a range of ports.
pub(super) fn ports(draw: &mut Draw) -> String {
    let client = (1000 + draw.below(12)).to_string();
    let one = if draw.percent(75) { draw.pick(&PORTS).to_owned() } else { client };
    match draw.below(10) {
        0 => format!(":{one}"),
        1 => format!("{one}:"),
        2 => "50:500".to_owned(),
        3 => "1000:1005".to_owned(),
        _ => one,
    }
}

/// `value/mask` of marks.
pub(super) fn mark(draw: &mut Draw) -> String {
    match draw.below(4) {
        0 => format!("{}/{}", draw.pick(&["0x0", "0x1", "0x10"]), draw.pick(&["0xff", "0x1", "0xffff", "0x10"])),
        _ => draw.pick(&MARKS).to_owned(),
    }
}
