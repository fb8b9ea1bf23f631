//! Exact IPv4 packets from one line of text, well formed or deliberately not.
//!
//! ```text
//! udp 10.1.0.10:1000 10.2.0.10:53 len=8 ttl=3 df
//! tcp 10.1.0.10:1000 10.2.0.10:80 SA seq=100 ack=7 win=500 len=20 topts=020405b4
//! icmp 10.1.0.10 10.2.0.10 8/0 id=7 seq=1 len=16
//! sctp 10.1.0.10:1000 10.2.0.10:80 tag=0 hex=01000014000000010000ffff0001000100000001
//! icmperr 10.2.0.10 10.1.0.10 3/4 mtu=1000 : udp 10.1.0.10:1000 10.2.0.10:53
//! ip 10.1.0.10 10.2.0.10 proto=47 len=12
//! ip 10.1.0.10 10.2.0.1 proto=4 : udp 10.7.0.1:1 10.3.0.10:2
//! ```
//! Keys of every kind: `ttl tos id df mf off=BYTES opts=HEX len=N data=TEXT hex=HEX frag=FROM:LEN[+]`, and to spoil it:
//! `ver ihl totlen badipsum badsum trunc=BYTES` (udp: `ulen csum0`; tcp: `doff urg`).

use crate::Result;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// The ones' complement sum that IP, TCP, UDP and ICMP use, not yet complemented.
pub fn sum16(data: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in data.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum of the pseudo header of TCP and UDP.
pub fn pseudo_sum(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: usize) -> u16 {
    let mut b = [0u8; 12];
    b[..4].copy_from_slice(&src.octets());
    b[4..8].copy_from_slice(&dst.octets());
    b[9] = protocol;
    b[10..].copy_from_slice(&(len as u16).to_be_bytes());
    sum16(&b, 0)
}

/// A packet of SCTP with its sum, a CRC32c.
pub fn sctp(ports: (u16, u16), tag: u32, chunks: &[u8]) -> Vec<u8> {
    let mut l4 = [&ports.0.to_be_bytes()[..], &ports.1.to_be_bytes(), &tag.to_be_bytes(), &[0; 4], chunks].concat();
    let sum = !l4.iter().fold(!0u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 })
    });
    l4[8..12].copy_from_slice(&sum.to_le_bytes());
    l4
}

/// Reads hexadecimal digits into bytes.
pub fn unhex(s: &str) -> Result<Vec<u8>> {
    if !s.len().is_multiple_of(2) {
        return Err(format!("odd number of hex digits in {s:?}").into());
    }
    (0..s.len()).step_by(2).map(|i| Ok(u8::from_str_radix(&s[i..i + 2], 16)?)).collect()
}

/// The words of a packet line that are not positional: `key=value`, or `key` alone.
#[derive(Debug, Default, Clone)]
pub struct Keys(BTreeMap<String, String>);

impl Keys {
    fn parse<'a>(words: impl Iterator<Item = &'a str>, known: &[&str]) -> Result<Self> {
        let mut map = BTreeMap::new();
        for w in words {
            let (k, v) = w.split_once('=').unwrap_or((w, ""));
            if !known.contains(&k) {
                return Err(format!("unknown word {w:?} in a packet").into());
            }
            map.insert(k.to_owned(), v.to_owned());
        }
        Ok(Self(map))
    }
    fn has(&self, k: &str) -> bool {
        self.0.contains_key(k)
    }
    fn text(&self, k: &str) -> Option<&str> {
        self.0.get(k).map(String::as_str)
    }
    fn num(&self, k: &str, default: u32) -> Result<u32> {
        match self.text(k) {
            None => Ok(default),
            Some(v) => match v.strip_prefix("0x") {
                Some(h) => Ok(u32::from_str_radix(h, 16)?),
                None => v.parse().map_err(|e| format!("{k}={v}: {e}").into()),
            },
        }
    }
    fn payload(&self) -> Result<Vec<u8>> {
        Ok(match (self.text("data"), self.text("hex")) {
            (Some(t), _) => t.as_bytes().to_vec(),
            (None, Some(h)) => unhex(h)?,
            (None, None) => (0..self.num("len", 0)?).map(|i| i as u8).collect(),
        })
    }
}

const KNOWN: &[&str] = &[
    "ttl", "tos", "id", "df", "mf", "off", "opts", "len", "data", "hex", "frag", "ver", "ihl", "totlen", "badipsum",
    "badsum", "trunc", "ulen", "csum0", "doff", "urg", "seq", "ack", "win", "topts", "proto", "mtu", "quote", "tag",
];

