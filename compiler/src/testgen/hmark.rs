//! `-j HMARK`, with few marks, which are those that rules ask for.

use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Hmark;
use bpftables_ruleset::targets::hmark::IpMask;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::net::Ipv4Addr;

/// `connections`: connections may be hashed, too.
pub(super) fn target(connections: bool) -> impl Strategy<Value = Target> {
    let mask = || option::weighted(0.8, select(&[0u32, 8, 24, 32][..]));
    let ports = option::weighted(0.8, select(&[0xffff_ffffu32, 0xffff, 0xff00_00ff, 0][..]));
    let set = option::weighted(0.2, any::<u32>());
    let how = (option::of(any::<u16>()), any::<u32>(), 1u32..4, option::of(0u32..3), prop::bool::weighted(0.3));
    (mask(), mask(), ports, set, any::<bool>(), how).prop_map(move |(src, dst, ports, set, spi, how)| {
        let mask = |bits: Option<u32>| {
            bits.map(|bits| IpMask(Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - bits).unwrap_or(0)).into()))
        };
        let (proto_mask, rnd, modulus, offset, conntrack) = how;
        let high = |word: Option<u32>| word.filter(|_| !spi).map(|word| (word >> 16) as u16);
        let low = |word: Option<u32>| word.filter(|_| !spi).map(|word| word as u16);
        Target::Hmark(Box::new(Hmark {
            src: mask(src),
            dst: mask(dst),
            sport_mask: high(ports),
            dport_mask: low(ports),
            spi_mask: ports.filter(|_| spi),
            sport: high(set),
            dport: low(set),
            spi: set.filter(|_| spi),
            proto_mask,
            rnd,
            modulus,
            offset,
            conntrack: conntrack && connections,
        }))
    })
}
