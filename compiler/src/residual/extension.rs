//! Matches of IPv6's extension headers, of mobility headers, and of addresses made from link addresses.

use super::{ZERO, inv};
use crate::lines::Lines;
use bpftables_abi::ops::{Op, op};
use bpftables_ruleset::matches::hbh::OptionsHeader;
use bpftables_ruleset::matches::srh::SrhNumber;
use bpftables_ruleset::matches::{Ah6, Frag, Match, Rt, Srh};
use std::net::{IpAddr, Ipv6Addr};

/// The op of `m`, if it is one of these.
pub(super) fn encode(m: &Match, lines: &mut Lines) -> Option<Op> {
    Some(match m {
        Match::Ah6(a) => ah(a),
        Match::Ipv6header(h) => {
            Op { op: op::IPV6HEADER, flags: inv(h.invert), a: h.soft.into(), b: h.headers.into(), ..ZERO }
        }
        Match::Frag(f) => frag(f),
        Match::Rt(r) => rt(r, lines),
        Match::Hbh(h) => options(0, &h.header, lines),
        Match::Dst(d) => options(60, &d.header, lines),
        Match::Mh(m) => Op { op: op::MH, flags: inv(m.invert), b: u32::from(m.min) | u32::from(m.max) << 16, ..ZERO },
        Match::Srh(s) => srh(s, lines),
        Match::Eui64(_) => Op { op: op::EUI64, ..ZERO },
        _ => return None,
    })
}

const fn bit(on: bool, bit: u32) -> u32 {
    if on { bit } else { 0 }
}

fn ah(a: &Ah6) -> Op {
    // No header is as long as the longest that has room.
    let d = a.length.min(0xffff) | bit(a.invert_length, 1 << 16) | bit(a.reserved, 1 << 17);
    Op { op: op::AH6, flags: inv(a.spi.invert), b: a.spi.min, c: a.spi.max, d, ..ZERO }
}

fn frag(f: &Frag) -> Op {
    let asked = [f.reserved, f.first, f.more, f.last];
    let a = asked.iter().enumerate().fold(0, |a, (index, on)| a | u16::from(*on) << index);
    // The module never looks at the length.
    Op { op: op::FRAG, flags: inv(f.id.invert), a, b: f.id.min, c: f.id.max, ..ZERO }
}

fn words_of(addr: Ipv6Addr) -> [u32; 4] {
    let o = addr.octets();
    std::array::from_fn(|i| u32::from_ne_bytes([o[4 * i], o[4 * i + 1], o[4 * i + 2], o[4 * i + 3]]))
}

fn rt(r: &Rt, lines: &mut Lines) -> Op {
    let (kind, not_kind) = r.kind.unwrap_or_default();
    let (length, not_length) = r.length.unwrap_or_default();
    let addresses = r.addresses.as_deref().unwrap_or_default();
    let flags = bit(r.kind.is_some(), 1)
        | bit(not_kind, 2)
        | bit(r.segments_left.invert, 4)
        | bit(r.length.is_some(), 8)
        | bit(not_length, 16)
        | bit(r.reserved, 32)
        | bit(r.addresses.is_some(), 64)
        | bit(r.not_strict, 128);
    let mut words = vec![flags, kind, r.segments_left.min, r.segments_left.max, length, addresses.len() as u32];
    words.resize(16, 0);
    words.extend(addresses.iter().flat_map(|addr| words_of(*addr)));
    Op { op: op::RT, b: lines.intern_words(&words), ..ZERO }
}

fn options(header: u16, h: &OptionsHeader, lines: &mut Lines) -> Op {
    let (length, invert) = h.length.unwrap_or_default();
    let asked = h.options.as_deref().unwrap_or_default();
    let mut words: Vec<u32> = asked.iter().map(|(kind, length)| u32::from(*kind) << 8 | u32::from(*length)).collect();
    words.resize(16, 0);
    let d = asked.len() as u32 | bit(h.options.is_some(), 1 << 8) | bit(h.length.is_some(), 1 << 9);
    Op { op: op::OPTS, flags: inv(invert), a: header, b: lines.intern_words(&words), c: length, d }
}

/// What is asked and what is inverted of a number, as bits from `first` on.
fn number(n: &SrhNumber, first: u32) -> (u32, u32) {
    let ways = [n.equal, n.greater, n.less];
    (0..).zip(ways).fold((0, 0), |(asked, inverted), (way, given)| {
        let bit = |on: bool| u32::from(on) << (first + way);
        (asked | bit(given.is_some()), inverted | bit(given.unwrap_or(false)))
    })
}

fn srh(s: &Srh, lines: &mut Lines) -> Op {
    let one = |given: Option<bool>, at: u32| (bit(given.is_some(), 1 << at), bit(given.unwrap_or(false), 1 << at));
    let segment = |given: &Option<(IpAddr, IpAddr, bool)>| given.map(|(.., invert)| invert);
    let parts = [
        one(s.next_header.map(|(_, invert)| invert), 0),
        number(&s.length, 1),
        number(&s.segments_left, 4),
        number(&s.last_entry, 7),
        one(s.tag.map(|(_, invert)| invert), 10),
        one(segment(&s.previous), 11),
        one(segment(&s.next), 12),
        one(segment(&s.last), 13),
    ];
    let (asked, inverted) = parts.into_iter().fold((0, 0), |(a, i), (asked, inverted)| (a | asked, i | inverted));
    let header = s.next_header.map_or(0, |(header, _)| header);
    let numbers = u32::from_le_bytes([header, s.length.value, s.segments_left.value, s.last_entry.value]);
    let mut words = vec![asked, inverted, numbers, s.tag.map_or(0, |(tag, _)| tag.into())];
    words.resize(16, 0);
    for given in [&s.previous, &s.next, &s.last] {
        for addr in given.map_or([IpAddr::V6(Ipv6Addr::UNSPECIFIED); 2], |(addr, mask, _)| [addr, mask]) {
            words.extend(match addr {
                IpAddr::V6(addr) => words_of(addr),
                IpAddr::V4(_) => [0; 4],
            });
        }
    }
    Op { op: op::SRH, b: lines.intern_words(&words), ..ZERO }
}
