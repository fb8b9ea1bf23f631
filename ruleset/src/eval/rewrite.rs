//! Targets that write into the packet's headers, byte for byte as netfilter's modules do, and HMARK, which reads them.

use super::packet::Packet;
use super::{hmark, npt};
use crate::addr::Family;
use crate::targets::{EcnSet, HopChange, Target, TcpmssSet, Tcpoptstrip};

/// What comes after such a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewritten {
    /// The rules go on.
    Continue,
    /// The packet is dropped: it does not hold what has to be written.
    Drop,
    /// The target is not known here, or not for this family.
    Unknown,
}

/// Carries out `target` on `packet`.
pub fn rewrite(target: &Target, packet: &mut Packet) -> Rewritten {
    let v4 = packet.family() == Family::V4;
    match target {
        Target::Tos(set) => tos(packet, set.mask, set.value),
        Target::Dscp(set) => tos(packet, 0xfc, set.dscp << 2),
        Target::Ttl(set) if v4 => {
            let ttl = hops(set.0, packet.data[8]);
            header_word(packet, 8, [ttl, packet.data[9]]);
            Rewritten::Continue
        }
        Target::Hl(set) if !v4 => {
            packet.data[7] = hops(set.0, packet.data[7]);
            Rewritten::Continue
        }
        Target::Ecn(set) if v4 => ecn(packet, set),
        Target::Tcpmss(TcpmssSet::Mss(mss)) => tcpmss(packet, *mss),
        Target::Tcpoptstrip(strip) => tcpoptstrip(packet, strip),
        Target::Snpt(set) if !v4 => npt::map(packet, &set.0, false),
        Target::Dnpt(set) if !v4 => npt::map(packet, &set.0, true),
        Target::Hmark(set) => {
            hmark::mark(set, packet);
            Rewritten::Continue
        }
        // The class does not show in the packet, nor do estimates; nor is there a packet here whose checksum is left to a device.
        Target::Classify(_) | Target::Checksum(_) | Target::Rateest(_) => Rewritten::Continue,
        _ => Rewritten::Unknown,
    }
}

fn hops(change: HopChange, from: u8) -> u8 {
    match change {
        HopChange::Set(value) => value,
        HopChange::Increment(value) => from.saturating_add(value),
        HopChange::Decrement(value) => from.saturating_sub(value),
    }
}

