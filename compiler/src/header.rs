//! Targets that write into the packet's headers.

use crate::image::Line;
use crate::lines::Lines;
use bpftables_abi::ops::{NptParams, target};
use bpftables_ruleset::targets::npt::Prefixes;
use bpftables_ruleset::targets::{HopChange, TcpmssSet};
use bpftables_ruleset::{Family, Target};
use zerocopy::IntoBytes;

/// Their code and argument; none: no such target, or none of this family.
pub(crate) fn encode(rule: &Target, family: Family, lines: &mut Lines) -> Option<(u8, u32)> {
    let v6 = family == Family::V6;
    Some(match rule {
        Target::Tos(set) => (target::TOS, u32::from(set.value) | u32::from(set.mask) << 8),
        Target::Dscp(set) => (target::TOS, u32::from(set.dscp) << 2 | 0xfc00),
        Target::Ttl(set) if !v6 => (target::TTL, hops(set.0)),
        Target::Hl(set) if v6 => (target::TTL, hops(set.0)),
        Target::Ecn(set) if !v6 => {
            let bit = |to: Option<bool>, at: u32| to.map_or(0, |to| (1 | u32::from(to) << 1) << at);
            let ect = set.ect.map_or(0, |ect| 1 << 4 | u32::from(ect) << 5);
            (target::ECN, bit(set.ece, 0) | bit(set.cwr, 2) | ect)
        }
        Target::Tcpmss(TcpmssSet::Mss(mss)) => (target::TCPMSS, u32::from(*mss)),
        // Beyond all numbers that an option can hold.
        Target::Tcpmss(TcpmssSet::Clamp) => (target::TCPMSS, 1 << 16),
        Target::Tcpoptstrip(strip) => (target::TCPOPTSTRIP, lines.intern_words(&strip.kinds)),
        Target::Classify(class) => (target::CLASSIFY, u32::from(class.major) << 16 | u32::from(class.minor)),
        Target::Checksum(_) => (target::CHECKSUM, 0),
        Target::Snpt(set) if v6 => (target::SNPT, lines.intern(&[prefixes(&set.0)])),
        Target::Dnpt(set) if v6 => (target::DNPT, lines.intern(&[prefixes(&set.0)])),
        _ => return None,
    })
}

fn hops(change: HopChange) -> u32 {
    let (how, value) = match change {
        HopChange::Set(value) => (0, value),
        HopChange::Increment(value) => (1, value),
        HopChange::Decrement(value) => (2, value),
    };
    how | u32::from(value) << 8
}

/// What `iptables` calls a mask of so many bits.
fn mask(bits: u8) -> u128 {
    !u128::MAX.checked_shr(bits.into()).unwrap_or(0)
}

/// The ones' complement sum of an address, in the order in which it lies in a packet.
fn sum(addr: [u8; 16]) -> u32 {
    fold(addr.chunks_exact(2).map(|two| u32::from(u16::from_ne_bytes([two[0], two[1]]))).sum())
}

fn fold(sum: u32) -> u32 {
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16)
}

fn prefixes(p: &Prefixes) -> Line {
    let bits = p.src.1.max(p.dst.1);
    let changed = mask(bits).to_be_bytes();
    let word = |at: usize| u32::from_ne_bytes([changed[at], changed[at + 1], changed[at + 2], changed[at + 3]]);
    let (from, to) = (p.src.0.octets(), p.dst.0.octets());
    let params = NptParams {
        from,
        from_mask: mask(p.src.1).to_be_bytes(),
        to,
        mask: [word(0), word(4)],
        bits: bits.into(),
        adjust: fold(sum(from) + (!sum(to) & 0xffff)),
    };
    let mut line = Line::ZERO;
    line.0.copy_from_slice(params.as_bytes());
    line
}
