//! Values: numbers, ports, addresses, protocols, as legacy reads them.

use crate::error::ParseError;
use bpftables_ruleset::names::{BUILTIN_PROTOCOLS, Names};
use bpftables_ruleset::{AddrMatch, PortRange};
use std::net::{IpAddr, Ipv4Addr};

/// A number at the start of a text, as C's `strtoull` with base 0 takes it: white space, a sign, then decimal, `0x` or octal.
/// `None`: no number, a minus, or too large for 64 bits.
pub(crate) fn leading_number(text: &str) -> Option<(u64, &str)> {
    let trimmed = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let digits = trimmed.strip_prefix('+').unwrap_or(trimmed);
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (radix, digits) = match hex {
        Some(hex) if hex.starts_with(|c: char| c.is_ascii_hexdigit()) => (16, hex),
        _ if digits.starts_with('0') => (8, digits),
        _ => (10, digits),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let value = u64::from_str_radix(&digits[..end], radix).ok()?;
    Some((value, &digits[end..]))
}

/// The whole text as a number in `min..=max`.
pub(crate) fn number(text: &str, min: u64, max: u64) -> Option<u64> {
    match leading_number(text) {
        Some((value, "")) if (min..=max).contains(&value) => Some(value),
        _ => None,
    }
}

/// A number in `0..=max` at the start of a text.
pub(crate) fn number_prefix(text: &str, max: u64) -> Option<(u64, &str)> {
    leading_number(text).filter(|(value, _)| *value <= max)
}

pub(crate) fn number_u16(text: &str) -> Option<u16> {
    number(text, 0, u64::from(u16::MAX)).and_then(|value| u16::try_from(value).ok())
}

pub(crate) fn number_u8(text: &str) -> Option<u8> {
    number(text, 0, u64::from(u8::MAX)).and_then(|value| u8::try_from(value).ok())
}

/// `sscanf("%llu")`: digits after white space, whatever follows; a minus wraps.
pub(crate) fn scan_u64(text: &str) -> Option<u64> {
    let trimmed = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let (negative, digits) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    if end == 0 {
        return None;
    }
    let value = digits[..end].parse::<u64>().unwrap_or(u64::MAX);
    Some(if negative && value != u64::MAX { value.wrapping_neg() } else { value })
}

/// `sscanf("%i")`.
pub(crate) fn scan_i32(text: &str) -> Option<i32> {
    let trimmed = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let (negative, digits) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, trimmed),
    };
    if negative && digits.starts_with(['+', ' ']) {
        return None;
    }
    let (value, _) = leading_number(digits)?;
    #[expect(clippy::cast_possible_truncation, reason = "as C stores a long in an int")]
    let value = value as i32;
    Some(if negative { value.wrapping_neg() } else { value })
}

/// C's `atoi`.
pub(crate) fn atoi(text: &str) -> i32 {
    let trimmed = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let (negative, digits) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    if end == 0 {
        return 0;
    }
    let value = digits[..end].parse::<i64>().unwrap_or(if negative { i64::MIN } else { i64::MAX });
    #[expect(clippy::cast_possible_truncation, reason = "as C stores a long in an int")]
    let value = if negative { value.wrapping_neg() as i32 } else { value as i32 };
    value
}

/// Whether `text` is a beginning of `word`, whatever the case (`strncasecmp` with the length of `text`).
pub(crate) fn abbreviates(text: &str, word: &str) -> bool {
    word.len() >= text.len() && word.as_bytes()[..text.len()].eq_ignore_ascii_case(text.as_bytes())
}

/// A port by number in any base, or by name (`xtables_parse_port`).
pub(crate) fn port(text: &str, protocol: &str, names: &dyn Names) -> Result<u16, ParseError> {
    number_u16(text)
        .or_else(|| names.service_port(text, Some(protocol)))
        .ok_or_else(|| ParseError::Parameter(format!("invalid port/service `{text}' specified")))
}

/// A port as `getaddrinfo` takes it: decimal (cut to 16 bits) or a name.
pub(crate) fn port_by_resolver(text: &str, names: &dyn Names) -> Option<u16> {
    let trimmed = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let digits = trimmed.strip_prefix('+').unwrap_or(trimmed);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        let value = digits.parse::<u64>().unwrap_or(u64::MAX);
        // The resolver keeps the number in an int, clamped as a long and cut.
        #[expect(clippy::cast_possible_truncation, reason = "as the C library cuts it")]
        return Some(value as u16);
    }
    names.service_port(text, None)
}

