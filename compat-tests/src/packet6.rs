//! Exact IPv6 packets from one line of text, as [`crate::packet`] makes those of IPv4.
//!
//! ```text
//! udp fd00:1::10,1000 fd00:2::10,53 len=8 hl=3 tc=0x10 fl=5
//! tcp fd00:1::10,1000 fd00:2::10,80 SA seq=100 ack=7 win=500 len=20 topts=020405b4
//! icmp fd00:1::10 fd00:2::10 128/0 id=7 seq=1 len=16
//! icmperr fd00:2::10 fd00:1::10 1/4 rest=00000000 : udp fd00:1::10,1000 fd00:2::10,53
//! sctp fd00:1::10,1000 fd00:2::10,80 tag=0 hex=01000014000000010000ffff0001000100000001
//! ip fd00:1::10 fd00:2::10 proto=47 len=12
//! ```
//! Keys of every kind: `hl tc fl len=N hex=HEX ext=NUMBER:HEX[,NUMBER:HEX...]` (extension headers, whose first byte is made to lead on), and to
//! spoil it: `plen badsum trunc=BYTES` (tcp: `doff`; udp: `ulen csum0`). Fragments: `frag=FROM:LEN[+] fid=N`, of what stands above the extensions.

use crate::Result;
use crate::packet::{FLAGS, sum16, unhex};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

const FRAGMENT: u8 = 44;

#[derive(Debug, Default)]
struct Keys(BTreeMap<String, String>);

const KNOWN: &[&str] = &[
    "hl", "tc", "fl", "len", "hex", "ext", "plen", "badsum", "trunc", "doff", "ulen", "csum0", "frag", "seq", "ack",
    "win", "topts", "id", "rest", "proto", "fid", "tag",
];

impl Keys {
    fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Result<Self> {
        let mut found = BTreeMap::new();
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            if !KNOWN.contains(&key) {
                return Err(format!("unknown word {word:?}").into());
            }
            found.insert(key.to_owned(), value.to_owned());
        }
        Ok(Self(found))
    }

    fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn num(&self, key: &str, default: u32) -> Result<u32> {
        Ok(match self.text(key) {
            None => default,
            Some(text) => match text.strip_prefix("0x") {
                Some(hex) => u32::from_str_radix(hex, 16)?,
                None => text.parse()?,
            },
        })
    }

    fn payload(&self) -> Result<Vec<u8>> {
        match self.text("hex") {
            Some(hex) => unhex(hex),
            None => Ok((0..self.num("len", 0)?).map(|i| i as u8).collect()),
        }
    }
}

fn endpoint(text: &str) -> Result<(Ipv6Addr, u16)> {
    let (addr, port) = text.split_once(',').unwrap_or((text, "0"));
    Ok((addr.parse().map_err(|e| format!("address {addr:?}: {e}"))?, port.parse()?))
}

/// Builds the packet that a line describes.
pub fn build(line: &str) -> Result<Vec<u8>> {
    parse(line).map_err(|e| format!("packet {line:?}: {e}").into())
}

