//! Matches of IPv6's extension headers and the headers that they are asked of, made from numbers that IPv4's generators drew.

use super::ipv6::addr;
use super::pools::ADDRS;
use bpftables_ruleset::matches::esp::IdentifierRange;
use bpftables_ruleset::matches::hbh::OptionsHeader;
use bpftables_ruleset::matches::srh::SrhNumber;
use bpftables_ruleset::matches::{Ah6, Dst, Frag, Hbh, Ipv6header, Match, Rt, Srh};
use std::net::{IpAddr, Ipv6Addr};

/// Small numbers out of one large.
struct Draw(u64);

impl Draw {
    fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % count
    }

    fn seldom(&mut self) -> bool {
        self.below(4) == 0
    }

    fn some<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| value(self))
    }

    fn range(&mut self, max: u64) -> IdentifierRange {
        let (a, b) = (self.below(max) as u32, self.below(max) as u32);
        let whole = self.seldom();
        let (min, max) = if whole { (0, u32::MAX) } else { (a.min(b), a.max(b)) };
        IdentifierRange { min, max, invert: self.seldom() }
    }

    fn address(&mut self) -> Ipv6Addr {
        match addr(ADDRS[self.below(4) as usize].into()) {
            IpAddr::V6(addr) => addr,
            IpAddr::V4(_) => Ipv6Addr::UNSPECIFIED,
        }
    }

    fn number(&mut self) -> SrhNumber {
        let value = self.below(5) as u8;
        let mut way = || self.seldom().then(|| self.seldom());
        SrhNumber { value, equal: way(), greater: way(), less: way() }
    }

    fn segment(&mut self) -> Option<(IpAddr, IpAddr, bool)> {
        let mask = [u128::MAX, u128::MAX << 64, 0][self.below(3) as usize];
        self.seldom().then(|| (self.address().into(), Ipv6Addr::from_bits(mask).into(), self.seldom()))
    }
}

/// A match.
pub(super) fn any_match(seed: u64) -> Match {
    let mut draw = Draw(seed);
    match draw.below(7) {
        0 => Match::Ah6(Ah6 {
            spi: draw.range(3),
            length: [0, 12, 16, 1 << 20][draw.below(4) as usize],
            invert_length: draw.seldom(),
            reserved: draw.seldom(),
        }),
        1 => {
            let headers = [1, 17, 65, 73, 89, 129, 33, 49, 193][draw.below(9) as usize];
            Match::Ipv6header(Ipv6header { headers, names: "".into(), invert: draw.seldom(), soft: draw.below(2) == 0 })
        }
        2 => {
            let [reserved, first, more, last] = std::array::from_fn(|_| draw.seldom());
            Match::Frag(Frag { id: draw.range(9), length: None, reserved, first, more, last })
        }
        3 => Match::Rt(Box::new(Rt {
            kind: draw.some(|draw| (draw.below(2) as u32 * 4, draw.seldom())),
            segments_left: draw.range(3),
            length: draw.some(|draw| (draw.below(4) as u32 * 16 + 8, draw.seldom())),
            reserved: draw.seldom(),
            addresses: draw.some(|draw| (0..=draw.below(2)).map(|_| draw.address()).collect()),
            not_strict: draw.below(2) == 0,
        })),
        kind @ (4 | 5) => {
            let header = OptionsHeader {
                length: draw.some(|draw| (draw.below(3) as u32 * 8, draw.seldom())),
                options: draw.some(|draw| {
                    let option =
                        |draw: &mut Draw| ([0, 1, 5][draw.below(3) as usize], [4, 255, 2, 0][draw.below(4) as usize]);
                    (0..=draw.below(4)).map(|_| option(draw)).collect()
                }),
            };
            if kind == 4 { Match::Hbh(Box::new(Hbh { header })) } else { Match::Dst(Box::new(Dst { header })) }
        }
        _ => Match::Srh(Box::new(Srh {
            next_header: draw.seldom().then(|| (17, draw.seldom())),
            length: draw.number(),
            segments_left: draw.number(),
            last_entry: draw.number(),
            tag: draw.seldom().then(|| (draw.below(3) as u16 * 256, draw.seldom())),
            previous: draw.segment(),
            next: draw.segment(),
            last: draw.segment(),
        })),
    }
}

/// A header of the number `kind`, its first byte not yet leading on.
pub(super) fn header(kind: u8, seed: u64) -> Vec<u8> {
    let mut draw = Draw(seed ^ u64::from(kind));
    match kind {
        51 => {
            vec![0, 1 + draw.below(2) as u8 * 250, 0, draw.below(4) as u8 / 3, 0, 0, 0, draw.below(4) as u8, 0, 0, 0, 0]
        }
        43 => {
            let (segment_routing, count) = (draw.below(2) as u8, 1 + draw.below(2));
            let (left, last) = (draw.below(count + 1) as u8, count as u8 - draw.below(2) as u8);
            let rest = if segment_routing == 1 {
                [last, 0, 0, draw.below(3) as u8]
            } else {
                [0, 0, 0, draw.below(4) as u8 / 3]
            };
            let mut bytes = vec![0, count as u8 * 2, segment_routing * 4, left];
            bytes.extend(rest);
            (0..count).for_each(|_| bytes.extend(draw.address().octets()));
            bytes
        }
        _ => match draw.below(4) {
            0 => vec![0, 0, 1, 4, 0, 0, 0, 0],
            1 => vec![0, 0, 5, 2, 0, 0, 0, 0],
            2 => vec![0, 1, 0, 0, 1, 0, 5, 4, 0, 0, 0, 0, 1, 9, 0, 0],
            _ => vec![0, 0, 1, 4, 0, 0, 0, 5],
        },
    }
}
