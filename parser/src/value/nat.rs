//! The ranges of addresses and ports of the NAT targets.

use super::number::narrow;
use super::{Read, complete, meaning, must, strict_address};
use crate::error::ParseError;
use bpftables_ruleset::PortRange;
use bpftables_ruleset::names::Names;
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::take_till;
use nom::character::complete::char;
use nom::combinator::{all_consuming, cond, eof, not, opt, rest, verify};
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

/// `[ADDRS][:PORTS]`, both as they stand. Two colons and more are left in the addresses, where they are refused.
pub(crate) fn addresses_and_ports(text: &str) -> (&str, Option<&str>) {
    let no_colon = || take_till(|c| c == ':');
    let both: Read<&str, _> = all_consuming((no_colon(), preceded(char(':'), no_colon()))).parse(text);
    both.map_or((text, None), |(_, (addresses, ports))| (addresses, Some(ports)))
}

/// `ADDR[-ADDR]`.
pub(crate) fn address_range(text: &str) -> Result<(IpAddr, IpAddr), ParseError> {
    let first = meaning(take_till(|c| c == '-'), strict_address);
    let last = preceded(char('-'), meaning(rest, strict_address));
    let (first, last) = complete(pair(first, opt(last)), text, || invalid(text))?;
    Ok((first, last.unwrap_or(first)))
}
