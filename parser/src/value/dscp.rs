//! DiffServ classes and the old names of TOS values.

use crate::error::ParseError;
use bpftables_ruleset::matches::dscp::CLASSES;

/// A class by name. Whatever follows a name is not looked at.
pub(crate) fn dscp_class(text: &str) -> Result<u8, ParseError> {
    let begins = |name: &str| text.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
    CLASSES
        .iter()
        .find(|(name, _)| begins(name))
        .map(|(_, dscp)| *dscp)
        .ok_or_else(|| ParseError::Parameter(format!("Invalid DSCP value `{text}'")))
}
