//! SNPT and DNPT (RFC 6296), as `ip6t_NPT` does: no checksum changes.

use super::packet::Packet;
use super::rewrite::Rewritten;
use crate::targets::npt::Prefixes;
use std::net::Ipv6Addr;

/// Where the source address of an IPv6 header stands, and the destination.
const PLACES: [usize; 2] = [8, 24];
/// Behind the header of an ICMPv6 error: what it quotes.
const QUOTED: usize = 40 + 8;

/// Carries one of them out.
pub(super) fn map(packet: &mut Packet, set: &Prefixes, destination: bool) -> Rewritten {
    let at = PLACES[usize::from(destination)];
    let Some(addr) = mapped(set, octets(packet, at)) else { return Rewritten::Drop };
    packet.data[at..at + 16].copy_from_slice(&addr);
    // An error's quote went the other way. Behind extension headers nobody looks.
    let error = packet.data[6] == 58 && packet.data.get(40).is_some_and(|kind| (1..=4).contains(kind));
    let whole = packet.payload().len() >= 8 + 40;
    if error && whole {
        let at = QUOTED + PLACES[usize::from(!destination)];
        let quoted = octets(packet, at);
        if Ipv6Addr::from(quoted).to_bits() & mask(set.src.1) == set.src.0.to_bits()
            && let Some(addr) = mapped(set, quoted)
        {
            packet.data[at..at + 16].copy_from_slice(&addr);
        }
    }
    Rewritten::Continue
}

fn octets(packet: &Packet, at: usize) -> [u8; 16] {
    std::array::from_fn(|index| packet.data[at + index])
}

fn mask(bits: u8) -> u128 {
    !u128::MAX.checked_shr(bits.into()).unwrap_or(0)
}

/// Ones' complement.
fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

fn sum(addr: Ipv6Addr) -> u16 {
    addr.segments().into_iter().fold(0, add)
}

fn mapped(set: &Prefixes, addr: [u8; 16]) -> Option<[u8; 16]> {
    let bits = set.src.1.max(set.dst.1);
    let changed = mask(bits);
    let mut words =
        Ipv6Addr::from_bits(u128::from_be_bytes(addr) & !changed | set.dst.0.to_bits() & changed).segments();
    let word = match bits {
        0..=48 => &mut words[3],
        _ => words[4..].iter_mut().find(|word| **word != 0xffff)?,
    };
    *word = match add(*word, add(sum(set.src.0), !sum(set.dst.0))) {
        0xffff => 0,
        sum => sum,
    };
    Some(Ipv6Addr::from(words).octets())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_is_mapped_there_and_back() {
        let prefix = |text: &str, bits| (text.parse().expect("an address"), bits);
        let (inside, outside) = (prefix("fd01:203:405::", 48), prefix("2001:db8:1::", 48));
        let out = Prefixes { src: inside, dst: outside };
        let back = Prefixes { src: outside, dst: inside };
        let host: Ipv6Addr = "fd01:203:405:1::1234".parse().expect("an address");
        let seen = mapped(&out, host.octets()).expect("it can be mapped");
        assert_eq!(Ipv6Addr::from(seen).to_string(), "2001:db8:1:d550::1234");
        assert_eq!(mapped(&back, seen), Some(host.octets()));
    }
}
