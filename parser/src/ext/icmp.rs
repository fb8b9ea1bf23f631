//! `-m icmp`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::{abbreviates, number_prefix};
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Icmp;
use bpftables_ruleset::matches::icmp::TYPE_NAMES;

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

/// `N[:M]` in bytes, and what follows.
fn byte_range(text: &str) -> Option<((u8, u8), &str)> {
    let byte = |text| number_prefix(text, 255).and_then(|(value, rest)| Some((u8::try_from(value).ok()?, rest)));
    let (lo, rest) = byte(text)?;
    match rest.strip_prefix(':') {
        Some(rest) => byte(rest).map(|(hi, rest)| ((lo, hi), rest)),
        None => Some(((lo, lo), rest)),
    }
}

fn unknown_character(rest: &str) -> ParseError {
    ParseError::Parameter(format!("unknown character {}", rest.chars().next().unwrap_or(' ')))
}

/// Type, lowest and highest code.
fn type_and_codes(text: &str) -> Result<(u8, u8, u8), ParseError> {
    let mut named = TYPE_NAMES.iter().filter(|entry| abbreviates(text, entry.0));
    if let Some(first) = named.next() {
        return match named.next() {
            Some(second) => {
                Err(ParseError::Parameter(format!("Ambiguous ICMP type `{text}': `{}' or `{}'?", first.0, second.0)))
            }
            None => Ok((first.1, first.2, first.3)),
        };
    }
    let ((kind, last), rest) =
        byte_range(text).ok_or_else(|| ParseError::Parameter(format!("Unknown ICMP type `{text}'")))?;
    let codes = match rest.strip_prefix('/') {
        None if rest.is_empty() => (0, 255),
        None => return Err(unknown_character(rest)),
        Some(codes) => {
            let (codes, rest) =
                byte_range(codes).ok_or_else(|| ParseError::Parameter(format!("Unknown ICMP code `{text}'")))?;
            if !rest.is_empty() {
                return Err(unknown_character(rest));
            }
            codes
        }
    };
    if last != kind {
        return Err(ParseError::parameter("ICMP type range not supported"));
    }
    Ok((kind, codes.0, codes.1))
}

impl Extension for IcmpBuilder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let (kind, code_lo, code_hi) = type_and_codes(arg)?;
        self.info = Icmp { kind, code_lo, code_hi, invert };
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Icmp(self.info.clone()))
    }
}