fn parse(line: &str) -> Result<Vec<u8>> {
    let (head, inner) = line.split_once(" : ").map_or((line, None), |(head, inner)| (head, Some(inner)));
    let mut words = head.split_whitespace();
    let kind = words.next().ok_or("empty")?;
    let (src, sport) = endpoint(words.next().ok_or("source expected")?)?;
    let (dst, dport) = endpoint(words.next().ok_or("destination expected")?)?;
    let mut upper = Vec::new();
    let (keys, protocol, sum_at);
    match kind {
        "udp" => {
            keys = Keys::parse(words)?;
            (protocol, sum_at) = (17, Some(6));
            let data = keys.payload()?;
            upper.extend(sport.to_be_bytes());
            upper.extend(dport.to_be_bytes());
            upper.extend((keys.num("ulen", data.len() as u32 + 8)? as u16).to_be_bytes());
            upper.extend([0, 0]);
            upper.extend(data);
        }
        "tcp" => {
            let flags = words.next().ok_or("flags expected")?;
            keys = Keys::parse(words)?;
            (protocol, sum_at) = (6, Some(16));
            let bits = flags.chars().filter_map(|c| FLAGS.find(c)).fold(0u8, |bits, at| bits | 1 << at);
            let mut options = unhex(keys.text("topts").unwrap_or(""))?;
            options.resize(options.len().div_ceil(4) * 4, 0);
            upper.extend(sport.to_be_bytes());
            upper.extend(dport.to_be_bytes());
            upper.extend(keys.num("seq", 100)?.to_be_bytes());
            upper.extend(keys.num("ack", 0)?.to_be_bytes());
            upper.push((keys.num("doff", (20 + options.len()) as u32 / 4)? as u8) << 4);
            upper.push(bits);
            upper.extend((keys.num("win", 5000)? as u16).to_be_bytes());
            upper.extend([0; 4]);
            upper.extend(options);
            upper.extend(keys.payload()?);
        }
        "icmp" | "icmperr" => {
            let (kind, code) = words.next().and_then(|word| word.split_once('/')).ok_or("TYPE/CODE expected")?;
            keys = Keys::parse(words)?;
            (protocol, sum_at) = (58, Some(2));
            upper.extend([kind.parse()?, code.parse()?, 0, 0]);
            match (inner, keys.text("rest")) {
                (_, Some(rest)) => upper.extend(unhex(rest)?),
                (Some(_), None) => upper.extend([0; 4]),
                _ => {
                    upper.extend((keys.num("id", 7)? as u16).to_be_bytes());
                    upper.extend((keys.num("seq", 1)? as u16).to_be_bytes());
                }
            }
            match inner {
                Some(inner) => upper.extend(build(inner)?),
                None => upper.extend(keys.payload()?),
            }
        }
        "sctp" => {
            keys = Keys::parse(words)?;
            (protocol, sum_at) = (132, None);
            upper = crate::packet::sctp((sport, dport), keys.num("tag", 0)?, &keys.payload()?);
            if keys.has("badsum") {
                upper[8] ^= 0x55;
            }
        }
        "ip" => {
            keys = Keys::parse(words)?;
            (protocol, sum_at) = (keys.num("proto", 59)? as u8, None);
            upper.extend(keys.payload()?);
        }
        other => return Err(format!("unknown kind {other:?}").into()),
    }
    if let Some(at) = sum_at.filter(|_| !keys.has("csum0")) {
        let mut pseudo: Vec<u8> = [src.octets(), dst.octets()].concat();
        pseudo.extend((upper.len() as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, protocol]);
        let sum = match !sum16(&upper, sum16(&pseudo, 0).into()) {
            0 => 0xffff,
            sum => sum,
        };
        upper[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        if keys.has("badsum") {
            upper[at] ^= 0x55;
        }
    }
    header(src, dst, protocol, upper, &keys)
}

fn header(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, mut upper: Vec<u8>, keys: &Keys) -> Result<Vec<u8>> {
    let mut extensions: Vec<(u8, Vec<u8>)> = Vec::new();
    for text in keys.text("ext").into_iter().flat_map(|all| all.split(',')) {
        let (number, bytes) = text.split_once(':').ok_or("ext=NUMBER:HEX")?;
        extensions.push((number.parse()?, unhex(bytes)?));
    }
    if let Some(text) = keys.text("frag") {
        let (from, len) = text.split_once(':').ok_or("frag=FROM:LEN[+]")?;
        let (from, more): (usize, bool) = (from.parse()?, len.ends_with('+'));
        let len: usize = len.trim_end_matches('+').parse()?;
        let [hi, lo] = (from as u16 | u16::from(more)).to_be_bytes();
        let id = keys.num("fid", 0x1234)?.to_be_bytes();
        extensions.push((FRAGMENT, [&[0, 0, hi, lo], &id[..]].concat()));
        upper = upper.get(from..).ok_or("fragment beyond the packet")?.iter().copied().take(len).collect();
    }
    let mut next: Vec<u8> = extensions.iter().map(|(number, _)| *number).collect();
    next.push(protocol);
    let mut rest = Vec::new();
    for (index, (_, bytes)) in extensions.iter_mut().enumerate() {
        *bytes.first_mut().ok_or("an empty extension header")? = next[index + 1];
        rest.extend_from_slice(bytes);
    }
    rest.extend(upper);
    let first = 6 << 28 | keys.num("tc", 0)? << 20 | keys.num("fl", 0)?;
    let mut packet = first.to_be_bytes().to_vec();
    packet.extend((keys.num("plen", rest.len() as u32)? as u16).to_be_bytes());
    packet.extend([next[0], keys.num("hl", 64)? as u8]);
    packet.extend(src.octets());
    packet.extend(dst.octets());
    packet.extend(rest);
    packet.truncate(keys.num("trunc", u32::MAX)? as usize);
    Ok(packet)
}

/// What stands above a packet's extension headers: protocol, offset, and whether it is a later fragment.
pub fn upper(packet: &[u8]) -> Option<(u8, usize, bool)> {
    let (mut next, mut at, mut later) = (*packet.get(6)?, 40, false);
    loop {
        let length = match next {
            0 | 43 | 60 => usize::from(*packet.get(at + 1)?) * 8 + 8,
            FRAGMENT => {
                let offset = u16::from_be_bytes([*packet.get(at + 2)?, *packet.get(at + 3)?]);
                later |= offset >> 3 != 0;
                8
            }
            51 => usize::from(*packet.get(at + 1)?) * 4 + 8,
            _ => return Some((next, at, later)),
        };
        next = *packet.get(at)?;
        at += length;
        if later || at > packet.len() {
            return Some((next, at.min(packet.len()), later));
        }
    }
}

fn addresses(packet: &[u8]) -> Option<(Ipv6Addr, Ipv6Addr)> {
    let address = |at: usize| -> Option<Ipv6Addr> {
        let bytes: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(bytes.into())
    };
    Some((address(8)?, address(24)?))
}

/// The packet that answers `packet`, as [`crate::packet::reply`] makes those of IPv4.
pub fn reply(packet: &[u8], words: &str) -> Result<String> {
    let none = "nothing to reply to: not an IPv6 packet";
    let (src, dst) = addresses(packet).ok_or(none)?;
    let (proto, at, later) = upper(packet).ok_or(none)?;
    let l4 = &packet[at..];
    let (flags, words) = crate::packet::reply_flags(words);
    let port = |at: usize| u16::from_be_bytes([l4[at], l4[at + 1]]);
    let long = |at: usize| u32::from_be_bytes([l4[at], l4[at + 1], l4[at + 2], l4[at + 3]]);
    Ok(match proto {
        17 if l4.len() >= 8 && !later => format!("udp {dst},{} {src},{} {words}", port(2), port(0)),
        6 if l4.len() >= 20 && !later => {
            let data = l4.len().saturating_sub(usize::from(l4[12] >> 4) * 4);
            let advance = data as u32 + u32::from(l4[13] & 1) + u32::from(l4[13] >> 1 & 1);
            let seq = if l4[13] & 0x10 != 0 { long(8) } else { 5000 };
            let ack = long(4).wrapping_add(advance);
            format!("tcp {dst},{} {src},{} {flags} seq={seq} ack={ack} {words}", port(2), port(0))
        }
        58 if l4.len() >= 8 && l4[0] == 128 && !later => {
            format!("icmp {dst} {src} 129/0 id={} seq={} {words}", port(4), port(6))
        }
        132 if l4.len() >= 12 && words.contains("tag=") && !later => {
            format!("sctp {dst},{} {src},{} {words}", port(2), port(0))
        }
        _ => format!("ip {dst} {src} proto={proto} {words}"),
    })
}

/// An ICMPv6 error about `packet`, as [`crate::packet::error_about`] makes those of IPv4.
pub fn error_about(packet: &[u8], kind: &str, from: Option<IpAddr>, mtu: u16) -> Result<Vec<u8>> {
    let (src, dst) = addresses(packet).ok_or("nothing to complain about: not an IPv6 packet")?;
    let from = match from {
        Some(IpAddr::V4(_)) => return Err("an ICMPv6 error comes from an IPv6 address".into()),
        Some(IpAddr::V6(from)) => from,
        None => dst,
    };
    let quoted = packet.iter().take(1232).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    build(&format!("icmp {from} {src} {kind} rest={:08x} hex={quoted}", u32::from(mtu)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    #[test]
    fn packets_built_here_parse_in_an_independent_library_with_good_checksums() {
        for line in [
            "udp fd00:1::10,1000 fd00:2::10,53 len=9",
            "tcp fd00:1::10,1000 fd00:2::10,80 SA seq=1 ack=2 topts=020405b4 len=3",
            "icmp fd00:1::10 fd00:2::10 128/0 len=5 ext=0:0000010400000000,60:0000010400000000",
        ] {
            let bytes = build(line).unwrap();
            let packet = SlicedPacket::from_ip(&bytes).unwrap();
            let Some(NetSlice::Ipv6(ip)) = packet.net else { panic!("{line}: no IPv6 header") };
            let header = ip.header().to_header();
            match packet.transport.unwrap() {
                TransportSlice::Udp(udp) => {
                    let sum = udp.to_header().calc_checksum_ipv6(&header, udp.payload()).unwrap();
                    assert_eq!(sum, udp.checksum(), "{line}");
                }
                TransportSlice::Tcp(tcp) => {
                    let sum = tcp.calc_checksum_ipv6(header.source, header.destination).unwrap();
                    assert_eq!(sum, tcp.checksum(), "{line}");
                }
                TransportSlice::Icmpv6(icmp) => {
                    assert!(icmp.is_checksum_valid(header.source, header.destination), "{line}");
                }
                other => panic!("{line}: {other:?}"),
            }
        }
    }
}
