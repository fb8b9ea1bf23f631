//! The ranges of addresses and ports of the NAT targets.

use super::number::narrow;
use super::{complete, meaning, must, strict_address};
use crate::error::ParseError;
use bpftables_ruleset::names::Names;
use bpftables_ruleset::{Family, PortRange};
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::take_till;
use nom::character::complete::char;
use nom::combinator::{cond, eof, not, opt, rest, verify};
use nom::sequence::{pair, preceded};
use std::net::IpAddr;

fn invalid(text: &str) -> ParseError {
    ParseError::Parameter(format!("Port `{text}' not valid"))
}

/// `PORT[-PORT[/PORT]]`: the range, and the port from which it is shifted. The first and the last may be names.
pub(crate) fn nat_ports(text: &str, names: &dyn Names) -> Result<(PortRange, Option<u16>), ParseError> {
    let named = || meaning(rest, |text| names.service_port(text, None).ok_or_else(|| invalid(text)));
    let range = |text| {
        let (text, lo) = alt((narrow::<u16>, named())).parse(text)?;
        let no_colon = || ParseError::parameter("Invalid port:port syntax - use dash");
        let (text, ()) = must(not(char(':')), |_| no_colon()).parse(text)?;
        let last = must(verify(must(narrow::<u16>, invalid), |hi| *hi >= lo), |text| {
            ParseError::Parameter(format!("Port range `{text}' funky"))
        });
        let (text, hi) = opt(preceded(char('-'), last)).parse(text)?;
        // Whatever follows a number that is not zero is not looked at.
        let number = pair(verify(narrow::<u16>, |port| *port >= 1), rest).map(|(port, _)| port);
        let base = opt(preceded(char('/'), alt((number, named()))));
        let (text, base) = cond(hi.is_some(), base).map(Option::flatten).parse(text)?;
        let what = if hi.is_some() { "range" } else { "value" };
        let end =
            must(eof, |text| ParseError::Parameter(format!("Garbage after port {what}: `{text}'"))).parse(text)?;
        Ok((end.0, (PortRange { lo, hi: hi.unwrap_or(lo) }, base)))
    };
    complete(range, text, || invalid(text))
}

/// What stands before and behind the colon of a NAT target's argument.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NatArgument<'t> {
    /// `None`: the address stays.
    pub addresses: Option<&'t str>,
    /// `None`: no ports are asked for.
    pub ports: Option<&'t str>,
}

/// `[ADDRS][:PORTS]`, both as they stand. Addresses with two colons and more have no ports behind them, unless they stand in brackets,
/// which is IPv6's alone. Whatever is before the opening bracket, and between the closing one and the colon, is not looked at.
pub(crate) fn addresses_and_ports(text: &str, family: Family) -> Result<NatArgument<'_>, ParseError> {
    let (addresses, colon) = match text.split_once('[') {
        None => {
            let colon = text.find(':').filter(|colon| !text[colon + 1..].contains(':'));
            (&text[..colon.unwrap_or(text.len())], colon)
        }
        Some((before, rest)) => {
            let closed = rest.split_once(']').filter(|_| family == Family::V6);
            let (inside, after) = closed.ok_or_else(|| ParseError::parameter("Invalid address format"))?;
            let end = before.len() + 1 + inside.len() + 1;
            (inside, after.find(':').map(|colon| end + colon))
        }
    };
    let ports = colon.map(|colon| &text[colon + 1..]);
    // Legacy tells no address by where the colon stands: at the start, or behind two characters, which need not be brackets.
    let addresses = (!matches!(colon, Some(0 | 2))).then_some(addresses);
    Ok(NatArgument { addresses, ports })
}

/// `ADDR[-ADDR]`.
pub(crate) fn address_range(text: &str, family: Family) -> Result<(IpAddr, IpAddr), ParseError> {
    let address = |text: &str| strict_address(text, family);
    let first = meaning(take_till(|c| c == '-'), address);
    let last = preceded(char('-'), meaning(rest, address));
    let (first, last) = complete(pair(first, opt(last)), text, || invalid(text))?;
    Ok((first, last.unwrap_or(first)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_hold_the_addresses_of_ipv6_and_one_colon_alone_is_for_ports() {
        let split = |text, family| addresses_and_ports(text, family).ok().map(|found| (found.addresses, found.ports));
        assert_eq!(split("[fc00::1-fc00::2]:80", Family::V6), Some((Some("fc00::1-fc00::2"), Some("80"))));
        assert_eq!(split("fc00::1", Family::V6), Some((Some("fc00::1"), None)));
        assert_eq!(split("[]:80", Family::V6), Some((None, Some("80"))));
        assert_eq!(split(":80", Family::V4), Some((None, Some("80"))));
        assert_eq!(split("1.2.3.4:80-90", Family::V4), Some((Some("1.2.3.4"), Some("80-90"))));
        assert_eq!(split("ab:80", Family::V4), Some((None, Some("80"))));
        assert_eq!(split("[1.2.3.4]:80", Family::V4), None);
        assert_eq!(split("[fc00::1", Family::V6), None);
    }
}
