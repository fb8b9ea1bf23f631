//! Link-layer addresses.

use super::number::blanks;
use super::{Read, complete};
use crate::error::ParseError;
use nom::Parser;
use nom::bytes::complete::take_while;
use nom::character::complete::{char, one_of};
use nom::combinator::{consumed, map_opt, opt};
use nom::multi::separated_list1;
use nom::sequence::pair;

/// A byte as `strtoul` reads it in base 16, in no more than two characters; nothing at all is a zero.
fn byte(text: &str) -> Read<&str, u8> {
    let signed = pair(opt(one_of("+-")), take_while(|c: char| c.is_ascii_hexdigit()));
    let number = |(all, (blank, (sign, digits))): (&str, (&str, (Option<char>, &str)))| {
        if digits.is_empty() {
            // Without digits nothing is read, not even blanks.
            return (blank.is_empty() && sign.is_none()).then_some(0);
        }
        let value = u8::from_str_radix(digits, 16).ok()?;
        (all.len() <= 2).then_some(if sign == Some('-') { value.wrapping_neg() } else { value })
    };
    map_opt(consumed(pair(blanks, signed)), number).parse(text)
}

/// `XX:XX:XX:XX:XX:XX`.
pub(crate) fn mac_address(text: &str) -> Result<[u8; 6], ParseError> {
    let bad = || ParseError::parameter("Invalid MAC address specified.");
    let bytes = complete(separated_list1(char(':'), byte), text, bad)?;
    bytes.try_into().map_err(|_| bad())
}
