//! IPv6 rulesets and packets, made from generated IPv4 ones: each address becomes one of 128 bits, prefixes stay prefixes, and what IPv4's
//! options and fragments are become extension headers.

use bpftables_ruleset::eval::{Ct, CtTuple, Packet};
use bpftables_ruleset::matches::{Hl, Icmp6, Match, Mh};
use bpftables_ruleset::targets::npt::Prefixes;
use bpftables_ruleset::targets::{Dnpt, EcnSet, HlSet, NatRange, Netmap, RejectWith, Snpt};
use bpftables_ruleset::{AddrMatch, Family, Ruleset, Table, Target};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address of IPv6 that stands for one of IPv4: its halves lie far apart, so that prefixes are short and long ones.
#[must_use]
pub fn addr(from: IpAddr) -> IpAddr {
    let IpAddr::V4(from) = from else { return from };
    let bits = from.to_bits();
    let [hi, lo] = [(bits >> 16) as u16, bits as u16];
    Ipv6Addr::new(0xfd00, 0, hi, 0, 0, 0, 0, lo).into()
}

/// [`super::addr_types`] as IPv6 knows them: there is no broadcast.
#[must_use]
pub fn addr_types() -> BTreeMap<IpAddr, (u8, Box<str>)> {
    let local = super::addr_types().into_iter().filter(|(_, (kind, _))| *kind == 2);
    local.map(|(from, what)| (addr(from), what)).collect()
}

/// The mask that is to [`addr`] what `from` is to the address of IPv4.
fn mask(from: IpAddr) -> IpAddr {
    let IpAddr::V4(from) = from else { return from };
    let bits = from.to_bits();
    let [hi, lo] = [(bits >> 16) as u16, bits as u16];
    if bits == 0 {
        return Ipv6Addr::UNSPECIFIED.into();
    }
    let between = if lo == 0 || hi != 0xffff { 0 } else { 0xffff };
    Ipv6Addr::new(0xffff, 0xffff, hi, between, between, between, between, lo).into()
}

fn addr_match(m: &mut AddrMatch) {
    (m.addr, m.mask) = (addr(m.addr), mask(m.mask));
    // Rules hold masked addresses; every other mask covers what all of these have in common.
    if m.mask == Ipv6Addr::UNSPECIFIED {
        m.addr = Ipv6Addr::UNSPECIFIED.into();
    }
}

fn one_match(m: Match) -> Match {
    match m {
        Match::Icmp(i) => {
            Match::Icmp6(Icmp6 { kind: i.kind, code_lo: i.code_lo, code_hi: i.code_hi, invert: i.invert })
        }
        Match::Conntrack(mut c) => {
            for m in [&mut c.orig_src, &mut c.orig_dst, &mut c.repl_src, &mut c.repl_dst].into_iter().flatten() {
                addr_match(m);
            }
            Match::Conntrack(c)
        }
        Match::Hashlimit(mut h) => {
            (h.source_mask, h.destination_mask, h.width) = (h.source_mask + 96, h.destination_mask + 96, 128);
            Match::Hashlimit(h)
        }
        Match::Connlimit(mut c) => {
            c.mask = mask(c.mask);
            Match::Connlimit(c)
        }
        Match::Recent(mut r) => {
            r.mask = mask(r.mask);
            Match::Recent(r)
        }
        Match::Addrtype(mut a) => {
            // There is no broadcast; multicast is asked instead.
            let types = |types: u16| types & !(1 << 3) | (types & 1 << 3) << 2;
            (a.src, a.dst) = (types(a.src), types(a.dst));
            Match::Addrtype(a)
        }
        // By the same throws stand those that IPv6 alone has.
        Match::U32(u) if !u.invert => {
            let mut hasher = rustc_hash::FxHasher::default();
            u.hash(&mut hasher);
            super::extension::any_match(hasher.finish())
        }
        Match::Ah(a) => {
            let [min, max] = [a.spi.min, a.spi.max].map(|spi| spi.min(255) as u8);
            Match::Mh(Mh { min, max, invert: a.spi.invert })
        }
        Match::Ttl(t) => Match::Hl(Hl { comparison: t.comparison, value: t.value }),
        Match::Iprange(mut r) => {
            for (lo, hi, _) in [&mut r.source, &mut r.destination].into_iter().flatten() {
                (*lo, *hi) = (addr(*lo), addr(*hi));
            }
            Match::Iprange(r)
        }
        other => other,
    }
}

