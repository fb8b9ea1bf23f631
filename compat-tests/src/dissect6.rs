//! A received IPv6 packet as one line of text, as [`crate::dissect`] tells those of IPv4.
//!
//! Addresses, the header's fields, then every byte behind it, with `....` where a verified checksum stands.

use crate::dissect::{Checksum, Masks};
use crate::packet::sum16;
use crate::packet6::upper;
use std::fmt::Write as _;
use std::net::Ipv6Addr;

/// Describes a packet that starts with its IPv6 header.
pub fn describe6(p: &[u8], expected: Checksum, masks: &Masks) -> String {
    if p.len() < 40 || p[0] >> 4 != 6 {
        return format!("not IPv6: {}", hex(p));
    }
    let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&p[at..at + 16]).unwrap_or_default());
    let (src, dst) = (address(8), address(24));
    let word = u32::from_be_bytes([p[0], p[1], p[2], p[3]]);
    let length = usize::from(u16::from_be_bytes([p[4], p[5]]));
    let mut out = format!("{src} > {dst} next={} hl={}", p[6], p[7]);
    if word & 0x0fff_ffff != 0 {
        let _ = write!(out, " tc={:#x} fl={}", word >> 20 & 0xff, word & 0xfffff);
    }
    if length + 40 != p.len() {
        let _ = write!(out, " plen={length} of {}", p.len() - 40);
    }
    let Some((proto, at, later)) = upper(p).filter(|_| length + 40 == p.len()) else {
        return format!("{out} {}", hex(&p[40..]));
    };
    let sum_at = match proto {
        6 => 16,
        17 => 6,
        58 => 2,
        _ => return format!("{out} proto {proto} {}", hex(&p[40..])),
    };
    let l4 = &p[at..];
    let fragment = later || p[6] == 44 || at > 40 && fragmented(p);
    if fragment || l4.len() < sum_at + 2 {
        return format!("{out} proto {proto} {}", hex(&p[40..]));
    }
    if proto != 58
        && let [a, b, c, d, ..] = l4
    {
        let _ = write!(out, " {} > {}", u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
    }
    let mut pseudo: Vec<u8> = [src.octets(), dst.octets()].concat();
    pseudo.extend((l4.len() as u32).to_be_bytes());
    pseudo.extend([0, 0, 0, proto]);
    let pseudo = sum16(&pseudo, 0);
    let full = sum16(l4, pseudo.into()) == 0xffff;
    let field = u16::from_be_bytes([l4[sum_at], l4[sum_at + 1]]);
    let right = match expected {
        Checksum::Full => full,
        Checksum::Partial => field == pseudo,
        Checksum::Either => full || field == pseudo,
    };
    let shown = if right { "....".to_owned() } else { format!("{field:04x}(bad)") };
    let cut = at + sum_at;
    let before = match proto {
        6 if masks.hide_tcp_numbers => format!("{}****{}", hex(&p[40..at + 4]), hex(&p[at + 12..cut])),
        _ => hex(&p[40..cut]),
    };
    let mut after = p[cut + 2..].to_vec();
    if masks.partial_quotes && proto == 58 && l4[0] < 128 && after.len() > 4 {
        without_sum(&mut after[4..]);
    }
    format!("{out} proto {proto} {before}{shown}{}", hex(&after))
}

/// Whether there is a fragment header.
fn fragmented(p: &[u8]) -> bool {
    let (mut next, mut at) = (p[6], 40);
    while let 0 | 43 | 60 | 51 = next {
        let Some(length) = p.get(at + 1) else { return false };
        let unit = if next == 51 { 4 } else { 8 };
        next = p[at];
        at += usize::from(*length) * unit + 8;
    }
    next == 44
}

/// Clears the sum of a quoted segment of TCP where it is right, or the pseudo header's.
fn without_sum(p: &mut [u8]) {
    let Some((6, at, false)) = upper_of(p) else { return };
    let length = (p.len() - at) as u32;
    let pseudo = sum16(&p[8..40], sum16(&[&length.to_be_bytes()[..], &[0, 0, 0, 6]].concat(), 0).into());
    let field = u16::from_be_bytes([p[at + 16], p[at + 17]]);
    if field == pseudo || sum16(&p[at..], pseudo.into()) == 0xffff {
        p[at + 16..at + 18].copy_from_slice(&[0, 0]);
    }
}

/// As [`upper`], of a packet that has a segment's header whole.
fn upper_of(p: &[u8]) -> Option<(u8, usize, bool)> {
    upper(p).filter(|(_, at, _)| p.len() >= at + 20 && !fragmented(p))
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut s, x| {
        let _ = write!(s, "{x:02x}");
        s
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet6::build;

    #[test]
    fn a_checksum_is_told_as_right_or_shown() {
        let show = |l: &str| describe6(&build(l).unwrap(), Checksum::Full, &Masks::default());
        assert_eq!(
            show("udp fd00:1::10,5 fd00:2::10,10 len=1"),
            "fd00:1::10 > fd00:2::10 next=17 hl=64 5 > 10 proto 17 0005000a0009....00"
        );
        assert!(show("udp fd00:1::10,5 fd00:2::10,10 len=1 badsum").contains("(bad)"));
        assert!(show("udp fd00:1::10,5 fd00:2::10,10 len=16 frag=8:8+").ends_with("0001020304050607"));
    }
}
