//! One rule, one record.
//!
//! The first L4 match stands in the record if nothing but comments comes before it: records are checked before ops, and an L4 match that
//! meets a truncated header drops the packet, so it must not be asked earlier than netfilter asks it.

use crate::error::CompileError;
use crate::iface::{Ifaces, asks};
use crate::image::Line;
use crate::ir::IrChain;
use crate::lines::{Lines, lines_of_ops};
use crate::nat;
use crate::residual::{Encoder, Leftovers, packet};
use bpftables_abi::image::{Addrs6, Rule as Record, l4, rule_flag as f};
use bpftables_abi::ops::{MAX_OPS, target};
use bpftables_ruleset::matches::Match;
use bpftables_ruleset::{AddrMatch, Family, IfacePattern, IpMatch, Rule, Target};
use std::net::IpAddr;
use zerocopy::IntoBytes;

const ZERO: Record = Record {
    flags: 0,
    saddr: 0,
    smask: 0,
    daddr: 0,
    dmask: 0,
    iif_lo: 0,
    iif_hi: 0,
    oif_lo: 0,
    oif_hi: 0,
    sport_lo: 0,
    sport_hi: u16::MAX,
    dport_lo: 0,
    dport_hi: u16::MAX,
    proto: 0,
    l4: l4::NONE,
    l4_a: 0,
    l4_b: 0,
    target: 0,
    nops: 0,
    pad: 0,
    ops: 0,
    arg: 0,
    slot: 0,
    number: 0,
    bare: 0,
};

/// Encodes rule `index` of `chain`; `jump` is the line of the chain it may go to.
pub(crate) fn encode(
    chain: &IrChain<'_>,
    index: usize,
    jump: u32,
    ifaces: &Ifaces<'_>,
    family: Family,
    lines: &mut Lines,
    left: &mut Leftovers,
) -> Result<Record, CompileError> {
    let rule = &chain.chain.rules[index];
    let unsupported = |reason: &str| CompileError::Unsupported { place: chain.place(index), reason: reason.into() };
    let mut record = base(rule, ifaces, family, lines).map_err(unsupported)?;
    record.number = index as u32 + 1;
    record.slot = rule.slot.0;
    let folded = rule.matches.iter().position(|m| !matches!(m, Match::Comment(_)));
    let folded = folded.filter(|&at| fold(&rule.matches[at], &mut record));
    let mut encoder = Encoder::new(lines, left, rule.slot, chain.table, family);
    for (at, m) in rule.matches.iter().enumerate() {
        check_match(rule, m, family).map_err(unsupported)?;
        // Legacy counts tuples there: both directions of a connection, and those of packets that were dropped until it looks for them again.
        if matches!(m, Match::Connlimit(_)) && chain.table == bpftables_ruleset::TableKind::Raw {
            return Err(unsupported("-m connlimit can't be run in raw, where legacy counts packets of no connection"));
        }
        // Legacy asks the realm of the way back to the source, from which the stack takes that of a local route.
        if chain.input && matches!(m, Match::Realm(_)) {
            return Err(unsupported(
                "-m realm at INPUT can't be run, for no lookup of programs tells the realm of a way back",
            ));
        }
        match m {
            Match::Tcp(tcp) if folded == Some(at) => encoder.tcp_option(tcp),
            _ if folded == Some(at) => {}
            Match::Physdev(physdev) => {
                let op = packet::physdev(physdev, |name| ifaces.port_range(name));
                encoder.ops.push(op.ok_or_else(|| unsupported("a port's name without a class"))?);
            }
            _ => encoder.push(m)?.map_err(|reason| unsupported(&reason))?,
        }
    }
    let changed = match &rule.target {
        Target::Set(change) => Some(encoder.set_change(change).map_err(unsupported)?),
        _ => None,
    };
    let ops = encoder.ops;
    if ops.len() > MAX_OPS {
        let (max, got) = (MAX_OPS as u64, ops.len() as u64);
        return Err(CompileError::Limit { place: Some(chain.place(index)), what: "checks of one rule", max, got });
    }
    if !ops.is_empty() {
        record.ops = lines.intern(&lines_of_ops(&ops));
        record.nops = ops.len() as u8;
    }
    (record.target, record.arg) = match &rule.target {
        Target::Rateest(made) => (target::RATEEST, left.estimators.id(&made.name)?),
        Target::Set(_) => (target::SET, changed.unwrap_or_default()),
        other => nat::encode(other, jump, family, lines).map_err(|reason| unsupported(&reason))?,
    };
    record.bare = u32::from(is_bare(rule));
    Ok(record)
}

