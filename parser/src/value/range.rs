//! Ranges of numbers.

use super::number::unsigned;
use crate::error::ParseError;

/// `LO`, `[LO]:[HI]` in `0..=max`, as the options take it that legacy reads as a range of integers; `None` when there is no second bound.
pub(crate) fn number_range(
    text: &str,
    extension: &str,
    option: &str,
    max: u64,
) -> Result<(u64, Option<u64>), ParseError> {
    let mut bounds = [None, None];
    let mut least = 0;
    let mut rest = text;
    for (index, bound) in bounds.iter_mut().enumerate() {
        let end;
        if rest.is_empty() || rest.starts_with(':') {
            *bound = Some(if index == 1 { max } else { least });
            end = rest;
        } else {
            let read = unsigned(rest).ok().filter(|(_, value)| (least..=max).contains(value));
            let (after, value) = read.ok_or_else(|| {
                ParseError::Parameter(format!(
                    "{extension}: bad value for option \"--{option}\" near \"{rest}\", or out of range ({least}-{max}).\n"
                ))
            })?;
            if !after.is_empty() && !after.starts_with(':') {
                return Err(ParseError::Parameter(format!(
                    "{extension}: Argument to \"--{option}\" has unexpected characters near \"{after}\".\n"
                )));
            }
            *bound = Some(value);
            least = value;
            end = after;
        }
        match end.strip_prefix(':') {
            Some(next) => rest = next,
            None => return Ok((bounds[0].unwrap_or(0), bounds[1])),
        }
    }
    Err(ParseError::Parameter(format!("{extension}: Too many components for option \"--{option}\" (max: 2)\n")))
}

/// [`number_range`] in 16 bits, one number standing for itself alone.
pub(crate) fn range_u16(text: &str, extension: &str, option: &str) -> Result<(u16, u16), ParseError> {
    let (lo, hi) = number_range(text, extension, option, u16::MAX.into())?;
    let narrow = |value| u16::try_from(value).unwrap_or(u16::MAX);
    Ok((narrow(lo), narrow(hi.unwrap_or(lo))))
}

/// [`number_range`] in 32 bits, one number standing for itself alone.
pub(crate) fn range_u32(text: &str, extension: &str, option: &str) -> Result<(u32, u32), ParseError> {
    let (lo, hi) = number_range(text, extension, option, u32::MAX.into())?;
    let narrow = |value| u32::try_from(value).unwrap_or(u32::MAX);
    Ok((narrow(lo), narrow(hi.unwrap_or(lo))))
}
