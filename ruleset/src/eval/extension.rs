//! Matches of IPv6's extension headers (`ip6t_ah.c`, `ip6t_ipv6header.c`, `ip6t_frag.c`, `ip6t_rt.c`, `ip6t_hbh.c`, `ip6t_srh.c`) and of
//! mobility headers (`ip6t_mh.c`).

use super::Answer;
use super::ipv6::HEADER;
use super::packet::Packet;
use crate::matches::esp::IdentifierRange;
use crate::matches::hbh::OptionsHeader;
use crate::matches::srh::SrhNumber;
use crate::matches::{Ah6, Frag, Ipv6header, Match, Mh, Rt, Srh};
use std::net::{IpAddr, Ipv6Addr};

const HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const ESP: u8 = 50;
const AUTH: u8 = 51;
const NONE: u8 = 59;
const DEST: u8 = 60;

/// What `m` says of the packet; `None` if it is none of these.
#[must_use]
pub fn holds(m: &Match, packet: &Packet) -> Option<Answer> {
    let data = packet.data.get(..packet.len()).unwrap_or(&packet.data);
    let found = match m {
        Match::Ah6(a) => find(data, AUTH).map(|at| ah(a, data, at)),
        Match::Ipv6header(h) => Ok(ipv6header(h, data)),
        Match::Frag(f) => find(data, FRAGMENT).map(|at| frag(f, data, at)),
        Match::Rt(r) => find(data, ROUTING).map(|at| rt(r, data, at)),
        Match::Hbh(h) => find(data, HOP).map(|at| options(&h.header, data, at)),
        Match::Dst(d) => find(data, DEST).map(|at| options(&d.header, data, at)),
        Match::Mh(m) => Ok(mh(m, packet)),
        // This one drops nothing.
        Match::Srh(s) => Ok(find(data, ROUTING).is_ok_and(|at| srh(s, data, at).is_some()).into()),
        _ => return None,
    };
    Some(found.unwrap_or_else(|answer| answer))
}

fn length(header: u8, length: u8) -> usize {
    match header {
        FRAGMENT => 8,
        AUTH => (usize::from(length) + 2) * 4,
        _ => (usize::from(length) + 1) * 8,
    }
}