/// `port[:port]` of options that use the resolver.
pub(crate) fn resolver_port_range(
    text: &str,
    extension: &str,
    option: &str,
    names: &dyn Names,
) -> Result<PortRange, ParseError> {
    let mut bounds = [0, u16::MAX];
    let mut count = 0;
    let mut previous = 0;
    for part in text.split(':') {
        if count == 2 {
            return Err(ParseError::Parameter(format!(
                "{extension}: Too many components for option \"--{option}\" (max: 2)\n"
            )));
        }
        if !part.is_empty() {
            let value = port_by_resolver(part, names)
                .ok_or_else(|| ParseError::Parameter(format!("Port \"{part}\" does not resolve to anything.\n")))?;
            if value < previous {
                return Err(ParseError::Parameter(format!("Port range {previous}-{value} is negative.\n")));
            }
            previous = value;
            bounds[count] = value;
        }
        count += 1;
    }
    if count == 1 {
        bounds[1] = bounds[0];
    }
    Ok(PortRange { lo: bounds[0], hi: bounds[1] })
}

/// A protocol by number or name.
pub(crate) fn protocol(text: &str, names: &dyn Names) -> Result<u8, ParseError> {
    number_u8(text)
        .or_else(|| BUILTIN_PROTOCOLS.iter().find(|(name, _)| *name == text).map(|(_, number)| *number))
        .or_else(|| names.protocol_number(text))
        .ok_or_else(|| ParseError::Parameter(format!("unknown protocol \"{text}\" specified")))
}

/// `a.b.c.d` with each part in any base; an address (not a mask) may end early, the rest being zero.
fn dotted(text: &str, is_mask: bool) -> Option<Ipv4Addr> {
    // Legacy copies 19 characters.
    let text = text.get(..19).unwrap_or(text);
    let mut octets = [0; 4];
    let mut rest = text;
    for (index, octet) in octets.iter_mut().enumerate() {
        if index == 3 {
            *octet = number_u8(rest)?;
            break;
        }
        match rest.split_once('.') {
            Some((part, after)) => {
                *octet = number_u8(part)?;
                rest = after;
            }
            None if is_mask => return None,
            None => {
                *octet = number_u8(rest)?;
                break;
            }
        }
    }
    Some(Ipv4Addr::from(octets))
}

fn mask(text: Option<&str>) -> Result<Ipv4Addr, ParseError> {
    let Some(text) = text else { return Ok(Ipv4Addr::BROADCAST) };
    if let Some(mask) = dotted(text, true) {
        return Ok(mask);
    }
    match number(text, 0, 32) {
        Some(0) => Ok(Ipv4Addr::UNSPECIFIED),
        Some(bits) => Ok(Ipv4Addr::from(u32::MAX << (32 - bits))),
        None => Err(ParseError::Parameter(format!("invalid mask `{text}' specified"))),
    }
}

fn host_or_network(text: &str, names: &dyn Names) -> Result<Vec<Ipv4Addr>, ParseError> {
    if let Some(addr) = dotted(text, false).or_else(|| names.network_address(text)) {
        return Ok(vec![addr]);
    }
    let addrs = names.host_addresses(text);
    if addrs.is_empty() {
        return Err(ParseError::Parameter(format!("host/network `{text}' not found")));
    }
    Ok(addrs)
}

/// `ADDR[/MASK][,...]` of `-s` and `-d`, hosts and networks by name too. Addresses come masked.
pub(crate) fn address_list(text: &str, names: &dyn Names) -> Result<Vec<(Ipv4Addr, Ipv4Addr)>, ParseError> {
    let mut list = Vec::new();
    for item in text.split(',') {
        let item = item.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
        if item.len() > 255 {
            return Err(ParseError::parameter("Hostname too long"));
        }
        let (host, mask_text) = match item.rsplit_once('/') {
            Some((host, mask)) => (host, Some(mask)),
            None => (item, None),
        };
        let mask = mask(mask_text)?;
        let host = if mask.is_unspecified() { "0.0.0.0" } else { host };
        for addr in host_or_network(host, names)? {
            list.push((addr & mask, mask));
        }
    }
    Ok(list)
}

/// A host without a mask as `getaddrinfo` takes it.
pub(crate) fn host(text: &str, names: &dyn Names) -> Result<Ipv4Addr, ParseError> {
    if let Some(addr) = inet_aton(text) {
        return Ok(addr);
    }
    let addrs = names.host_addresses(text);
    let first = *addrs.first().ok_or_else(|| ParseError::parameter("getaddrinfo: Name or service not known\n"))?;
    if addrs.iter().any(|addr| *addr != first) {
        return Err(ParseError::Parameter(format!("{text} resolves to more than one address\n")));
    }
    Ok(first)
}

