//! Numbers as the functions of C's library read them that legacy calls.

use super::{Read, Refusal};
use nom::branch::alt;
use nom::bytes::complete::{tag_no_case, take_while, take_while1};
use nom::character::complete::{char, digit1, satisfy};
use nom::combinator::{all_consuming, map_opt, opt, peek, success, value, verify};
use nom::number::complete::recognize_float;
use nom::sequence::{pair, preceded, terminated};
use nom::{IResult, Parser};

/// What `isspace` holds for.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// White space, if there is any.
pub(crate) fn blanks(text: &str) -> Read<&str, &str> {
    take_while(is_blank).parse(text)
}

/// Digits after the sign: `0x` and hexadecimal ones, octal ones from a zero on, or decimal ones.
fn magnitude(text: &str) -> Read<&str, u64> {
    // Most numbers are of this form, and most of what is read is numbers.
    if matches!(text.as_bytes().first(), Some(b'1'..=b'9')) {
        return map_opt(digit1, |digits: &str| digits.parse().ok()).parse(text);
    }
    let (text, radix) = alt((
        value(16, terminated(tag_no_case("0x"), peek(satisfy(|c| c.is_ascii_hexdigit())))),
        value(8, peek(char('0'))),
        success(10),
    ))
    .parse(text)?;
    let digits = take_while1(|c: char| c.is_digit(radix));
    map_opt(digits, |digits: &str| u64::from_str_radix(digits, radix).ok()).parse(text)
}

/// `strtoull` with base 0 and without its wrapping minus: white space, a plus, digits in any base; at most 64 bits.
pub(crate) fn unsigned(text: &str) -> Read<&str, u64> {
    preceded((blanks, opt(char('+'))), magnitude).parse(text)
}

/// As [`unsigned`], if the type can hold it.
pub(crate) fn narrow<T: TryFrom<u64>>(text: &str) -> Read<&str, T> {
    map_opt(unsigned, |value| T::try_from(value).ok()).parse(text)
}

/// The value of a grammar that takes the whole text.
fn whole<'t, T>(grammar: impl Parser<&'t str, Output = T, Error = Refusal>, text: &'t str) -> Option<T> {
    all_consuming(grammar).parse(text).ok().map(|(_, value)| value)
}

/// The whole text as a number in `min..=max`.
pub(crate) fn number(text: &str, min: u64, max: u64) -> Option<u64> {
    whole(verify(unsigned, |value| (min..=max).contains(value)), text)
}

/// The whole text as a number of 16 bits.
pub(super) fn number_u16(text: &str) -> Option<u16> {
    whole(narrow, text)
}

/// The whole text as a number of 8 bits.
pub(crate) fn number_u8(text: &str) -> Option<u8> {
    whole(narrow, text)
}

/// Decimal digits after a sign, and whether that is a minus.
pub(crate) fn signed(text: &str) -> Read<&str, (bool, &str)> {
    let minus = opt(alt((char('-'), char('+')))).map(|sign| sign == Some('-'));
    pair(minus, digit1).parse(text)
}

/// The value of [`signed`] as `strtoull` and `sscanf("%llu")` give it: a minus wraps, what is too large is the largest.
pub(crate) fn wrapped((negative, digits): (bool, &str)) -> u64 {
    let value = digits.parse::<u64>().unwrap_or(u64::MAX);
    if negative && value != u64::MAX { value.wrapping_neg() } else { value }
}

/// `sscanf("%llu")`: digits after white space, whatever follows; a minus wraps.
pub(crate) fn scan_u64(text: &str) -> Option<u64> {
    preceded(blanks, signed).map(wrapped).parse(text).ok().map(|(_, value)| value)
}

/// `sscanf("%i")`.
pub(crate) fn scan_i32(text: &str) -> Option<i32> {
    let minus = alt((value(true, char('-')), value(false, opt(char('+')))));
    let found: IResult<_, _, Refusal> = preceded(blanks, pair(minus, magnitude)).parse(text);
    let (_, (negative, value)) = found.ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "as C stores a long in an int")]
    let value = value as i32;
    Some(if negative { value.wrapping_neg() } else { value })
}

/// C's `strtoul` in base 10, cut to 32 bits, and what it leaves of the text: all, if it begins with no number (the value is 0 then).
pub(crate) fn c_unsigned(text: &str) -> (u32, &str) {
    let Ok((rest, number)) = preceded(blanks, signed).map(wrapped).parse(text) else { return (0, text) };
    #[expect(clippy::cast_possible_truncation, reason = "as C stores a long in an int")]
    (number as u32, rest)
}