/// A checksum after a word of what it covers changed (RFC 1624, as `csum_replace2`).
fn patched(sum: u16, from: u16, to: u16) -> u16 {
    let add = |a: u32, b: u16| {
        let sum = a + u32::from(b);
        (sum & 0xffff) + (sum >> 16)
    };
    let sum = add(add(u32::from(!sum), !from), to);
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

fn word(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([data[at], data[at + 1]])
}

/// Writes a word, of which the checksum at `sum` is told.
fn write(data: &mut [u8], sum: usize, at: usize, to: [u8; 2]) {
    let from = word(data, at);
    data[at..at + 2].copy_from_slice(&to);
    patch(data, sum, from, u16::from_be_bytes(to));
}

fn patch(data: &mut [u8], sum: usize, from: u16, to: u16) {
    let new = patched(word(data, sum), from, to);
    data[sum..sum + 2].copy_from_slice(&new.to_be_bytes());
}

fn header_word(packet: &mut Packet, at: usize, to: [u8; 2]) {
    if packet.data[at..at + 2] != to {
        write(&mut packet.data, 10, at, to);
    }
}

fn tos(packet: &mut Packet, mask: u8, value: u8) -> Rewritten {
    if packet.family() == Family::V6 {
        let [first, second] = [packet.data[0], packet.data[1]];
        let tos = (first << 4 | second >> 4) & !mask ^ value;
        packet.data[0] = first & 0xf0 | tos >> 4;
        packet.data[1] = second & 0x0f | tos << 4;
        return Rewritten::Continue;
    }
    let tos = packet.data[1] & !mask ^ value;
    header_word(packet, 0, [packet.data[0], tos]);
    Rewritten::Continue
}

/// Where the segment begins and how long it is, by the packet's own length.
fn segment(packet: &Packet) -> (usize, usize) {
    (packet.upper().map_or(packet.data.len(), |upper| upper.at), packet.payload().len())
}

/// The length of the TCP header; `None` when the packet does not hold all of it.
fn tcp_header(packet: &Packet) -> Option<usize> {
    let (at, len) = segment(packet);
    let header = usize::from(packet.data.get(at + 12)? >> 4) * 4;
    (len >= 20 && header >= 20 && header <= len).then_some(header)
}

fn ecn(packet: &mut Packet, set: &EcnSet) -> Rewritten {
    if let Some(ect) = set.ect {
        tos(packet, 3, ect);
    }
    if set.ece.is_none() && set.cwr.is_none() || packet.data[9] != 6 {
        return Rewritten::Continue;
    }
    let (at, len) = segment(packet);
    if len < 20 {
        return Rewritten::Drop;
    }
    let bit = |flags: u8, bit: u8, to: Option<bool>| match to {
        Some(true) => flags | bit,
        Some(false) => flags & !bit,
        None => flags,
    };
    let flags = bit(bit(packet.data[at + 13], 0x40, set.ece), 0x80, set.cwr);
    if flags != packet.data[at + 13] {
        let to = [packet.data[at + 12], flags];
        write(&mut packet.data, at + 16, at + 12, to);
    }
    Rewritten::Continue
}

/// How far the next option of a TCP header is.
fn step(data: &[u8], at: usize) -> usize {
    if data[at] <= 1 || data[at + 1] == 0 { 1 } else { data[at + 1].into() }
}

fn tcpmss(packet: &mut Packet, mss: u16) -> Rewritten {
    if packet.fragment_offset() != 0 {
        return Rewritten::Continue;
    }
    let Some(header) = tcp_header(packet) else { return Rewritten::Drop };
    let (at, len) = segment(packet);
    let mut i = 20;
    while i + 4 <= header {
        let option = at + i;
        if packet.data[option..option + 2] == [2, 4] {
            let old = word(&packet.data, option + 2);
            if old > mss {
                // Patched as if it stood at an even place, wherever it stands.
                packet.data[option + 2..option + 4].copy_from_slice(&mss.to_be_bytes());
                patch(&mut packet.data, at + 16, old, mss);
            }
            return Rewritten::Continue;
        }
        i += step(&packet.data, option);
    }
    if len > header || header >= 60 {
        return Rewritten::Continue;
    }
    let v4 = packet.family() == Family::V4;
    let mss = mss.min(if v4 { 536 } else { 1220 });
    let [high, low] = mss.to_be_bytes();
    packet.data.truncate(at + len);
    packet.data.splice(at + 20..at + 20, [2, 4, high, low]);
    let data = &mut packet.data;
    let lengths = [len, len + 4].map(|len| u16::try_from(len).unwrap_or(u16::MAX));
    patch(data, at + 16, lengths[0], lengths[1]);
    patch(data, at + 16, 0, 0x0204);
    patch(data, at + 16, 0, mss);
    let to = [data[at + 12] + 0x10, data[at + 13]];
    write(data, at + 16, at + 12, to);
    if v4 {
        let total = word(data, 2).wrapping_add(4).to_be_bytes();
        write(data, 10, 2, total);
    } else {
        let length = word(data, 4).wrapping_add(4).to_be_bytes();
        data[4..6].copy_from_slice(&length);
    }
    Rewritten::Continue
}

fn tcpoptstrip(packet: &mut Packet, strip: &Tcpoptstrip) -> Rewritten {
    if packet.fragment_offset() != 0 {
        return Rewritten::Continue;
    }
    let Some(header) = tcp_header(packet) else { return Rewritten::Drop };
    let (at, _) = segment(packet);
    let data = &mut packet.data;
    let mut i = 20;
    while i + 1 < header {
        let length = step(data, at + i);
        if i + length > header {
            break;
        }
        if strip.has(data[at + i]) {
            for byte in i..i + length {
                let (from, nop) = (u16::from(data[at + byte]), 1);
                let shift = if byte % 2 == 0 { 8 } else { 0 };
                patch(data, at + 16, from << shift, nop << shift);
                data[at + byte] = 1;
            }
        }
        i += length;
    }
    Rewritten::Continue
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Ct;
    use crate::targets::{TosSet, TtlSet};

    /// A SYN with these options, its checksums right.
    fn syn(options: &[u8]) -> Packet {
        let header = 20 + options.len();
        let mut data = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        data[3] = u8::try_from(20 + header).expect("a short packet");
        data.extend([0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, u8::try_from(header << 2).expect("a header"), 2]);
        data.extend([0xff, 0xff, 0, 0, 0, 0]);
        data.extend(options);
        let mut packet = Packet { data, iif: None, oif: None, local: false, mark: 0, ct: Ct::None };
        let (ip, tcp) = (ip_sum(&packet), tcp_sum(&packet));
        packet.data[10..12].copy_from_slice(&ip.to_be_bytes());
        packet.data[36..38].copy_from_slice(&tcp.to_be_bytes());
        assert_eq!((ip_sum(&packet), tcp_sum(&packet)), (0, 0));
        packet
    }

    fn sum(words: impl Iterator<Item = u16>) -> u16 {
        let sum = words.fold(0_u32, |sum, word| sum + u32::from(word));
        let sum = (sum & 0xffff) + (sum >> 16);
        !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("16 bits")
    }

    fn words(data: &[u8]) -> impl Iterator<Item = u16> {
        data.chunks(2).map(|two| u16::from_be_bytes([two[0], two.get(1).copied().unwrap_or(0)]))
    }

    fn ip_sum(packet: &Packet) -> u16 {
        sum(words(&packet.data[..20]))
    }

    fn tcp_sum(packet: &Packet) -> u16 {
        let segment = &packet.data[20..];
        let length = u16::try_from(segment.len()).expect("16 bits");
        sum(words(&packet.data[12..20]).chain([6, length]).chain(words(segment)))
    }

    #[test]
    fn checksums_stay_right_whatever_is_written() {
        let mss = |mss| Target::Tcpmss(TcpmssSet::Mss(mss));
        let mut strip = Tcpoptstrip { kinds: [0; 8] };
        [2, 4].into_iter().for_each(|kind| strip.insert(kind));
        let targets = [
            Target::Tos(TosSet { value: 0x1f, mask: 0xff }),
            Target::Ttl(TtlSet(HopChange::Decrement(200))),
            Target::Ecn(EcnSet { ece: Some(true), cwr: Some(true), ect: Some(1) }),
            mss(500),
            Target::Tcpoptstrip(strip),
        ];
        for options in [&[2, 4, 5, 0xb4, 1, 1, 4, 2][..], &[4, 2, 1, 1], &[]] {
            for target in &targets {
                let mut packet = syn(options);
                assert_eq!(rewrite(target, &mut packet), Rewritten::Continue);
                assert_eq!((ip_sum(&packet), tcp_sum(&packet)), (0, 0), "{target:?} {options:?} {packet:?}");
            }
        }
    }

    #[test]
    fn an_mss_is_lowered_and_never_raised_and_added_where_there_is_none() {
        let run = |options: &[u8], mss| {
            let mut packet = syn(options);
            assert_eq!(rewrite(&Target::Tcpmss(TcpmssSet::Mss(mss)), &mut packet), Rewritten::Continue);
            packet.data[40..].to_vec()
        };
        assert_eq!(run(&[2, 4, 5, 0xb4], 1000), [2, 4, 3, 0xe8]);
        assert_eq!(run(&[2, 4, 5, 0xb4], 1460), [2, 4, 5, 0xb4]);
        assert_eq!(run(&[4, 2, 1, 1], 1460), [2, 4, 2, 0x18, 4, 2, 1, 1]);
        assert_eq!(run(&[], 100), [2, 4, 0, 100]);
    }

    #[test]
    fn a_segment_that_is_cut_short_is_dropped_where_its_header_is_needed() {
        let mut packet = syn(&[]);
        packet.data.truncate(36);
        packet.data[3] = 36;
        for target in [Target::Tcpmss(TcpmssSet::Mss(100)), Target::Tcpoptstrip(Tcpoptstrip { kinds: [u32::MAX; 8] })] {
            assert_eq!(rewrite(&target, &mut packet.clone()), Rewritten::Drop);
        }
        let ecn = EcnSet { ece: Some(false), cwr: None, ect: None };
        assert_eq!(rewrite(&Target::Ecn(ecn), &mut packet), Rewritten::Drop);
    }
}
