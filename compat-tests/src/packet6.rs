//! Exact IPv6 packets from one line of text, as [`crate::packet`] makes those of IPv4.
//!
//! ```text
//! udp fd00:1::10,1000 fd00:2::10,53 len=8 hl=3 tc=0x10 fl=5
//! tcp fd00:1::10,1000 fd00:2::10,80 SA seq=100 ack=7 win=500 len=20 topts=020405b4
//! icmp fd00:1::10 fd00:2::10 128/0 id=7 seq=1 len=16
//! icmperr fd00:2::10 fd00:1::10 1/4 rest=00000000 : udp fd00:1::10,1000 fd00:2::10,53
//! ip fd00:1::10 fd00:2::10 proto=47 len=12
//! ```
//! Keys of every kind: `hl tc fl len=N hex=HEX ext=NUMBER:HEX[,NUMBER:HEX...]` (extension headers, whose first byte is made to lead on), and to
//! spoil it: `plen badsum trunc=BYTES` (tcp: `doff`; udp: `ulen csum0`). Fragments: `frag=FROM:LEN[+]`, of what stands above the extensions.

use crate::Result;
use crate::packet::{FLAGS, sum16, unhex};
use std::collections::BTreeMap;
use std::net::Ipv6Addr;

const FRAGMENT: u8 = 44;

#[derive(Debug, Default)]
struct Keys(BTreeMap<String, String>);

const KNOWN: &[&str] = &[
    "hl", "tc", "fl", "len", "hex", "ext", "plen", "badsum", "trunc", "doff", "ulen", "csum0", "frag", "seq", "ack",
    "win", "topts", "id", "rest", "proto",
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
        extensions.push((FRAGMENT, vec![0, 0, hi, lo, 0, 0, 0x12, 0x34]));
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
