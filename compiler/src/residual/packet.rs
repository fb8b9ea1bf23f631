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
        Match::Policy(p) => policy(p, lines)?,
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

/// A part of an element that is asked for, and whether it is inverted.
fn asked(given: bool, invert: bool, bit: u16) -> u16 {
    if given { bit | if invert { bit << 8 } else { 0 } } else { 0 }
}

fn policy(p: &Policy, lines: &mut Lines) -> Result<Op, &'static str> {
    const OUT: &str =
        "-m policy --dir out --pol ipsec can't be run, since what IPsec will wrap does not leave by a device as it is";
    const NEXT: &str = "-m policy --next can't be run, since kernels differ in which element they compare with";
    if p.none {
        return Ok(Op { op: op::POLICY, b: u32::from(!p.inward), ..ZERO });
    }
    if !p.inward {
        return Err(OUT);
    }
    let [element] = &p.elements[..] else { return Err(NEXT) };
    let (reqid, spi) = (element.reqid.unwrap_or_default(), element.spi.unwrap_or_default());
    let protocol = element.protocol.as_ref().map_or((0, false), |(protocol, _, invert)| (*protocol, *invert));
    let (tunnel, not_mode) = element.tunnel.unwrap_or_default();
    let parts = asked(element.reqid.is_some(), reqid.1, op::POLICY_REQID)
        | asked(element.spi.is_some(), spi.1, op::POLICY_SPI)
        | asked(element.protocol.is_some(), protocol.1, op::POLICY_PROTO)
        | asked(element.tunnel.is_some(), not_mode, op::POLICY_MODE)
        | asked(element.source.is_some(), element.source.is_some_and(|(.., invert)| invert), op::POLICY_SOURCE)
        | asked(
            element.destination.is_some(),
            element.destination.is_some_and(|(.., invert)| invert),
            op::POLICY_DESTINATION,
        );
    let words = [reqid.0, spi.0, u32::from(protocol.0) | u32::from(tunnel) << 8, u32::from(parts), p.strict.into()];
    let mut addrs = Vec::new();
    for (addr, mask, _) in [element.source, element.destination].into_iter().flatten() {
        addrs.extend([addr, mask].map(|addr| match addr {
            IpAddr::V4(addr) => vec![u32::from_ne_bytes(addr.octets())],
            IpAddr::V6(addr) => {
                addr.octets().chunks_exact(4).map(|w| u32::from_ne_bytes([w[0], w[1], w[2], w[3]])).collect()
            }
        }));
    }
    // The destination has its place behind a source.
    if element.source.is_none() {
        addrs.extend(addrs.clone());
    }
    let c = if addrs.is_empty() { 0 } else { lines.intern_words(&addrs.concat()) };
    Ok(Op { op: op::POLICY, a: 1, b: lines.intern_words(&words), c, ..ZERO })
}