/// What netfilter cannot tell from the end of a chain: a verdict, for any packet, without a match.
fn is_bare(rule: &Rule) -> bool {
    let verdict = matches!(rule.target, Target::Accept | Target::Drop | Target::Return);
    verdict && rule.matches.is_empty() && rule.ip == IpMatch::default()
}

/// `-m limit`'s arithmetic is 32 bits wide, there and in the programs; the kernel refuses what overflows (`limit_mt_check`).
fn limit_overflows(average: u32, burst: u32) -> bool {
    const SECOND: u32 = 32_000;
    const SCALE: u32 = 10_000;
    let credits = |user: u32| {
        if user > u32::MAX / SECOND { (user / SCALE).wrapping_mul(SECOND) } else { user * SECOND / SCALE }
    };
    burst == 0 || credits(average.wrapping_mul(burst)) < credits(average)
}

/// `XT_ADDRTYPE_UNREACHABLE`.
const UNREACHABLE: u16 = 1 << 7;

/// What the kernel's checkentry asks of a match: the prefilter and the programs rely on it.
fn check_match(rule: &Rule, m: &Match, family: Family) -> Result<(), &'static str> {
    let proto = rule.ip.proto.filter(|(_, invert)| !invert).map(|(proto, _)| proto);
    match m {
        Match::Tcp(_) if proto != Some(6) => Err("-m tcp needs -p tcp"),
        Match::Udp(_) if proto != Some(17) => Err("-m udp needs -p udp"),
        Match::Icmp(_) if proto != Some(1) => Err("-m icmp needs -p icmp"),
        Match::Icmp6(_) if proto != Some(58) => Err("-m icmp6 needs -p ipv6-icmp"),
        Match::Icmp6(_) if family == Family::V4 => Err("-m icmp6 is for IPv6"),
        Match::Icmp(_) if family == Family::V6 => Err("-m icmp is for IPv4"),
        // No lookup at tcx tells it.
        Match::Addrtype(a) if family == Family::V6 && (a.src | a.dst) & UNREACHABLE != 0 => {
            Err("-m addrtype UNREACHABLE can't be told in IPv6")
        }
        Match::Multiport(_) if !matches!(proto, Some(6 | 17 | 33 | 132 | 136)) => {
            Err("-m multiport needs -p tcp, udp, udplite, sctp or dccp")
        }
        Match::Limit(l) if limit_overflows(l.average, l.burst) => {
            Err("-m limit overflows: a lower rate or burst is needed")
        }
        _ => Ok(()),
    }
}

fn base(rule: &Rule, ifaces: &Ifaces<'_>, family: Family, lines: &mut Lines) -> Result<Record, &'static str> {
    let mut r = ZERO;
    let ip = &rule.ip;
    match family {
        Family::V4 => {
            if let Some(m) = &ip.src {
                (r.saddr, r.smask) = addr(m, &mut r.flags, f::SADDR, f::INV_SADDR)?;
            }
            if let Some(m) = &ip.dst {
                (r.daddr, r.dmask) = addr(m, &mut r.flags, f::DADDR, f::INV_DADDR)?;
            }
        }
        Family::V6 => r.saddr = addrs6(ip, &mut r.flags, lines)?,
    }
    if let Some(p) = &ip.iif {
        (r.iif_lo, r.iif_hi) = iface(p, ifaces, &mut r.flags, f::IIF, f::INV_IIF)?;
    }
    if let Some(p) = &ip.oif {
        (r.oif_lo, r.oif_hi) = iface(p, ifaces, &mut r.flags, f::OIF, f::INV_OIF)?;
    }
    if let Some((proto, invert)) = ip.proto.filter(|(proto, _)| *proto != 0) {
        r.proto = proto;
        r.flags |= f::PROTO | if invert { f::INV_PROTO } else { 0 };
    }
    if family == Family::V6 && ip.proto.is_some() {
        r.flags |= f::WALK;
    }
    match ip.fragment {
        Some(_) if family == Family::V6 => return Err("-f is for IPv4"),
        Some(false) => r.flags |= f::FRAG,
        Some(true) => r.flags |= f::NOT_FRAG,
        None => {}
    }
    Ok(r)
}

fn addr(m: &AddrMatch, flags: &mut u32, asked: u32, inverted: u32) -> Result<(u32, u32), &'static str> {
    let (IpAddr::V4(addr), IpAddr::V4(mask)) = (m.addr, m.mask) else {
        return Err("an address of another family");
    };
    let (addr, mask) = (u32::from_ne_bytes(addr.octets()), u32::from_ne_bytes(mask.octets()));
    if mask != 0 || m.invert {
        *flags |= asked | if m.invert { inverted } else { 0 };
    }
    Ok((addr, mask))
}

