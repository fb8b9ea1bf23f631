//! Matches of protocols above the network header that few packets have, and of TCP's MSS.

use super::{ZERO, inv, ports};
use crate::lines::Lines;
use bpftables_abi::ops::{INVERT_DPORT, INVERT_SPORT, INVERT_TCP_OPTION, Op, op};
use bpftables_ruleset::PortRange;
use bpftables_ruleset::matches::esp::IdentifierRange;
use bpftables_ruleset::matches::sctp::{SctpChunks, SctpQuantity};
use bpftables_ruleset::matches::{Dccp, Match, Sctp};

/// The op of `m`, if it is one of these.
pub(super) fn encode(m: &Match, lines: &mut Lines) -> Option<Op> {
    Some(match m {
        Match::Sctp(s) => sctp(s, lines),
        Match::Dccp(d) => dccp(d),
        Match::Esp(e) => identifier(0, &e.spi),
        Match::Ah(a) => identifier(1, &a.spi),
        Match::Ipcomp(i) => identifier(2, &i.spi),
        Match::Tcpmss(t) => {
            let b = u32::from(t.min) | u32::from(t.max) << 16;
            Op { op: op::TCPMSS, flags: inv(t.invert), b, ..ZERO }
        }
        _ => return None,
    })
}

/// Ports that may not be asked for, and the flag of a `!`.
fn side(given: Option<(PortRange, bool)>, flag: u8) -> (u32, u8) {
    given.map_or((ports(PortRange::ANY), 0), |(range, invert)| (ports(range), if invert { flag } else { 0 }))
}

fn sctp(s: &Sctp, lines: &mut Lines) -> Op {
    let ((b, not_sport), (c, not_dport)) = (side(s.sport, INVERT_SPORT), side(s.dport, INVERT_DPORT));
    let mut op = Op { op: op::SCTP, flags: not_sport | not_dport, b, c, ..ZERO };
    if let Some((chunks, invert)) = &s.chunks {
        op.flags |= inv(*invert);
        op.a = match chunks.quantity {
            SctpQuantity::Any => 1,
            SctpQuantity::All => 2,
            SctpQuantity::Only => 3,
        };
        op.d = lines.intern_words(&chunk_words(chunks));
    }
    op
}

fn chunk_words(chunks: &SctpChunks) -> Vec<u32> {
    let mut words: Vec<u32> = chunks.types.iter().flat_map(|types| [*types as u32, (types >> 32) as u32]).collect();
    words.push(chunks.flags.len() as u32);
    let flags = chunks.flags.iter().take(4);
    words.extend(flags.map(|f| u32::from(f.index) | u32::from(f.set) << 8 | u32::from(f.mask) << 16));
    words
}

fn dccp(d: &Dccp) -> Op {
    let ((b, not_sport), (c, not_dport)) = (side(d.sport, INVERT_SPORT), side(d.dport, INVERT_DPORT));
    let (types, not_types) = d.types.unwrap_or_default();
    let (option, not_option) = d.option.unwrap_or_default();
    let asked = u32::from(d.types.is_some()) << 8 | u32::from(d.option.is_some()) << 9;
    let flags = not_sport | not_dport | inv(not_types) | if not_option { INVERT_TCP_OPTION } else { 0 };
    Op { op: op::DCCP, flags, a: types, b, c, d: u32::from(option) | asked }
}

fn identifier(of: u16, range: &IdentifierRange) -> Op {
    Op { op: op::SPI, flags: inv(range.invert), a: of, b: range.min, c: range.max, ..ZERO }
}