/// Splits `10.0.0.1:80`; without a colon the port is 0.
pub fn endpoint(s: &str) -> Result<(Ipv4Addr, u16)> {
    let (a, p) = s.split_once(':').unwrap_or((s, "0"));
    Ok((a.parse().map_err(|e| format!("address {a:?}: {e}"))?, p.parse().map_err(|e| format!("port {p:?}: {e}"))?))
}

/// TCP flag letters, from the lowest bit: FIN SYN RST PSH ACK URG ECE CWR.
pub const FLAGS: &str = "FSRPAUEC";

/// Builds the packet that a line describes: of IPv6 ([`crate::packet6`]) where its addresses say so.
pub fn build(line: &str) -> Result<Vec<u8>> {
    if line.contains("::") {
        return crate::packet6::build(line);
    }
    parse(line).map_err(|e| format!("packet {line:?}: {e}").into())
}

fn parse(line: &str) -> Result<Vec<u8>> {
    let (head, inner) = match line.split_once(" : ") {
        Some((h, i)) => (h, Some(i)),
        None => (line, None),
    };
    let mut words = head.split_whitespace();
    let kind = words.next().ok_or("empty")?;
    let (src, sport) = endpoint(words.next().ok_or("source expected")?)?;
    let (dst, dport) = endpoint(words.next().ok_or("destination expected")?)?;
    let mut l4;
    let keys;
    let protocol;
    match kind {
        "udp" => {
            keys = Keys::parse(words, KNOWN)?;
            protocol = 17;
            let data = keys.payload()?;
            l4 = Vec::new();
            l4.extend(sport.to_be_bytes());
            l4.extend(dport.to_be_bytes());
            l4.extend((keys.num("ulen", data.len() as u32 + 8)? as u16).to_be_bytes());
            l4.extend([0, 0]);
            l4.extend(data);
            if !keys.has("csum0") {
                let c = !sum16(&l4, pseudo_sum(src, dst, 17, l4.len()).into());
                l4[6..8].copy_from_slice(&(if c == 0 { 0xffff } else { c }).to_be_bytes());
            }
        }
        "tcp" => {
            let flags = words.next().ok_or("TCP flags expected, - for none")?;
            keys = Keys::parse(words, KNOWN)?;
            protocol = 6;
            let mut bits = 0u8;
            for c in flags.chars().filter(|c| *c != '-') {
                bits |= 1 << FLAGS.find(c).ok_or_else(|| format!("TCP flag {c}"))?;
            }
            let mut opts = unhex(keys.text("topts").unwrap_or(""))?;
            opts.resize(opts.len().div_ceil(4) * 4, 0);
            l4 = Vec::new();
            l4.extend(sport.to_be_bytes());
            l4.extend(dport.to_be_bytes());
            l4.extend(keys.num("seq", 1000)?.to_be_bytes());
            l4.extend(keys.num("ack", 0)?.to_be_bytes());
            l4.push((keys.num("doff", 5 + opts.len() as u32 / 4)? as u8) << 4);
            l4.push(bits);
            l4.extend((keys.num("win", 8192)? as u16).to_be_bytes());
            l4.extend([0, 0]);
            l4.extend((keys.num("urg", 0)? as u16).to_be_bytes());
            l4.extend(opts);
            l4.extend(keys.payload()?);
            let c = !sum16(&l4, pseudo_sum(src, dst, 6, l4.len()).into());
            l4[16..18].copy_from_slice(&c.to_be_bytes());
        }
        "icmp" | "icmperr" => {
            let (t, c) = words.next().and_then(|w| w.split_once('/')).ok_or("TYPE/CODE expected")?;
            keys = Keys::parse(words, KNOWN)?;
            protocol = 1;
            l4 = vec![t.parse()?, c.parse()?, 0, 0];
            if kind == "icmp" {
                l4.extend((keys.num("id", 7)? as u16).to_be_bytes());
                l4.extend((keys.num("seq", 1)? as u16).to_be_bytes());
                l4.extend(keys.payload()?);
            } else {
                l4.extend([0, 0]);
                l4.extend((keys.num("mtu", 0)? as u16).to_be_bytes());
                let quoted = parse(inner.ok_or("an ICMP error quotes a packet after ' : '")?)?;
                let n = keys.num("quote", 576)? as usize;
                l4.extend(&quoted[..n.min(quoted.len())]);
            }
            let sum = !sum16(&l4, 0);
            l4[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        "sctp" => {
            keys = Keys::parse(words, KNOWN)?;
            protocol = 132;
            l4 = sctp((sport, dport), keys.num("tag", 0)?, &keys.payload()?);
        }
        "ip" => {
            keys = Keys::parse(words, KNOWN)?;
            protocol = keys.num("proto", 253)? as u8;
            l4 = match inner {
                Some(packet) => parse(packet)?,
                None => keys.payload()?,
            };
        }
        other => return Err(format!("unknown kind {other:?}").into()),
    }
    if keys.has("badsum") {
        let at = match protocol {
            6 => 16,
            17 => 6,
            132 => 8,
            _ => 2,
        };
        l4[at] ^= 0x55;
    }
    ip_header(src, dst, protocol, l4, &keys)
}

fn ip_header(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, mut l4: Vec<u8>, keys: &Keys) -> Result<Vec<u8>> {
    let mut offset = keys.num("off", 0)?;
    let mut more = keys.has("mf");
    if let Some(f) = keys.text("frag") {
        let (from, len) = f.split_once(':').ok_or("frag=FROM:LEN[+]")?;
        more = len.ends_with('+');
        let (from, len): (usize, usize) = (from.parse()?, len.trim_end_matches('+').parse()?);
        offset = from as u32;
        l4 = l4.get(from..).ok_or("fragment beyond the packet")?.iter().copied().take(len).collect();
    }
    let mut opts = unhex(keys.text("opts").unwrap_or(""))?;
    opts.resize(opts.len().div_ceil(4) * 4, 0);
    let header = 20 + opts.len();
    let mut p = Vec::with_capacity(header + l4.len());
    p.push((keys.num("ver", 4)? as u8) << 4 | (keys.num("ihl", header as u32 / 4)? as u8 & 15));
    p.push(keys.num("tos", 0)? as u8);
    p.extend((keys.num("totlen", (header + l4.len()) as u32)? as u16).to_be_bytes());
    p.extend((keys.num("id", 0x1234)? as u16).to_be_bytes());
    let flags = u16::from(keys.has("df")) << 14 | u16::from(more) << 13 | (offset / 8) as u16;
    p.extend(flags.to_be_bytes());
    p.extend([keys.num("ttl", 64)? as u8, protocol, 0, 0]);
    p.extend(src.octets());
    p.extend(dst.octets());
    p.extend(opts);
    let c = !sum16(&p, 0);
    p[10..12].copy_from_slice(&c.to_be_bytes());
    if keys.has("badipsum") {
        p[10] ^= 0x55;
    }
    p.extend(l4);
    let cut = keys.num("trunc", u32::MAX)? as usize;
    p.truncate(cut);
    Ok(p)
}

/// The packet that answers `packet` as its receiver would: echo reply, swapped ports, next TCP segment.
/// `words` override or add keys (and for TCP give the flags).
pub fn reply(packet: &[u8], words: &str) -> Result<String> {
    if packet.first().is_some_and(|b| b >> 4 == 6) {
        return crate::packet6::reply(packet, words);
    }
    let ip = crate::dissect::Ip::parse(packet).ok_or("nothing to reply to: not an IPv4 packet")?;
    let l4 = ip.payload;
    let (flags, words) = reply_flags(words);
    let port = |at: usize| u16::from_be_bytes([l4[at], l4[at + 1]]);
    let long = |at: usize| u32::from_be_bytes([l4[at], l4[at + 1], l4[at + 2], l4[at + 3]]);
    Ok(match ip.protocol {
        17 if l4.len() >= 8 => format!("udp {}:{} {}:{} {words}", ip.dst, port(2), ip.src, port(0)),
        6 if l4.len() >= 20 => {
            let data = l4.len().saturating_sub(usize::from(l4[12] >> 4) * 4);
            let advance = data as u32 + u32::from(l4[13] & 1) + u32::from(l4[13] >> 1 & 1);
            let seq = if l4[13] & 0x10 != 0 { long(8) } else { 5000 };
            format!(
                "tcp {}:{} {}:{} {flags} seq={seq} ack={} {words}",
                ip.dst,
                port(2),
                ip.src,
                port(0),
                long(4).wrapping_add(advance),
            )
        }
        1 if l4.len() >= 8 && matches!(l4[0], 8 | 13 | 15 | 17) => {
            let t = if l4[0] == 8 { 0 } else { l4[0] + 1 };
            format!("icmp {} {} {t}/0 id={} seq={} {words}", ip.dst, ip.src, port(4), port(6))
        }
        132 if l4.len() >= 12 && words.contains("tag=") => {
            format!("sctp {}:{} {}:{} {words}", ip.dst, port(2), ip.src, port(0))
        }
        p => format!("ip {} {} proto={p} {words}", ip.dst, ip.src),
    })
}

/// Writes the transport checksum of a whole TCP or UDP packet whose device was to do it.
pub fn complete(packet: &mut [u8]) {
    let Some((proto, at, pseudo)) = (match packet.first().map(|b| b >> 4) {
        Some(4) => crate::dissect::Ip::parse(packet)
            .map(|ip| (ip.protocol, ip.header.len(), pseudo_sum(ip.src, ip.dst, ip.protocol, ip.payload.len()))),
        _ => crate::packet6::upper(packet).filter(|(.., later)| !later).map(|(proto, at, _)| {
            let length = (packet.len() - at) as u32;
            let numbers = [&length.to_be_bytes()[..], &[0, 0, 0, proto]].concat();
            (proto, at, sum16(&packet[8..40], sum16(&numbers, 0).into()))
        }),
    }) else {
        return;
    };
    let sum_at = at
        + match proto {
            6 => 16,
            17 => 6,
            _ => return,
        };
    if packet.len() >= sum_at + 2 {
        packet[sum_at..sum_at + 2].copy_from_slice(&[0, 0]);
        let sum = !sum16(&packet[at..], pseudo.into());
        packet[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The flags that a reply's words begin with, and the rest. TCP flags are for TCP only: a scenario may not know what it answers.
pub fn reply_flags(words: &str) -> (&str, &str) {
    match words.split_once(' ').unwrap_or((words, "")) {
        (flags, rest) if !flags.is_empty() && flags.chars().all(|c| FLAGS.contains(c)) => (flags, rest),
        _ => ("A", words),
    }
}

/// An ICMP error about `packet`, sent by its receiver or by `from`. `kind` is TYPE/CODE.
pub fn error_about(packet: &[u8], kind: &str, from: Option<IpAddr>, mtu: u16) -> Result<Vec<u8>> {
    if packet.first().is_some_and(|b| b >> 4 == 6) {
        return crate::packet6::error_about(packet, kind, from, mtu);
    }
    let from = match from {
        Some(IpAddr::V6(_)) => return Err("an ICMP error comes from an IPv4 address".into()),
        Some(IpAddr::V4(from)) => Some(from),
        None => None,
    };
    let ip = crate::dissect::Ip::parse(packet).ok_or("nothing to complain about: not an IPv4 packet")?;
    let (t, c) = kind.split_once('/').ok_or("TYPE/CODE expected")?;
    let mut l4: Vec<u8> = vec![t.parse()?, c.parse()?, 0, 0, 0, 0];
    l4.extend(mtu.to_be_bytes());
    l4.extend(packet.iter().take(548));
    let sum = !sum16(&l4, 0);
    l4[2..4].copy_from_slice(&sum.to_be_bytes());
    ip_header(from.unwrap_or(ip.dst), ip.src, 1, l4, &Keys::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{SlicedPacket, TransportSlice};

    #[test]
    fn packets_built_here_parse_in_an_independent_library_with_good_checksums() {
        for line in [
            "udp 10.1.0.10:1000 10.2.0.10:53 len=9",
            "tcp 10.1.0.10:1000 10.2.0.10:80 SA seq=1 ack=2 topts=020405b4 len=3",
            "icmp 10.1.0.10 10.2.0.10 8/0 len=5",
            "icmperr 10.2.0.10 10.1.0.10 3/4 mtu=900 : udp 10.1.0.10:1000 10.2.0.10:53",
        ] {
            let bytes = build(line).unwrap();
            let p = SlicedPacket::from_ip(&bytes).unwrap();
            let Some(etherparse::NetSlice::Ipv4(ip)) = p.net else { panic!("{line}: no IPv4 header") };
            let h = ip.header().to_header();
            assert_eq!(h.calc_header_checksum(), h.header_checksum, "{line}");
            match p.transport.unwrap() {
                TransportSlice::Udp(u) => {
                    assert_eq!(u.to_header().calc_checksum_ipv4(&h, u.payload()).unwrap(), u.checksum(), "{line}")
                }
                TransportSlice::Tcp(t) => {
                    assert_eq!(t.calc_checksum_ipv4(h.source, h.destination).unwrap(), t.checksum(), "{line}");
                }
                TransportSlice::Icmpv4(i) => {
                    assert_eq!(i.icmp_type().calc_checksum(i.payload()), i.checksum(), "{line}");
                }
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_sctp_packet_has_the_sum_that_a_stack_gave_it() {
        let chunks = unhex("0a00000c636f6f6b69653132").unwrap();
        assert_eq!(sctp((1000, 38), 0x5566_7788, &chunks)[8..12], [0xaa, 0xcb, 0x56, 0xad]);
    }

    #[test]
    fn a_spoilt_checksum_is_spoilt_and_an_unknown_word_is_refused() {
        let good = build("udp 10.1.0.10:1 10.2.0.10:2 len=4").unwrap();
        let bad = build("udp 10.1.0.10:1 10.2.0.10:2 len=4 badsum").unwrap();
        assert_ne!(good, bad);
        assert!(build("udp 10.1.0.10:1 10.2.0.10:2 lem=4").is_err());
    }
}
