//! Matches of the network header, the link header that a packet came with, its socket and its IPsec state.

use super::{ZERO, inv};
use crate::lines::Lines;
use bpftables_abi::ops::{Op, op};
use bpftables_ruleset::matches::{Devgroup, Ecn, HopComparison, Iprange, Mac, Match, Owner, Physdev, Policy};
use std::net::IpAddr;

/// The op of `m`, if it is one of these. The reason, if it can't be run.
pub(super) fn encode(m: &Match, lines: &mut Lines) -> Result<Option<Op>, &'static str> {
    Ok(Some(match m {
        Match::Mac(m) => mac(m)?,
        Match::Owner(o) => owner(o, lines),
        Match::Pkttype(p) => Op { op: op::PKTTYPE, flags: inv(p.invert), b: p.kind.into(), ..ZERO },
        Match::Length(l) => {
            let b = u32::from(l.min) | u32::from(l.max) << 16;
            Op { op: op::LENGTH, flags: inv(l.invert), b, ..ZERO }
        }
        Match::Ttl(t) => hops(t.comparison, t.value),
        Match::Hl(h) => hops(h.comparison, h.value),
        Match::Tos(t) => Op { op: op::TOS, flags: inv(t.invert), b: t.value.into(), c: t.mask.into(), ..ZERO },
        Match::Dscp(d) => Op { op: op::TOS, flags: inv(d.invert), b: u32::from(d.dscp) << 2, c: 0xfc, ..ZERO },
        Match::Ecn(e) => ecn(e),
        Match::Iprange(r) => iprange(r, lines),
        Match::Policy(p) => policy(p)?,
        Match::Socket(s) => {
            let a = u16::from(s.transparent) | u16::from(s.no_wildcard) << 1 | u16::from(s.restore_mark) << 2;
            Op { op: op::SOCKET, a, ..ZERO }
        }
        Match::Devgroup(d) => devgroup(d, lines),
        Match::Realm(r) => {
            let realm = &r.realm;
            Op { op: op::REALM, flags: inv(realm.invert), b: realm.value, c: realm.mask, ..ZERO }
        }
        Match::Rpfilter(r) => {
            let a = u16::from(r.loose) | u16::from(r.valid_mark) << 1 | u16::from(r.accept_local) << 2;
            Op { op: op::RPFILTER, flags: inv(r.invert), a, ..ZERO }
        }
        _ => return Ok(None),
    }))
}

fn mac(m: &Mac) -> Result<Op, &'static str> {
    // On its way to FORWARD a packet's address is carried in 47 bits; no frame has such a source, unless it is forged.
    if m.source[0] & 1 != 0 || m.source == [0; 6] {
        return Err("-m mac can't be run with an address that no device sends from");
    }
    let [a, b, c, d, e, f] = m.source;
    let (first, other) = (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, 0, 0]));
    Ok(Op { op: op::MAC, flags: inv(m.invert), b: first, c: other, ..ZERO })
}

fn owner(o: &Owner, lines: &mut Lines) -> Op {
    let (uid, gid) = (o.uid.unwrap_or_default(), o.gid.unwrap_or_default());
    let bits = |given: bool, invert: bool, bit: u16| if given { bit | if invert { bit << 8 } else { 0 } } else { 0 };
    let a = bits(o.uid.is_some(), uid.2, 1)
        | bits(o.gid.is_some(), gid.2, 2)
        | bits(o.socket.is_some(), o.socket.unwrap_or_default(), 4)
        | bits(o.supplementary, false, 8);
    let b = lines.intern_words(&[uid.0, uid.1, gid.0, gid.1]);
    Op { op: op::OWNER, a, b, ..ZERO }
}

fn hops(comparison: HopComparison, value: u8) -> Op {
    let a = match comparison {
        HopComparison::Equal => 0,
        HopComparison::NotEqual => 1,
        HopComparison::Less => 2,
        HopComparison::Greater => 3,
    };
    Op { op: op::TTL, a, b: value.into(), ..ZERO }
}

fn ecn(e: &Ecn) -> Op {
    let bit = |asked: Option<bool>, bit: u32| match asked {
        None => (0, 0),
        Some(invert) => (bit, if invert { bit } else { 0 }),
    };
    let parts = [bit(e.ece, 1), bit(e.cwr, 2), bit(e.ect.map(|(_, invert)| invert), 4)];
    let (asked, inverted) = parts.into_iter().fold((0, 0), |(a, i), (asked, inverted)| (a | asked, i | inverted));
    let ect = e.ect.map_or(0, |(ect, _)| u32::from(ect));
    Op { op: op::ECN, b: asked | ect << 4, c: inverted, ..ZERO }
}

fn iprange(r: &Iprange, lines: &mut Lines) -> Op {
    let mut bytes = Vec::new();
    let mut a = 0;
    for (range, bit) in [(r.source, 1), (r.destination, 4)] {
        let none = (IpAddr::from([0, 0, 0, 0]), IpAddr::from([0, 0, 0, 0]), false);
        let (lo, hi, invert) = range.or(r.source).or(r.destination).unwrap_or(none);
        if range.is_some() {
            a |= bit | if invert { bit << 1 } else { 0 };
        }
        for addr in [lo, hi] {
            match addr {
                IpAddr::V4(addr) => bytes.extend(addr.octets()),
                IpAddr::V6(addr) => bytes.extend(addr.octets()),
            }
        }
    }
    let words: Vec<u32> = bytes.chunks_exact(4).map(|w| u32::from_ne_bytes([w[0], w[1], w[2], w[3]])).collect();
    Op { op: op::IPRANGE, a, b: lines.intern_words(&words), ..ZERO }
}

fn devgroup(d: &Devgroup, lines: &mut Lines) -> Op {
    let (mut a, mut words) = (0, [0; 4]);
    for (group, bit, at) in [(&d.source, 1, 0), (&d.destination, 4, 2)] {
        if let Some(group) = group {
            a |= bit | if group.invert { bit << 1 } else { 0 };
            words[at..at + 2].copy_from_slice(&[group.value, group.mask]);
        }
    }
    Op { op: op::DEVGROUP, a, b: lines.intern_words(&words), ..ZERO }
}

/// `classes` gives those of a port's name.
pub(crate) fn physdev(p: &Physdev, classes: impl Fn(&str) -> Option<(u16, u16)>) -> Option<Op> {
    let mut a = 0;
    let mut ask = |bit: u16, invert: bool| a |= bit | if invert { bit << 8 } else { 0 };
    let mut ranges = [0; 2];
    for (at, port) in [&p.input, &p.output].into_iter().enumerate() {
        if let Some((name, invert)) = port {
            ask(1 << at, *invert);
            let (lo, hi) = classes(name)?;
            ranges[at] = u32::from(lo) | u32::from(hi) << 16;
        }
    }
    for (flag, bit) in [(p.is_bridged, 4), (p.is_in, 8), (p.is_out, 16)] {
        flag.into_iter().for_each(|invert| ask(bit, invert));
    }
    Some(Op { op: op::PHYSDEV, a, b: ranges[0], c: ranges[1], ..ZERO })
}

fn policy(p: &Policy) -> Result<Op, &'static str> {
    // What IPsec has unwrapped in transport mode, or will wrap, does not pass a device as the packet that netfilter's hooks see.
    if !p.none {
        return Err("-m policy --pol ipsec can't be run, since not all packets of IPsec pass a device unwrapped");
    }
    Ok(Op { op: op::POLICY, b: u32::from(p.outward), ..ZERO })
}
