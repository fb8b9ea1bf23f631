//! Addresses, masks and hosts.

use super::list::{item, items};
use super::number::{blanks, narrow, number, unsigned};
use super::{Read, complete, meaning};
use crate::error::ParseError;
use bpftables_ruleset::addr::masked;
use bpftables_ruleset::names::{Names, UNKNOWN_HOST};
use bpftables_ruleset::{AddrMatch, Family};
use nom::Parser;
use nom::bytes::complete::take_till;
use nom::character::complete::{char, satisfy};
use nom::combinator::{all_consuming, opt, peek, rest};
use nom::multi::{fold_many_m_n, separated_list1};
use nom::sequence::preceded;
use std::net::{IpAddr, Ipv4Addr};

/// `a.b.c.d` with each part in any base; one with fewer parts than four, but at least `least`, ends in zeros.
fn dotted(text: &str, least: usize) -> Option<Ipv4Addr> {
    // Legacy copies 19 characters.
    let text = text.get(..19).unwrap_or(text);
    let (rest, first) = narrow::<u8>(text).ok()?;
    let more = preceded(char('.'), narrow::<u8>);
    let octets = fold_many_m_n(
        least - 1,
        3,
        more,
        || (u32::from(first) << 24, 16u32),
        |(address, shift), octet| (address | u32::from(octet) << shift, shift.saturating_sub(8u32)),
    );
    let (_, (address, _)) = all_consuming(octets).parse(rest).ok()?;
    Some(Ipv4Addr::from(address))
}

/// An address in numbers, as `-s` and `-d` take it.
fn numeric(text: &str, least: usize, family: Family) -> Option<IpAddr> {
    match family {
        Family::V4 => dotted(text, least).map(IpAddr::V4),
        Family::V6 => text.parse().ok().map(IpAddr::V6),
    }
}

/// A mask by its number of bits.
fn cidr(text: &str, family: Family) -> Option<IpAddr> {
    let bits = number(text, 0, family.width().into())?;
    u8::try_from(bits).ok().map(|bits| family.mask(bits))
}

fn mask(text: Option<&str>, family: Family) -> Result<IpAddr, ParseError> {
    let Some(text) = text else { return Ok(family.mask(family.width())) };
    numeric(text, 4, family)
        .or_else(|| cidr(text, family))
        .ok_or_else(|| ParseError::Parameter(format!("invalid mask `{text}' specified")))
}

fn host_or_network(text: &str, family: Family, names: &dyn Names) -> Result<Vec<IpAddr>, ParseError> {
    let network = || if family == Family::V4 { names.network_address(text) } else { None };
    if let Some(addr) = numeric(text, 1, family).or_else(|| network().map(IpAddr::V4)) {
        return Ok(vec![addr]);
    }
    names.host_addresses(text, family).map_err(|_| ParseError::Parameter(format!("host/network `{text}' not found")))
}

/// An address and its mask.
type Masked = (IpAddr, IpAddr);

/// One item of a list of addresses; by name it may be several. What stands before the last slash is the host.
fn addresses(text: &str, family: Family, names: &dyn Names) -> Result<Vec<Masked>, ParseError> {
    if text.len() > 255 {
        return Err(ParseError::parameter("Hostname too long"));
    }
    let (host, mask_text) = match text.rsplit_once('/') {
        Some((host, mask)) => (host, Some(mask)),
        None => (text, None),
    };
    let mask = mask(mask_text, family)?;
    if mask.is_unspecified() {
        return Ok(vec![(mask, mask)]);
    }
    Ok(host_or_network(host, family, names)?.into_iter().map(|addr| (masked(addr, mask), mask)).collect())
}

/// `ADDR[/MASK][,...]` of `-s` and `-d`, hosts and networks by name too. Addresses come masked.
pub(crate) fn address_list(text: &str, family: Family, names: &dyn Names) -> Result<Vec<Masked>, ParseError> {
    let one = preceded(blanks, meaning(item, |item| addresses(item, family, names)));
    let lists = complete(items(one), text, || ParseError::Parameter(format!("host/network `{text}' not found")))?;
    Ok(lists.concat())
}

/// A host without a mask as `getaddrinfo` takes it.
pub(crate) fn host(text: &str, family: Family, names: &dyn Names) -> Result<IpAddr, ParseError> {
    if let Some(addr) = resolver_numeric(text, family) {
        return Ok(addr);
    }
    let refused = |why: &str| ParseError::Parameter(format!("getaddrinfo: {why}\n"));
    if Family::ALL.iter().any(|other| resolver_numeric(text, *other).is_some()) {
        return Err(refused("Address family for hostname not supported"));
    }
    let addrs = names.host_addresses(text, family).map_err(refused)?;
    let first = *addrs.first().ok_or_else(|| refused(UNKNOWN_HOST))?;
    if addrs.iter().any(|addr| *addr != first) {
        return Err(ParseError::Parameter(format!("{text} resolves to more than one address\n")));
    }
    Ok(first)
}

