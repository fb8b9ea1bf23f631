//! DiffServ classes, and TOS values with their old names.

use super::{complete, must, narrow};
use crate::error::ParseError;
use bpftables_ruleset::matches::dscp::CLASSES;
use bpftables_ruleset::matches::tos;
use nom::character::complete::char;
use nom::combinator::opt;
use nom::sequence::{pair, preceded};

/// A class by name. Whatever follows a name is not looked at.
pub(crate) fn dscp_class(text: &str) -> Result<u8, ParseError> {
    let begins = |name: &str| text.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
    CLASSES
        .iter()
        .find(|(name, _)| begins(name))
        .map(|(_, dscp)| *dscp)
        .ok_or_else(|| ParseError::Parameter(format!("Invalid DSCP value `{text}'")))
}

/// `VALUE[/MASK]` or a name, whose mask is `named_mask`.
pub(crate) fn tos_mask(text: &str, named_mask: u8) -> Result<(u8, u8), ParseError> {
    let illegal = || ParseError::Parameter(format!("Illegal value: \"{text}\""));
    if narrow::<u8>(text).is_ok() {
        let mask = preceded(char('/'), must(narrow::<u8>, |_| illegal()));
        let (value, mask) = complete(pair(narrow::<u8>, opt(mask)), text, illegal)?;
        return Ok((value, mask.unwrap_or(u8::MAX)));
    }
    match tos::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        Some((_, value)) => Ok((*value, named_mask)),
        None => Err(ParseError::Parameter(format!("Symbolic name \"{text}\" is unknown"))),
    }
}
