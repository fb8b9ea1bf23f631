//! `-m icmp` and `-m icmp6`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::{Read, abbreviates, complete, must, narrow};
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::icmp::{TYPE_NAMES, TypeName};
use bpftables_ruleset::matches::icmp6::TYPE_NAMES as TYPE_NAMES_6;
use bpftables_ruleset::matches::{Icmp, Icmp6};
use nom::Parser;
use nom::character::complete::char;
use nom::combinator::{cut, eof, opt};
use nom::sequence::{pair, preceded};

static SPEC: Spec = Spec {
    name: "icmp",
    options: &[Opt::value("icmp-type", 0).mandatory().invertible()],
    checked: true,
    help: crate::help::ICMP,
};

/// Reads `-m icmp`.
#[derive(Debug)]
pub(crate) struct IcmpBuilder {
    info: Icmp,
}

impl Default for IcmpBuilder {
    fn default() -> Self {
        Self { info: Icmp { kind: 255, code_lo: 0, code_hi: 255, invert: false } }
    }
}

/// `N[:M]` in bytes.
fn byte_range(text: &str) -> Read<&str, (u8, u8)> {
    pair(narrow::<u8>, opt(preceded(char(':'), cut(narrow::<u8>)))).map(|(lo, hi)| (lo, hi.unwrap_or(lo))).parse(text)
}

fn unknown_character(rest: &str) -> ParseError {
    ParseError::Parameter(format!("unknown character {}", rest.chars().next().unwrap_or(' ')))
}

/// Type, lowest and highest code, by the names of a protocol (`ICMP`, `ICMPv6`).
fn type_and_codes(text: &str, names: &[TypeName], protocol: &str) -> Result<(u8, u8, u8), ParseError> {
    let mut named = names.iter().filter(|entry| abbreviates(text, entry.0));
    if let Some(first) = named.next() {
        return match named.next() {
            Some(second) => Err(ParseError::Parameter(format!(
                "Ambiguous {protocol} type `{text}': `{}' or `{}'?",
                first.0, second.0
            ))),
            None => Ok((first.1, first.2, first.3)),
        };
    }
    let code = must(byte_range, |_| ParseError::Parameter(format!("Unknown {protocol} code `{text}'")));
    let number = (byte_range, opt(preceded(char('/'), code)), must(eof, unknown_character));
    let unknown = || ParseError::Parameter(format!("Unknown {protocol} type `{text}'"));
    let ((kind, last), codes, _) = complete(number, text, unknown)?;
    let codes = codes.unwrap_or((0, 255));
    if last != kind {
        return Err(ParseError::Parameter(format!("{protocol} type range not supported")));
    }
    Ok((kind, codes.0, codes.1))
}

impl Extension for IcmpBuilder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let (kind, code_lo, code_hi) = type_and_codes(arg, TYPE_NAMES, "ICMP")?;
        self.info = Icmp { kind, code_lo, code_hi, invert };
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Icmp(self.info.clone()))
    }
}

static SPEC_6: Spec = Spec {
    name: "icmp6",
    options: &[Opt::value("icmpv6-type", 0).mandatory().invertible()],
    checked: true,
    help: crate::help::ICMP6,
};

/// Reads `-m icmp6`.
#[derive(Debug)]
pub(crate) struct Icmp6Builder {
    info: Icmp6,
}

impl Default for Icmp6Builder {
    fn default() -> Self {
        Self { info: Icmp6 { kind: 0, code_lo: 0, code_hi: 255, invert: false } }
    }
}

impl Extension for Icmp6Builder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC_6
    }

    fn option(&mut self, _: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let (kind, code_lo, code_hi) = type_and_codes(arg, TYPE_NAMES_6, "ICMPv6")?;
        self.info = Icmp6 { kind, code_lo, code_hi, invert };
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Icmp6(self.info.clone()))
    }
}