/// As [`c_unsigned`], in any base.
pub(crate) fn c_unsigned_any(text: &str) -> (u32, &str) {
    let minus = opt(alt((char('-'), char('+')))).map(|sign| sign == Some('-'));
    let found: IResult<_, _, Refusal> = preceded(blanks, pair(minus, magnitude)).parse(text);
    let Ok((rest, (negative, number))) = found else { return (0, text) };
    #[expect(clippy::cast_possible_truncation, reason = "as C stores a long in an int")]
    let number = number as u32;
    (if negative { number.wrapping_neg() } else { number }, rest)
}

/// The whole text as decimal digits after white space and a plus, at most the largest `i64`; `None`: something else.
pub(crate) fn decimal(text: &str) -> Option<i64> {
    let digits = whole(preceded((blanks, opt(char('+'))), digit1), text)?;
    Some(digits.parse().unwrap_or(i64::MAX))
}

/// `sscanf("%x")`: a hexadecimal number after white space, whatever follows. A minus wraps, and what is too large is cut.
pub(crate) fn scan_hex(text: &str) -> Read<&str, u32> {
    let sign = alt((value(true, char('-')), value(false, opt(char('+')))));
    let digits = take_while(|c: char| c.is_ascii_hexdigit());
    let prefixed = preceded(tag_no_case("0x"), digits);
    let bare = take_while1(|c: char| c.is_ascii_hexdigit());
    let number = alt((prefixed, bare)).map(|digits: &str| match digits {
        "" => 0,
        digits => u64::from_str_radix(digits, 16).unwrap_or(u64::MAX),
    });
    #[expect(clippy::cast_possible_truncation, reason = "as C stores a long in an int")]
    preceded(blanks, pair(sign, number))
        .map(|(negative, number)| if negative { number.wrapping_neg() as u32 } else { number as u32 })
        .parse(text)
}

/// `strtod`: a number and what follows it. Infinities and what is no number are not taken.
pub(crate) fn leading_float(text: &str) -> Option<(f64, &str)> {
    let (rest, _) = blanks(text).ok()?;
    let hexadecimal = preceded(tag_no_case("0x"), take_while1(|c: char| c.is_ascii_hexdigit()));
    let hexadecimal = map_opt(hexadecimal, |digits: &str| u32::from_str_radix(digits, 16).ok()).map(f64::from);
    let read: Read<&str, f64> =
        alt((hexadecimal, map_opt(recognize_float, |digits: &str| digits.parse().ok()))).parse(rest);
    read.ok().map(|(rest, number)| (number, rest))
}

/// C's `atoi`.
pub(crate) fn atoi(text: &str) -> i32 {
    let Ok((_, (negative, digits))) = preceded(blanks, signed).parse(text) else { return 0 };
    let value = digits.parse::<i64>().unwrap_or(if negative { i64::MIN } else { i64::MAX });
    #[expect(clippy::cast_possible_truncation, reason = "as C stores a long in an int")]
    let value = if negative { value.wrapping_neg() as i32 } else { value as i32 };
    value
}

/// C's `atoll`, kept in an unsigned number.
pub(crate) fn atoll(text: &str) -> u64 {
    let Ok((_, (negative, digits))) = preceded(blanks, signed).parse(text) else { return 0 };
    let value = digits.parse::<i64>().unwrap_or(if negative { i64::MIN } else { i64::MAX });
    (if negative { value.wrapping_neg() } else { value }).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_c_library() {
        let leading = |text| unsigned(text).ok().map(|(rest, value)| (value, rest));
        assert_eq!(leading("0x1f/3"), Some((31, "/3")));
        assert_eq!(leading("010."), Some((8, ".")));
        assert_eq!(leading("0xg"), Some((0, "xg")));
        assert_eq!(leading("08"), Some((0, "8")));
        assert_eq!(leading("-1"), None);
        assert_eq!(leading(" +7"), Some((7, "")));
        assert_eq!(leading("18446744073709551616"), None);
        assert_eq!(leading("0x10000000000000000"), None, "not 0 before an x");
        assert_eq!(leading(""), None);
        assert_eq!(scan_u64("-1x"), Some(u64::MAX));
        assert_eq!(scan_i32("0x10"), Some(16));
        assert_eq!(scan_i32("-+1"), None);
        assert_eq!(scan_i32("-010"), Some(-8));
        assert_eq!(atoi("5/sec"), 5);
        assert_eq!(atoi("-99999999999999999999"), 0);
        assert_eq!(decimal(" +08"), Some(8));
        assert_eq!(decimal("8a"), None);
    }
}