/// An address in numbers, as `getaddrinfo` takes it.
fn resolver_numeric(text: &str, family: Family) -> Option<IpAddr> {
    match family {
        Family::V4 => inet_aton(text).map(IpAddr::V4),
        Family::V6 => text.parse().ok().map(IpAddr::V6),
    }
}

/// The classic `inet_aton`: one to four parts, the last one filling what is left.
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let part = preceded(peek(satisfy(|c| c.is_ascii_digit())), unsigned);
    let (_, parts) = all_consuming(separated_list1(char('.'), part)).parse(text).ok()?;
    let (last, octets) = parts.split_last()?;
    if octets.len() > 3 || octets.iter().any(|octet| *octet > 255) || *last > u64::from(u32::MAX) >> (8 * octets.len())
    {
        return None;
    }
    let high = octets.iter().zip([24, 16, 8]).fold(0, |high, (octet, shift)| high | octet << shift);
    u32::try_from(high | last).ok().map(Ipv4Addr::from)
}

/// All up to a slash and, if there is one, all behind it.
fn before_and_behind_slash(text: &str) -> Read<&str, (&str, Option<&str>)> {
    (take_till(|c| c == '/'), opt(preceded(char('/'), rest))).parse(text)
}

/// What is said of a text that is no mask.
fn bad_mask(extension: &str, option: &str, family: Family) -> ParseError {
    let width = family.width();
    ParseError::Parameter(format!(
        "{extension}: bad value for option \"--{option}\", neither a valid network mask nor valid CIDR (0-{width}).\n"
    ))
}

/// A mask by its length or in full, as options take it that legacy reads as either.
pub(crate) fn prefix_mask(text: &str, extension: &str, option: &str, family: Family) -> Result<IpAddr, ParseError> {
    let mask = cidr(text, family).or_else(|| resolver_numeric(text, family));
    mask.ok_or_else(|| bad_mask(extension, option, family))
}

/// The same where the length alone counts; 255 is that of a mask with holes.
pub(crate) fn mask_length(text: &str, extension: &str, option: &str, family: Family) -> Result<u8, ParseError> {
    let mask = prefix_mask(text, extension, option, family)?;
    Ok((0..=family.width()).find(|length| family.mask(*length) == mask).unwrap_or(u8::MAX))
}

/// An address in numbers as the options of `-m iprange` take it, missing parts being zeros.
pub(crate) fn numeric_address(text: &str, family: Family) -> Option<IpAddr> {
    numeric(text, 1, family)
}

/// `HOST[/MASK]` of extensions; the address is not masked.
pub(crate) fn host_mask(
    text: &str,
    extension: &str,
    option: &str,
    family: Family,
    names: &dyn Names,
) -> Result<Masked, ParseError> {
    let parts = meaning(before_and_behind_slash, |(host_text, mask_text)| {
        let addr = host(host_text, family, names)?;
        let mask = match mask_text {
            Some(text) => prefix_mask(text, extension, option, family)?,
            None => family.mask(family.width()),
        };
        Ok((addr, mask))
    });
    complete(parts, text, || bad_mask(extension, option, family))
}

/// An address range bound, as strictly as `inet_pton` takes it.
pub(super) fn strict_address(text: &str, family: Family) -> Result<IpAddr, ParseError> {
    let addr: Option<IpAddr> = text.parse().ok();
    addr.filter(|addr| Family::of(*addr) == family)
        .ok_or_else(|| ParseError::Parameter(format!("Bad IP address \"{text}\"")))
}

/// The address match of `-s` and `-d`; nothing when every address matches.
pub(crate) fn address_match((addr, mask): Masked, invert: bool) -> Option<AddrMatch> {
    let everything = mask.is_unspecified() && addr.is_unspecified() && !invert;
    (!everything).then_some(AddrMatch { addr, mask, invert })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_addresses_are_filled_with_zeros() {
        assert_eq!(dotted("10.1", 1), Some(Ipv4Addr::new(10, 1, 0, 0)));
        assert_eq!(dotted("010.1.2.3", 1), Some(Ipv4Addr::new(8, 1, 2, 3)));
        assert_eq!(dotted("10.1.2.3.4", 1), None);
        assert_eq!(dotted("10.", 1), None);
        assert_eq!(dotted("255.255", 4), None);
        assert_eq!(dotted("255.255.0.0", 4), Some(Ipv4Addr::new(255, 255, 0, 0)));
        assert_eq!(inet_aton("10.1"), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(inet_aton("0x0a.0.258"), Some(Ipv4Addr::new(10, 0, 1, 2)));
        assert_eq!(inet_aton("10.1.65536"), None);
        assert_eq!(inet_aton("1.2.3.4.5"), None);
    }
}
