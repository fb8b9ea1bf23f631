//! Numbers that the system's files have names for.

use super::number::narrow;
use crate::error::ParseError;
use bpftables_ruleset::matches::devgroup::NamedValue;
use bpftables_ruleset::names::{Names, NumberNames};

/// `VALUE[/MASK]` or a name from a file; the name of the value is looked up, too.
pub(crate) fn named_value(
    text: &str,
    extension: &str,
    option: &str,
    invert: bool,
    which: NumberNames,
    names: &dyn Names,
) -> Result<NamedValue, ParseError> {
    let file = names.number_names(which);
    let garbage =
        || ParseError::Parameter(format!("{extension}: trailing garbage after value for option \"--{option}\".\n"));
    let bad = || {
        ParseError::Parameter(format!("{extension}: bad integer value for option \"--{option}\", or out of range.\n"))
    };
    let by_name = |otherwise: ParseError| {
        let Some(file) = &file else { return Err(otherwise) };
        let found = file.iter().find(|(_, name)| name == text);
        found.map(|(value, _)| *value).ok_or_else(|| {
            ParseError::Parameter(format!(
                "{extension}: could not map name {text} to an integer value for option \"--{option}\".\n"
            ))
        })
    };
    let (value, mask) = match narrow::<u32>(text) {
        Err(_) => (by_name(bad())?, u32::MAX),
        Ok(("", value)) => (value, u32::MAX),
        Ok((rest, value)) => match rest.strip_prefix('/') {
            None => (by_name(garbage())?, u32::MAX),
            Some(mask) => match narrow::<u32>(mask) {
                Err(_) => return Err(bad()),
                Ok(("", mask)) => (value, mask),
                Ok(_) => return Err(garbage()),
            },
        },
    };
    let known = file.iter().flatten().find(|(number, _)| *number == value);
    let name = known.filter(|_| mask == u32::MAX).map(|(_, name)| name.as_str().into());
    Ok(NamedValue { value, mask, name, invert })
}
