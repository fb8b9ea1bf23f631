//! A received packet as one line of text, with everything that both worlds must agree on.
//!
//! Checksums are verified, not compared; the outer IP id is left out, since the stack draws it at random.

use crate::packet::{FLAGS, pseudo_sum, sum16};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// The parts of an IPv4 packet that the harness looks at.
#[derive(Debug, Clone, Copy)]
pub struct Ip<'a> {
    /// The header, options included.
    pub header: &'a [u8],
    /// What follows the header, as long as the total length says (or what is there).
    pub payload: &'a [u8],
    /// The total length promises more than there is.
    pub truncated: bool,
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// IP protocol number.
    pub protocol: u8,
    /// Fragment offset in bytes.
    pub offset: usize,
    /// The "more fragments" flag.
    pub more: bool,
}

impl<'a> Ip<'a> {
    /// Reads the header, or `None` when this is no IPv4 packet.
    pub fn parse(p: &'a [u8]) -> Option<Self> {
        let ihl = usize::from(p.first()? & 15) * 4;
        if p[0] >> 4 != 4 || ihl < 20 || p.len() < ihl {
            return None;
        }
        let total = usize::from(u16::from_be_bytes([p[2], p[3]]));
        let frag = u16::from_be_bytes([p[6], p[7]]);
        Some(Self {
            header: &p[..ihl],
            payload: &p[ihl..total.clamp(ihl, p.len())],
            truncated: total > p.len(),
            src: Ipv4Addr::new(p[12], p[13], p[14], p[15]),
            dst: Ipv4Addr::new(p[16], p[17], p[18], p[19]),
            protocol: p[9],
            offset: usize::from(frag & 0x1fff) * 8,
            more: frag & 0x2000 != 0,
        })
    }
}

/// How ports and sequence numbers are shown.
#[derive(Debug, Clone, Default)]
pub struct Masks {
    /// Ports that are not in this list are shown as `*`; empty: all are shown.
    pub known_ports: Vec<u16>,
    /// Unknown ports in this range are shown as the range.
    pub random_ports: (u16, u16),
    /// A quoted packet's sum may be its pseudo header's, as that of one whose device was to do it.
    pub partial_quotes: bool,
    /// Show sequence numbers and windows (packets that we made), or not (those of a TCP stack).
    pub hide_tcp_numbers: bool,
}

impl Masks {
    fn port(&self, p: u16) -> String {
        let (from, to) = self.random_ports;
        if self.known_ports.is_empty() || self.known_ports.contains(&p) {
            p.to_string()
        } else if (from..=to).contains(&p) {
            format!("({from}-{to})")
        } else {
            "*".into()
        }
    }
}

/// What a transport checksum must hold to be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// The sum over the packet.
    Full,
    /// The pseudo header's sum, as an offloading sender leaves it.
    Partial,
    /// One of both (raw sockets do not tell).
    Either,
}

/// Describes a packet that starts with its IP header.
pub fn describe(p: &[u8], expected: Checksum, masks: &Masks) -> String {
    one(p, expected, masks, false)
}