/// The classic `inet_aton`: one to four parts, the last one filling what is left.
pub(crate) fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() > 4 {
        return None;
    }
    let mut value: u32 = 0;
    for (index, part) in parts.iter().enumerate() {
        if !part.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let last = index + 1 == parts.len();
        let max = if last { u64::from(u32::MAX) >> (8 * index) } else { 255 };
        let number = u32::try_from(number(part, 0, max)?).ok()?;
        value |= if last { number } else { number << (24 - 8 * index) };
    }
    Some(Ipv4Addr::from(value))
}

/// `HOST[/MASK]` of extensions; the address is not masked.
pub(crate) fn host_mask(
    text: &str,
    extension: &str,
    option: &str,
    names: &dyn Names,
) -> Result<(Ipv4Addr, Ipv4Addr), ParseError> {
    let Some((host_text, mask_text)) = text.split_once('/') else {
        return Ok((host(text, names)?, Ipv4Addr::BROADCAST));
    };
    let addr = host(host_text, names)?;
    let mask = match number(mask_text, 0, 32) {
        Some(0) => Ipv4Addr::UNSPECIFIED,
        Some(bits) => Ipv4Addr::from(u32::MAX << (32 - bits)),
        None => inet_aton(mask_text).ok_or_else(|| {
            ParseError::Parameter(format!(
                "{extension}: bad value for option \"--{option}\", neither a valid network mask nor valid CIDR (0-32).\n"
            ))
        })?,
    };
    Ok((addr, mask))
}

/// `VALUE[/MASK]`, both 32 bits.
pub(crate) fn mark_mask(text: &str, extension: &str, option: &str) -> Result<(u32, u32), ParseError> {
    let bad = || {
        ParseError::Parameter(format!("{extension}: bad integer value for option \"--{option}\", or out of range.\n"))
    };
    let garbage =
        || ParseError::Parameter(format!("{extension}: trailing garbage after value for option \"--{option}\".\n"));
    let max = u64::from(u32::MAX);
    let (value, rest) = number_prefix(text, max).ok_or_else(bad)?;
    let value = u32::try_from(value).map_err(|_| bad())?;
    if rest.is_empty() {
        return Ok((value, u32::MAX));
    }
    let rest = rest.strip_prefix('/').ok_or_else(garbage)?;
    let (mask, rest) = number_prefix(rest, max).ok_or_else(bad)?;
    let mask = u32::try_from(mask).map_err(|_| bad())?;
    if rest.is_empty() { Ok((value, mask)) } else { Err(garbage()) }
}

/// An address range bound: strictly dotted decimal (`inet_pton`).
pub(crate) fn strict_address(text: &str) -> Result<IpAddr, ParseError> {
    text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| ParseError::Parameter(format!("Bad IP address \"{text}\"")))
}

/// The address match of `-s` and `-d`; nothing when every address matches.
pub(crate) fn address_match((addr, mask): (Ipv4Addr, Ipv4Addr), invert: bool) -> Option<AddrMatch> {
    let everything = mask.is_unspecified() && addr.is_unspecified() && !invert;
    (!everything).then_some(AddrMatch { addr: addr.into(), mask: mask.into(), invert })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_c_library() {
        assert_eq!(leading_number("0x1f/3"), Some((31, "/3")));
        assert_eq!(leading_number("010."), Some((8, ".")));
        assert_eq!(leading_number("0xg"), Some((0, "xg")));
        assert_eq!(leading_number("08"), Some((0, "8")));
        assert_eq!(leading_number("-1"), None);
        assert_eq!(leading_number(" +7"), Some((7, "")));
        assert_eq!(leading_number("18446744073709551616"), None);
        assert_eq!(leading_number(""), None);
        assert_eq!(scan_u64("-1x"), Some(u64::MAX));
        assert_eq!(scan_i32("0x10"), Some(16));
        assert_eq!(atoi("5/sec"), 5);
    }

    #[test]
    fn short_addresses_are_filled_with_zeros() {
        assert_eq!(dotted("10.1", false), Some(Ipv4Addr::new(10, 1, 0, 0)));
        assert_eq!(dotted("010.1.2.3", false), Some(Ipv4Addr::new(8, 1, 2, 3)));
        assert_eq!(dotted("255.255", true), None);
        assert_eq!(inet_aton("10.1"), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(inet_aton("1.2.3.4.5"), None);
    }
}
