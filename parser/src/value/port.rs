//! Ports, their ranges and lists.

use super::list::items;
use super::number::{blanks, number_u16};
use super::{Read, complete, item, meaning};
use crate::error::ParseError;
use bpftables_ruleset::PortRange;
use bpftables_ruleset::matches::MultiportEntry;
use bpftables_ruleset::names::Names;
use nom::Parser;
use nom::bytes::complete::take_till;
use nom::character::complete::{char, digit1};
use nom::combinator::{all_consuming, opt, rest};
use nom::sequence::preceded;

/// The most ports of a multiport list; a range counts as two.
const MAX_PORTS: usize = 15;

/// `FIRST[:REST]`, both as they stand.
fn one_or_range(text: &str) -> Read<&str, (&str, Option<&str>)> {
    (take_till(|c| c == ':'), opt(preceded(char(':'), rest))).parse(text)
}

/// A port by number in any base, or by name (`xtables_parse_port`).
fn port(text: &str, protocol: &str, names: &dyn Names) -> Result<u16, ParseError> {
    number_u16(text)
        .or_else(|| names.service_port(text, Some(protocol)))
        .ok_or_else(|| ParseError::Parameter(format!("invalid port/service `{text}' specified")))
}

/// `PORT`, `[LO]:[HI]` of `-m tcp` and `-m sctp`.
pub(crate) fn plain_ports(text: &str, protocol: &str, names: &dyn Names) -> Result<PortRange, ParseError> {
    let or = |text: &str, default| if text.is_empty() { Ok(default) } else { port(text, protocol, names) };
    let range = meaning(one_or_range, |(first, last)| {
        let Some(last) = last else {
            let port = port(first, protocol, names)?;
            return Ok(PortRange { lo: port, hi: port });
        };
        let (lo, hi) = (or(first, 0)?, or(last, u16::MAX)?);
        if lo > hi {
            return Err(ParseError::parameter("invalid portrange (min > max)"));
        }
        Ok(PortRange { lo, hi })
    });
    complete(range, text, || ParseError::Parameter(format!("invalid port/service `{text}' specified")))
}

/// `PORT[:PORT][,...]` of `-m multiport`.
pub(crate) fn port_list(text: &str, protocol: &str, names: &dyn Names) -> Result<Vec<MultiportEntry>, ParseError> {
    let too_many = || ParseError::parameter("too many ports specified");
    let mut used = 0;
    let entry = meaning(item.and_then(one_or_range), |(first, last)| {
        used += 1 + usize::from(last.is_some());
        if used > MAX_PORTS {
            return Err(too_many());
        }
        let lo = port(first, protocol, names)?;
        let hi = last.map_or(Ok(lo), |last| port(last, protocol, names))?;
        if last.is_some() && lo >= hi {
            return Err(ParseError::parameter("invalid portrange specified"));
        }
        Ok(MultiportEntry { range: PortRange { lo, hi }, is_range: last.is_some() })
    });
    complete(items(entry), text, too_many)
}

/// A port as `getaddrinfo` takes it: decimal (cut to 16 bits) or a name; 0 when empty.
pub(crate) fn port_by_resolver(text: &str, names: &dyn Names) -> Result<u16, ParseError> {
    if text.is_empty() {
        return Ok(0);
    }
    let digits: Read<&str, &str> = all_consuming(preceded((blanks, opt(char('+'))), digit1)).parse(text);
    // The resolver keeps the number in an int, clamped as a long and cut; a negative one is none, and looked for as a name.
    #[expect(clippy::cast_possible_truncation, reason = "as the C library cuts it")]
    let number = digits.map(|(_, digits)| digits.parse::<u64>().unwrap_or(u64::MAX) as u32);
    match number {
        Ok(number) if number <= i32::MAX as u32 => Ok((number & 0xffff) as u16),
        _ => names
            .service_port(text, None)
            .ok_or_else(|| ParseError::Parameter(format!("Port \"{text}\" does not resolve to anything.\n"))),
    }
}

/// `PORT`, `[LO]:[HI]` of options that use the resolver.
pub(crate) fn resolver_port_range(
    text: &str,
    extension: &str,
    option: &str,
    names: &dyn Names,
) -> Result<PortRange, ParseError> {
    let bound = |default: u16, least: u16| {
        meaning(take_till(|c| c == ':'), move |text: &str| {
            if text.is_empty() {
                return Ok(default);
            }
            let port = port_by_resolver(text, names)?;
            if port < least {
                return Err(ParseError::Parameter(format!("Port range {least}-{port} is negative.\n")));
            }
            Ok(port)
        })
    };
    let range = |text| {
        let (text, lo) = bound(0, 0).parse(text)?;
        let (text, hi) = opt(preceded(char(':'), bound(u16::MAX, lo))).parse(text)?;
        Ok((text, PortRange { lo, hi: hi.unwrap_or(lo) }))
    };
    complete(range, text, || {
        ParseError::Parameter(format!("{extension}: Too many components for option \"--{option}\" (max: 2)\n"))
    })
}