fn one(p: &[u8], partial: Checksum, masks: &Masks, inner: bool) -> String {
    let Some(ip) = Ip::parse(p) else {
        return format!("not IPv4, {} bytes: {}", p.len(), hex(&p[..p.len().min(32)]));
    };
    let l4 = ip.payload;
    let mut out = String::new();
    let fragment = ip.offset != 0 || ip.more;
    let port = |at: usize| masks.port(u16::from_be_bytes([l4[at], l4[at + 1]]));
    let complete = !fragment && !ip.truncated;
    let mut problems = Vec::new();
    if sum16(ip.header, 0) != 0xffff {
        problems.push("BAD-IP-CHECKSUM".to_owned());
    }
    match ip.protocol {
        6 | 17 if ip.offset == 0 && l4.len() >= 8 => {
            let _ = write!(out, "{}:{} > {}:{}", ip.src, port(0), ip.dst, port(2));
        }
        _ => {
            let _ = write!(out, "{} > {}", ip.src, ip.dst);
        }
    }
    match ip.protocol {
        17 if ip.offset == 0 && l4.len() >= 8 => {
            let _ = write!(out, " udp {}", l4.len() - 8);
            checksum(&mut problems, &ip, 6, complete, partial, inner);
            payload(&mut out, &l4[8..]);
        }
        6 if ip.offset == 0 && l4.len() >= 20 => {
            let flags: String =
                FLAGS.chars().enumerate().filter(|(i, _)| l4[13] >> i & 1 != 0).map(|(_, c)| c).collect();
            let _ = write!(out, " tcp {flags}");
            if !masks.hide_tcp_numbers {
                let long = |at: usize| u32::from_be_bytes([l4[at], l4[at + 1], l4[at + 2], l4[at + 3]]);
                let win = u16::from_be_bytes([l4[14], l4[15]]);
                let _ = write!(out, " seq={} ack={} win={win}", long(4), long(8));
            }
            let doff = (usize::from(l4[12] >> 4) * 4).clamp(20, l4.len());
            if doff > 20 {
                let _ = write!(out, " topts={}", hex(&l4[20..doff]));
            }
            checksum(&mut problems, &ip, 16, complete, partial, inner);
            payload(&mut out, &l4[doff..]);
        }
        1 if ip.offset == 0 && l4.len() >= 8 => {
            let _ = write!(out, " icmp {}/{}", l4[0], l4[1]);
            if complete && sum16(l4, 0) != 0xffff {
                problems.push("BAD-ICMP-CHECKSUM".to_owned());
            }
            if matches!(l4[0], 3 | 4 | 5 | 11 | 12) {
                let rest = &l4[4..8];
                if rest != [0, 0, 0, 0] {
                    let _ = write!(out, " rest={}", hex(rest));
                }
                let expected = if masks.partial_quotes { Checksum::Either } else { Checksum::Full };
                let _ = write!(out, " [{}]", one(&l4[8..], expected, masks, true));
            } else {
                let _ = write!(
                    out,
                    " id={} seq={}",
                    u16::from_be_bytes([l4[4], l4[5]]),
                    u16::from_be_bytes([l4[6], l4[7]])
                );
                payload(&mut out, &l4[8..]);
            }
        }
        n => {
            let _ = write!(out, " proto {n}");
            payload(&mut out, l4);
        }
    }
    let h = ip.header;
    let _ = write!(out, " ttl={}", h[8]);
    if h[1] != 0 {
        let _ = write!(out, " tos={:#x}", h[1]);
    }
    if h[6] & 0x40 != 0 {
        out.push_str(" df");
    }
    if fragment {
        let _ = write!(out, " frag={}:{}{}", ip.offset, l4.len(), if ip.more { "+" } else { "" });
    }
    if h.len() > 20 {
        let _ = write!(out, " opts={}", hex(&h[20..]));
    }
    for p in problems {
        out.push(' ');
        out.push_str(&p);
    }
    out
}

/// Verifies a TCP or UDP checksum; of a quoted, cut packet it can only be shown.
fn checksum(problems: &mut Vec<String>, ip: &Ip<'_>, at: usize, complete: bool, expected: Checksum, inner: bool) {
    let l4 = ip.payload;
    if l4.len() < at + 2 {
        return;
    }
    let field = u16::from_be_bytes([l4[at], l4[at + 1]]);
    if !complete {
        if inner {
            problems.push(format!("csum={field:04x}"));
        }
        return;
    }
    if ip.protocol == 17 && field == 0 {
        problems.push("csum=0".into());
        return;
    }
    let pseudo = pseudo_sum(ip.src, ip.dst, ip.protocol, l4.len());
    let full = sum16(l4, pseudo.into()) == 0xffff;
    match expected {
        Checksum::Full if !full => problems.push("BAD-CHECKSUM".into()),
        Checksum::Partial if field != pseudo => problems.push("BAD-PARTIAL-CHECKSUM".into()),
        Checksum::Either if !full && field != pseudo => problems.push("BAD-CHECKSUM".into()),
        _ => {}
    }
}

fn payload(out: &mut String, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    let ramp = data.iter().enumerate().all(|(i, b)| *b == i as u8);
    let _ = match (ramp, data.len()) {
        (true, n) => write!(out, " data={n}"),
        (false, 0..=24) => write!(out, " data={}", hex(data)),
        // FNV-1a: enough to see that two payloads differ.
        (false, n) => {
            let h =
                data.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
            write!(out, " data={n}#{h:016x}")
        }
    };
}

fn hex(b: &[u8]) -> String {
    b.iter().fold(String::new(), |mut s, x| {
        let _ = write!(s, "{x:02x}");
        s
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::build;

    #[test]
    fn a_packet_is_described_with_what_both_worlds_must_agree_on() {
        let show = |l: &str| describe(&build(l).unwrap(), Checksum::Full, &Masks::default());
        assert_eq!(show("udp 1.2.3.4:5 6.7.8.9:10 len=3 df"), "1.2.3.4:5 > 6.7.8.9:10 udp 3 data=3 ttl=64 df");
        assert_eq!(
            show("udp 1.2.3.4:5 6.7.8.9:10 len=3 badsum"),
            "1.2.3.4:5 > 6.7.8.9:10 udp 3 data=3 ttl=64 BAD-CHECKSUM"
        );
        assert_eq!(
            show("icmperr 1.2.3.4 5.6.7.8 3/4 mtu=9 : udp 5.6.7.8:1 1.2.3.4:2"),
            "1.2.3.4 > 5.6.7.8 icmp 3/4 rest=00000009 [5.6.7.8:1 > 1.2.3.4:2 udp 0 ttl=64] ttl=64"
        );
    }
}
