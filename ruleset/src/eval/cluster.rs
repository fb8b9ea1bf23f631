//! `-m cluster` (`xt_cluster.c`), with the kernel's hash (`jhash.h`). Of an address of IPv6 the kernel takes the first 32 bits alone.

use super::packet::{Ct, Packet};
use crate::matches::Cluster;
use std::net::IpAddr;

/// Whether the connection's first source belongs to one of the local nodes; false without a connection, inverted or not.
pub fn holds(m: &Cluster, packet: &Packet) -> bool {
    let Ct::Connection(ct) = &packet.ct else { return false };
    let first: [u8; 4] = match ct.original.src {
        IpAddr::V4(addr) => addr.octets(),
        IpAddr::V6(addr) => {
            let [a, b, c, d, ..] = addr.octets();
            [a, b, c, d]
        }
    };
    let hash = one_word(u32::from_ne_bytes(first), m.seed);
    let node = (u64::from(hash) * u64::from(m.total)) >> 32;
    (m.mask >> node & 1 != 0) != m.invert
}

pub(super) const INIT: u32 = 0xdead_beef;

/// The last step of `jhash`.
pub(super) fn finish([mut a, mut b, mut c]: [u32; 3]) -> u32 {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// `jhash_1word`.
fn one_word(word: u32, seed: u32) -> u32 {
    let base = seed.wrapping_add(INIT).wrapping_add(1 << 2);
    finish([base.wrapping_add(word), base, base])
}
