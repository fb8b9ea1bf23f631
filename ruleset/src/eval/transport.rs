//! Matches of protocols that few packets have (`xt_sctp.c`, `xt_dccp.c`, `xt_esp.c`, `ipt_ah.c`, `xt_ipcomp.c`), and of TCP's MSS (`xt_tcpmss.c`).

use super::Answer;
use super::packet::Packet;
use crate::addr::{Family, PortRange};
use crate::matches::esp::IdentifierRange;
use crate::matches::sctp::{SctpChunks, SctpQuantity};
use crate::matches::{Dccp, Match, Sctp, Tcpmss};

/// What `m` says of the packet; `None` if it is none of these.
#[must_use]
pub fn holds(m: &Match, packet: &Packet) -> Option<Answer> {
    Some(match m {
        Match::Sctp(s) => sctp(s, packet),
        Match::Dccp(d) => dccp(d, packet),
        Match::Esp(e) => identifier(&e.spi, packet, 8, |h| word(h, 0)),
        Match::Ah(a) => identifier(&a.spi, packet, 12, |h| word(h, 4)),
        Match::Ipcomp(i) => identifier(&i.spi, packet, 4, |h| word(h, 0) & 0xffff),
        Match::Tcpmss(t) => tcpmss(t, packet),
        _ => return None,
    })
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Where a module drops a packet that a `!` then says to match, the rule counts it before its end.
const fn doomed(inverted: bool) -> Answer {
    if inverted { Answer::Doomed } else { Answer::Hotdrop }
}

fn identifier(range: &IdentifierRange, packet: &Packet, need: usize, of: impl Fn(&[u8]) -> u32) -> Answer {
    if packet.fragment_offset() != 0 {
        return Answer::No;
    }
    let Some(header) = packet.payload().get(..need) else { return Answer::Hotdrop };
    ((range.min..=range.max).contains(&of(header)) != range.invert).into()
}

fn side(asked: Option<(PortRange, bool)>, header: &[u8], at: usize) -> bool {
    let port = u16::from_be_bytes([header[at], header[at + 1]]);
    asked.is_none_or(|(range, invert)| range.contains(port) != invert)
}

fn sctp(m: &Sctp, packet: &Packet) -> Answer {
    if packet.fragment_offset() != 0 {
        return Answer::No;
    }
    let payload = packet.payload();
    let Some(header) = payload.get(..12) else { return Answer::Hotdrop };
    if !side(m.sport, header, 0) || !side(m.dport, header, 2) {
        return Answer::No;
    }
    let Some((asked, invert)) = &m.chunks else { return Answer::Yes };
    match chunks(asked, payload) {
        Some(holds) => (holds != *invert).into(),
        None => doomed(*invert),
    }
}

/// `None`: the chunks lead nowhere.
fn chunks(asked: &SctpChunks, payload: &[u8]) -> Option<bool> {
    let bit = |kind: u8| (usize::from(kind / 64), 1u64 << (kind % 64));
    let mut left = asked.types;
    let mut at = 12;
    loop {
        let &[kind, flags, hi, lo] = payload.get(at..at + 4)? else { return None };
        let length = usize::from(u16::from_be_bytes([hi, lo]));
        if length == 0 {
            return None;
        }
        at += length.next_multiple_of(4);
        let (index, mask) = bit(kind);
        let as_asked = asked.flags.iter().find(|f| f.index == kind).is_none_or(|f| flags & f.mask == f.set);
        let is = asked.types[index] & mask != 0 && as_asked;
        match asked.quantity {
            SctpQuantity::Any if is => return Some(true),
            SctpQuantity::Only if !is => return Some(false),
            SctpQuantity::All if is => left[index] &= !mask,
            _ => {}
        }
        if at >= payload.len() {
            return Some(match asked.quantity {
                SctpQuantity::Any => false,
                SctpQuantity::All => left == [0; 4],
                SctpQuantity::Only => true,
            });
        }
    }
}

fn dccp(m: &Dccp, packet: &Packet) -> Answer {
    if packet.fragment_offset() != 0 {
        return Answer::No;
    }
    let payload = packet.payload();
    let Some(header) = payload.get(..12) else { return Answer::Hotdrop };
    if !side(m.sport, header, 0) || !side(m.dport, header, 2) {
        return Answer::No;
    }
    let kind = header[8] >> 1 & 15;
    if m.types.is_some_and(|(types, invert)| (types >> kind & 1 != 0) == invert) {
        return Answer::No;
    }
    let Some((option, invert)) = m.option else { return Answer::Yes };
    let fixed = 12 + if header[8] & 1 != 0 { 4 } else { 0 };
    let fixed = fixed
        + match kind {
            0 => 4,
            2 => 0,
            3..=6 | 8 | 9 => 8,
            _ => 12,
        };
    let whole = usize::from(header[4]) * 4;
    let options = if whole == fixed { Some(&[][..]) } else { payload.get(fixed..whole) };
    let Some(options) = options else { return doomed(invert) };
    (super::l4::has_option(options, option) != invert).into()
}

/// Options are looked for where a header would be, in later fragments too; in those of IPv6 that is where the packet begins.
fn tcpmss(m: &Tcpmss, packet: &Packet) -> Answer {
    let whole = packet.family() == Family::V6 && packet.fragment_offset() != 0;
    let bytes = if whole { packet.data.get(..packet.len()).unwrap_or(&packet.data) } else { packet.payload() };
    let Some(header) = bytes.get(..20) else { return Answer::Hotdrop };
    let Some(options) = bytes.get(20..usize::from(header[12] >> 4) * 4) else { return Answer::Hotdrop };
    let mut at = 0;
    while at < options.len() {
        if let [2, 4, hi, lo, ..] = options[at..] {
            let mss = u16::from_be_bytes([hi, lo]);
            return ((m.min..=m.max).contains(&mss) != m.invert).into();
        }
        at += match options[at] {
            0 | 1 => 1,
            _ => usize::from(options.get(at + 1).copied().unwrap_or(1)).max(1),
        };
    }
    m.invert.into()
}