/// The line of an IPv6 rule's addresses; 0 if it asks for none.
fn addrs6(ip: &IpMatch, flags: &mut u32, lines: &mut Lines) -> Result<u32, &'static str> {
    let mut found = Addrs6::default();
    let places = [
        (&ip.src, &mut found.saddr, &mut found.smask, f::SADDR, f::INV_SADDR),
        (&ip.dst, &mut found.daddr, &mut found.dmask, f::DADDR, f::INV_DADDR),
    ];
    let mut asks = false;
    for (m, addr, mask, asked, inverted) in places {
        let Some(m) = m else { continue };
        let (IpAddr::V6(wanted), IpAddr::V6(bits)) = (m.addr, m.mask) else {
            return Err("an address of another family");
        };
        if bits.is_unspecified() && !m.invert {
            continue;
        }
        *flags |= asked | if m.invert { inverted } else { 0 };
        (*addr, *mask) = (wanted.octets(), bits.octets());
        asks = true;
    }
    if !asks {
        return Ok(0);
    }
    let mut line = [0; 64];
    line.copy_from_slice(found.as_bytes());
    Ok(lines.intern(&[Line(line)]))
}

fn iface(
    pattern: &IfacePattern,
    ifaces: &Ifaces<'_>,
    flags: &mut u32,
    asked: u32,
    inverted: u32,
) -> Result<(u16, u16), &'static str> {
    if !asks(pattern) {
        *flags |= if pattern.invert { f::NEVER } else { 0 };
        return Ok((0, 0));
    }
    *flags |= asked | if pattern.invert { inverted } else { 0 };
    ifaces.range(pattern).ok_or("an interface pattern without a class")
}

/// Puts an L4 match into the record; false if `m` is none.
fn fold(m: &Match, r: &mut Record) -> bool {
    let when = |on: bool, flag: u32| if on { flag } else { 0 };
    match m {
        Match::Tcp(t) => {
            r.l4 = l4::TCP;
            (r.sport_lo, r.sport_hi, r.dport_lo, r.dport_hi) = (t.sport.lo, t.sport.hi, t.dport.lo, t.dport.hi);
            (r.l4_a, r.l4_b) = (t.flags_mask, t.flags_cmp);
            r.flags |= when(t.invert_sport, f::INV_SPORT) | when(t.invert_dport, f::INV_DPORT);
            r.flags |= when(t.invert_flags, f::INV_TCP_FLAGS);
        }
        Match::Udp(u) => {
            r.l4 = l4::UDP;
            (r.sport_lo, r.sport_hi, r.dport_lo, r.dport_hi) = (u.sport.lo, u.sport.hi, u.dport.lo, u.dport.hi);
            r.flags |= when(u.invert_sport, f::INV_SPORT) | when(u.invert_dport, f::INV_DPORT);
        }
        Match::Icmp6(i) => {
            r.l4 = l4::ICMP;
            (r.l4_a, r.dport_lo, r.dport_hi) = (i.kind, i.code_lo.into(), i.code_hi.into());
            r.flags |= when(i.invert, f::INV_ICMP);
        }
        Match::Icmp(i) => {
            r.l4 = l4::ICMP;
            (r.l4_a, r.dport_lo, r.dport_hi) = (i.kind, i.code_lo.into(), i.code_hi.into());
            r.flags |= when(i.invert, f::INV_ICMP);
        }
        _ => return false,
    }
    true
}