/// Where the first header of this number begins, as `ipv6_find_hdr` searches for it.
fn find(data: &[u8], target: u8) -> Result<usize, Answer> {
    let (mut next, mut at) = (data[6], HEADER);
    loop {
        let found = next == target;
        if !matches!(next, HOP | ROUTING | FRAGMENT | AUTH | DEST) {
            return if found { Ok(at) } else { Err(Answer::No) };
        }
        let need = if matches!(next, ROUTING | FRAGMENT) { 4 } else { 2 };
        let header = data.get(at..at + need).ok_or(Answer::Hotdrop)?;
        let later = next == FRAGMENT && (header[2] != 0 || header[3] & !7 != 0);
        if found {
            return Ok(at);
        }
        if later {
            return Err(Answer::No);
        }
        at += length(next, header[1]);
        next = header[0];
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn within(range: &IdentifierRange, value: u32) -> bool {
    (range.min..=range.max).contains(&value) != range.invert
}

fn ah(m: &Ah6, data: &[u8], at: usize) -> Answer {
    let Some(h) = data.get(at..at + 12) else { return Answer::Hotdrop };
    let as_long = m.length == 0 || (m.length as usize == length(AUTH, h[1])) != m.invert_length;
    (within(&m.spi, word(&h[4..])) && as_long && !(m.reserved && h[2..4] != [0, 0])).into()
}

fn frag(m: &Frag, data: &[u8], at: usize) -> Answer {
    let Some(h) = data.get(at..at + 8) else { return Answer::Hotdrop };
    let (later, more) = (h[2] != 0 || h[3] & !7 != 0, h[3] & 1 != 0);
    let refused = m.reserved && (h[1] != 0 || h[3] & 6 != 0) || m.first && later || m.more && !more || m.last && more;
    (within(&m.id, word(&h[4..])) && !refused).into()
}

fn ipv6header(m: &Ipv6header, data: &[u8]) -> Answer {
    let (mut next, mut at, mut headers) = (data[6], HEADER, 0u8);
    loop {
        headers |= match next {
            HOP => 128,
            DEST => 64,
            ROUTING => 32,
            FRAGMENT => 16,
            AUTH => 8,
            ESP => 4,
            NONE => 2,
            _ => break,
        };
        if next == NONE {
            break;
        }
        let Some(&[following, long]) = data.get(at..at + 2) else { return Answer::No };
        if next == ESP {
            break;
        }
        at += length(next, long);
        next = following;
        if at > data.len() {
            break;
        }
    }
    if !matches!(next, NONE | ESP) {
        headers |= 1;
    }
    if m.soft {
        let inverted = if m.invert { 0xff } else { 0 };
        return ((headers ^ m.headers ^ inverted) & m.headers == 0).into();
    }
    ((headers == m.headers) != m.invert).into()
}

fn rt(m: &Rt, data: &[u8], at: usize) -> Answer {
    let rest = &data[at..];
    let (long, kind, left) = (length(ROUTING, rest[1]), rest[2], rest[3]);
    let Some(header) = rest.get(..long) else { return Answer::Hotdrop };
    let asked = |asked: Option<(u32, bool)>, is: u32| asked.is_none_or(|(value, invert)| (value == is) != invert);
    let fields = within(&m.segments_left, left.into()) && asked(m.length, long as u32) && asked(m.kind, kind.into());
    if !fields || m.reserved && header[4..8] != [0; 4] {
        return Answer::No;
    }
    let Some(wanted) = &m.addresses else { return Answer::Yes };
    let has: Vec<Ipv6Addr> = header[8..]
        .chunks_exact(16)
        .map(|octets| {
            let octets: [u8; 16] = std::array::from_fn(|i| octets[i]);
            octets.into()
        })
        .collect();
    if m.not_strict {
        let mut left = wanted.iter().peekable();
        for addr in &has {
            let _ = left.next_if_eq(&addr);
        }
        return left.peek().is_none().into();
    }
    (has == *wanted).into()
}

fn options(m: &OptionsHeader, data: &[u8], at: usize) -> Answer {
    let rest = &data[at..];
    let long = length(HOP, rest[1]);
    let Some(header) = rest.get(..long) else { return Answer::Hotdrop };
    if m.length.is_some_and(|(length, invert)| (length as usize == long) == invert) {
        return Answer::No;
    }
    let Some(wanted) = &m.options else { return Answer::Yes };
    let mut left = &header[2..];
    for (index, (kind, length)) in wanted.iter().enumerate() {
        let size = match *left {
            [has, ..] if has != *kind => return Answer::No,
            [0, ..] => 1,
            [_, has, ..] if *length == 255 || *length == has => usize::from(has) + 2,
            _ => return Answer::No,
        };
        match left.get(size..) {
            Some(more) => left = more,
            // The last may go on behind the header's end.
            None if index + 1 == wanted.len() => {}
            None => return Answer::No,
        }
    }
    Answer::Yes
}

fn mh(m: &Mh, packet: &Packet) -> Answer {
    if packet.fragment_offset() != 0 {
        return Answer::No;
    }
    match packet.payload().get(..6) {
        Some(&[NONE, _, kind, ..]) => ((m.min..=m.max).contains(&kind) != m.invert).into(),
        _ => Answer::Hotdrop,
    }
}

fn number(m: &SrhNumber, has: u8) -> bool {
    let way = |asked: Option<bool>, is: bool| asked.is_none_or(|invert| is != invert);
    way(m.equal, has == m.value) && way(m.greater, has > m.value) && way(m.less, has < m.value)
}

/// `None`: it does not hold.
fn srh(m: &Srh, data: &[u8], at: usize) -> Option<()> {
    let header = data.get(at..at + 8)?;
    let &[next, long, kind, left, last, _, tag_hi, tag_lo] = header else { return None };
    data.get(at..at + length(ROUTING, long))?;
    let numbers = number(&m.length, long) && number(&m.segments_left, left) && number(&m.last_entry, last);
    // The module compares the tag as it lies in memory with the number as the command line's host has it.
    let tag = u16::from_ne_bytes([tag_hi, tag_lo]);
    let fits = kind == 4
        && left <= last
        && m.next_header.is_none_or(|(header, invert)| (header == next) != invert)
        && numbers
        && m.tag.is_none_or(|(asked, invert)| (asked == tag) != invert);
    if !fits {
        return None;
    }
    let segment = |asked: &Option<(IpAddr, IpAddr, bool)>, index: Option<usize>| {
        let Some((addr, mask, invert)) = asked else { return Some(()) };
        let place = at + 8 + index? * 16;
        let octets = data.get(place..place + 16)?;
        let (IpAddr::V6(addr), IpAddr::V6(mask)) = (addr, mask) else { return None };
        let octets: [u8; 16] = std::array::from_fn(|i| octets[i]);
        let same = (u128::from_be_bytes(octets) ^ addr.to_bits()) & mask.to_bits() == 0;
        (same != *invert).then_some(())
    };
    segment(&m.previous, (left != last).then_some(usize::from(left) + 1))?;
    segment(&m.next, usize::from(left).checked_sub(1))?;
    segment(&m.last, Some(0))
}