fn target(t: Target) -> Target {
    let range = |r: NatRange| NatRange { addrs: r.addrs.map(|(first, last)| (addr(first), addr(last))), ..r };
    match t {
        Target::Ttl(set) => Target::Hl(HlSet(set.0)),
        // IPv4's alone. In its place stands what is IPv6's alone, by the same throw.
        Target::Ecn(set) => prefixes(&set),
        Target::Hmark(mut set) => {
            for side in [&mut set.src, &mut set.dst].into_iter().flatten() {
                side.0 = mask(side.0);
            }
            Target::Hmark(set)
        }
        Target::Reject(_) => Target::Reject(RejectWith::Icmp6PortUnreachable),
        Target::Dnat(r) => Target::Dnat(range(r)),
        Target::Snat(r) => Target::Snat(range(r)),
        Target::Netmap(n) => Target::Netmap(Netmap { addr: addr(n.addr), mask: mask(n.mask) }),
        other => other,
    }
}

/// SNPT or DNPT, which are of some hooks only; where they stand is nothing that the programs ask.
fn prefixes(by: &EcnSet) -> Target {
    let length = |bit: Option<bool>| bit.map_or(48, |long| if long { 64 } else { 40 });
    let prefix = |hi: u16, bits: u8| (Ipv6Addr::from(u128::from(hi) << 112 | 0xdb8_0017 << 88), bits);
    let set = Prefixes { src: prefix(0xfd00, length(by.ece)), dst: prefix(0x2001, length(by.cwr)) };
    if by.ect.is_some() { Target::Snpt(Box::new(Snpt(set))) } else { Target::Dnpt(Box::new(Dnpt(set))) }
}

const fn proto(of: u8) -> u8 {
    match of {
        1 => 58,
        // To IPv6 this is an extension header. Mobility headers stand for it.
        51 => 135,
        _ => of,
    }
}

/// The IPv6 ruleset that says of [`packet`] what `from` says of IPv4's.
#[must_use]
pub fn ruleset(from: &Ruleset) -> Ruleset {
    let mut to = Ruleset::new(Family::V6);
    for table in &from.tables {
        let mut table = Table { family: Family::V6, ..table.clone() };
        let chains = table.builtin.iter_mut().chain(table.user.values_mut());
        for rule in chains.flat_map(|chain| &mut chain.rules) {
            [&mut rule.ip.src, &mut rule.ip.dst].into_iter().flatten().for_each(addr_match);
            rule.ip.proto = rule.ip.proto.map(|(of, invert)| (proto(of), invert));
            rule.ip.fragment = None;
            rule.matches = std::mem::take(&mut rule.matches).into_iter().map(one_match).collect();
            rule.target = target(rule.target.clone());
        }
        to.tables.push(table);
    }
    to
}

/// The IPv6 packet that `from` stands for: 4 bytes of options become a hop-by-hop header, more of them other extension headers; a fragment
/// offset becomes a fragment header, before which those stand.
#[must_use]
pub fn packet(from: &Packet) -> Packet {
    let data = &from.data;
    let header = usize::from(data[0] & 15) * 4;
    let offset = u16::from_be_bytes([data[6], data[7]]) & 0x1fff;
    let last = proto(data[9]);
    let mut kinds: Vec<u8> = match header - 20 {
        0 => vec![],
        4 => vec![0],
        _ => [&[60, 51][..], &[43], &[0, 43, 60], &[60, 43, 51]][usize::from(data[8] & 3)].to_vec(),
    };
    let seed = u64::from(data[8]) << 32 | u64::from(data[15]) << 8 | u64::from(data[19]);
    if offset != 0 {
        kinds.push(44);
    }
    let mut extensions = Vec::new();
    for (index, kind) in kinds.iter().enumerate() {
        let next = kinds.get(index + 1).copied().unwrap_or(last);
        match kind {
            44 => {
                let [hi, lo] = (offset << 3).to_be_bytes();
                extensions.extend([next, 0, hi, lo, 0, 0, 0, 7]);
            }
            kind => {
                let header = super::extension::header(*kind, seed);
                extensions.push(next);
                extensions.extend(&header[1..]);
            }
        }
    }
    let octets = |at: usize| match addr(Ipv4Addr::new(data[at], data[at + 1], data[at + 2], data[at + 3]).into()) {
        IpAddr::V6(addr) => addr.octets(),
        IpAddr::V4(_) => [0; 16],
    };
    let mut rest = data[header..].to_vec();
    // Nothing follows a mobility header.
    if let (135, Some(first)) = (last, rest.first_mut()) {
        *first = if *first == 17 && data[8] & 16 == 0 { 59 } else { *first };
    }
    let mut to = vec![0x60, 0, 0, 0];
    to.extend(((extensions.len() + rest.len()) as u16).to_be_bytes());
    to.extend([kinds.first().copied().unwrap_or(last), data[8]]);
    to.extend(octets(12));
    to.extend(octets(16));
    to.extend(extensions);
    to.extend(rest);
    let mut packet = Packet { data: to, ..from.clone() };
    if let Ct::Connection(ct) = &mut packet.ct {
        let tuple = |t: CtTuple| CtTuple { src: addr(t.src), dst: addr(t.dst), ..t };
        (ct.original, ct.answer) = (tuple(ct.original), tuple(ct.answer));
    }
    packet
}
