//! `-j HMARK` (`xt_HMARK.c`): a mark from a hash of the packet, or of its connection.

use super::cluster::{INIT, finish};
use super::ipv6::{self, Upper};
use super::packet::{Ct, Packet};
use crate::addr::Family;
use crate::targets::Hmark;
use crate::targets::hmark::IpMask;
use std::net::IpAddr;

/// What is hashed.
struct Tuple {
    src: IpAddr,
    dst: IpAddr,
    ports: Option<[u16; 2]>,
    proto: u8,
}

/// Marks the packet, or leaves it as it is.
pub(super) fn mark(set: &Hmark, packet: &mut Packet) {
    let tuple = if set.conntrack { connection(packet) } else { headers(packet) };
    let hash = match tuple {
        Some(tuple) => hash(set, tuple.as_ref()),
        None => return,
    };
    let scaled = (u64::from(hash) * u64::from(set.modulus)) >> 32;
    packet.mark = (scaled as u32).wrapping_add(set.offset.unwrap_or(0));
}

/// `None` is hashed as nothing.
fn hash(set: &Hmark, tuple: Option<&Tuple>) -> u32 {
    let (mut words, mut proto) = ([0; 3], 0);
    if let Some(tuple) = tuple {
        let (src, dst) = (masked(tuple.src, set.src), masked(tuple.dst, set.dst));
        let ports = tuple.ports.map_or(0, |ports| ports_word(set, ports));
        (words, proto) = ([src.min(dst), src.max(dst), ports], tuple.proto);
    }
    let base = set.rnd.wrapping_add(INIT).wrapping_add(3 << 2);
    finish(words.map(|word| base.wrapping_add(word))) ^ (u32::from(proto) & u32::from(set.proto_mask.unwrap_or(0)))
}

/// An address under its mask, the words of IPv6 folded into one.
fn masked(addr: IpAddr, mask: Option<IpMask>) -> u32 {
    match (addr, mask.map(|mask| mask.0)) {
        (IpAddr::V4(addr), Some(IpAddr::V4(mask))) => addr.to_bits() & mask.to_bits(),
        (IpAddr::V6(addr), Some(IpAddr::V6(mask))) => {
            let both = addr.to_bits() & mask.to_bits();
            (0..4).fold(0, |folded, word| folded ^ (both >> (32 * word)) as u32)
        }
        _ => 0,
    }
}

fn ports_word(set: &Hmark, [source, destination]: [u16; 2]) -> u32 {
    let word = |high: u16, low: u16| u32::from(high) << 16 | u32::from(low);
    let or_zero = |port: Option<u16>| port.unwrap_or(0);
    let mask = set.spi_mask.unwrap_or_else(|| word(or_zero(set.sport_mask), or_zero(set.dport_mask)));
    let bits = set.spi.unwrap_or_else(|| word(or_zero(set.sport), or_zero(set.dport)));
    let both = word(source, destination) & mask | bits;
    let (source, destination) = ((both >> 16) as u16, both as u16);
    word(source.max(destination), source.min(destination))
}

/// The outer `None`: the mark stays; the inner: nothing could be read.
#[expect(clippy::option_option, reason = "netfilter's module tells both from each other")]
fn connection(packet: &Packet) -> Option<Option<Tuple>> {
    let Ct::Connection(ct) = &packet.ct else { return None };
    let ports = (ct.proto != 1).then_some([ct.original.sport, ct.answer.sport]);
    Some(Some(Tuple { src: ct.original.src, dst: ct.answer.src, ports, proto: ct.proto }))
}

#[expect(clippy::option_option, reason = "netfilter's module tells both from each other")]
fn headers(packet: &Packet) -> Option<Option<Tuple>> {
    let data = packet.data.get(..packet.len()).unwrap_or(&packet.data);
    let family = packet.family();
    let Some(outer) = upper(data, family) else { return Some(None) };
    let error = match family {
        Family::V4 => outer.proto == 1 && matches!(data.get(outer.at), Some(3..=5 | 11 | 12)),
        Family::V6 => outer.proto == 58 && !outer.fragmented && matches!(data.get(outer.at), Some(1..=127)),
    };
    if !error || data.len() < outer.at + 8 {
        return Some(Some(tuple(data, family, outer)));
    }
    let quoted = &data[outer.at + 8..];
    let least = if family == Family::V4 { 20 } else { ipv6::HEADER };
    if quoted.len() < least || family == Family::V6 && quoted[0] >> 4 != 6 {
        return None;
    }
    Some(Some(tuple(quoted, family, upper(quoted, family)?)))
}

fn upper(data: &[u8], family: Family) -> Option<Upper> {
    match family {
        Family::V6 => ipv6::walk(data, true),
        Family::V4 => {
            let field = u16::from_be_bytes([data[6], data[7]]);
            let at = usize::from(data[0] & 15) * 4;
            Some(Upper { proto: data[9], at, fragment: field & 0x1fff, fragmented: field & 0x3fff != 0 })
        }
    }
}

fn tuple(data: &[u8], family: Family, upper: Upper) -> Tuple {
    let v4 = |at: usize| std::array::from_fn::<u8, 4, _>(|i| data[at + i]).into();
    let v6 = |at: usize| std::array::from_fn::<u8, 16, _>(|i| data[at + i]).into();
    let (src, dst) = if family == Family::V4 { (v4(12), v4(16)) } else { (v6(8), v6(24)) };
    let at = match upper.proto {
        6 | 17 | 33 | 50 | 132 | 136 => Some(upper.at),
        51 => Some(upper.at + 4),
        _ => None,
    };
    let bytes = at.filter(|_| !upper.fragmented).and_then(|at| data.get(at..at + 4));
    let ports = bytes.map(|b| [u16::from_be_bytes([b[0], b[1]]), u16::from_be_bytes([b[2], b[3]])]);
    Tuple { src, dst, ports, proto: upper.proto }
}
