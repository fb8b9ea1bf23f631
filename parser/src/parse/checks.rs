//! Rule numbers and the names of chains and targets.

use crate::error::ParseError;
use crate::registry::{self, FoundTarget, MAX_NAME};
use crate::value;
use bpftables_ruleset::Family;

/// A number of `-I`, `-R`, `-L`, `-S`, `-Z`.
pub(super) fn rule_number(text: &str) -> Result<u32, ParseError> {
    value::number(text, 1, i32::MAX as u64)
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| ParseError::Parameter(format!("Invalid rule number `{text}'")))
}

/// A number of `-D`, which legacy reads otherwise: decimal only, no ranges, and cut to 32 bits.
pub(super) fn delete_number(text: &str) -> Result<u32, ParseError> {
    if text.contains(':') {
        return Err(ParseError::parameter("Rule ranges are not supported"));
    }
    let number = value::decimal(text).unwrap_or(0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "as C stores a long in an unsigned int"
    )]
    let number = number as u32;
    if number == 0 {
        return Err(ParseError::Parameter(format!("Invalid rule number `{text}'")));
    }
    Ok(number)
}

/// The deprecated `-W`: its number is checked, and a notice is due.
pub(crate) fn wait_interval(text: Option<&str>) -> Result<String, ParseError> {
    let text = text.ok_or_else(|| ParseError::parameter("wait interval value required"))?;
    let number = value::scan_u64(text).ok_or_else(|| ParseError::parameter("wait interval not numeric"))?;
    #[expect(clippy::cast_possible_truncation, reason = "as C scans an unsigned int")]
    let number = number as u32;
    if number > 999_999 {
        return Err(ParseError::Parameter(format!("too long usec wait {number} > 999999 usec")));
    }
    Ok("Ignoring deprecated --wait-interval option.".to_owned())
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

pub(super) fn check_target_name(name: &str) -> Result<(), ParseError> {
    if name.is_empty() {
        return Err(ParseError::parameter("Invalid target name (too short)"));
    }
    if name.len() > MAX_NAME {
        return Err(ParseError::Parameter(format!("Invalid target name `{name}' ({MAX_NAME} chars max)")));
    }
    if name.contains(is_space) {
        return Err(ParseError::Parameter(format!("Invalid target name `{name}'")));
    }
    Ok(())
}

/// The name of a chain to be made.
pub(super) fn check_chain_name(name: &str, family: Family) -> Result<(), ParseError> {
    if name.len() > MAX_NAME {
        return Err(ParseError::Parameter(format!(
            "chain name `{name}' too long (must be under {} chars)",
            MAX_NAME + 1
        )));
    }
    if let Some(first) = name.chars().next().filter(|first| matches!(first, '-' | '!')) {
        return Err(ParseError::Parameter(format!("chain name not allowed to start with `{first}'")));
    }
    if !matches!(registry::find_target(name, family), FoundTarget::Unknown) {
        return Err(ParseError::parameter("chain name may not clash with target name"));
    }
    if name.contains(is_space) {
        return Err(ParseError::Parameter(format!("Invalid chain name `{name}'")));
    }
    Ok(())
}
