//! Lists with commas, and words that may be abbreviated.

use super::{Read, Refusal, must};
use crate::error::ParseError;
use nom::Parser;
use nom::bytes::complete::take_till;
use nom::character::complete::char;
use nom::combinator::map_opt;
use nom::multi::{fold_many0, separated_list1};
use nom::sequence::preceded;
use std::ops::BitOr;

/// Whether `text` is a beginning of `word`, whatever the case (`strncasecmp` with the length of `text`).
pub(crate) fn abbreviates(text: &str, word: &str) -> bool {
    word.len() >= text.len() && word.as_bytes()[..text.len()].eq_ignore_ascii_case(text.as_bytes())
}

/// An item of a list, empty too: all up to a comma.
pub(crate) fn item(text: &str) -> Read<&str, &str> {
    take_till(|c| c == ',').parse(text)
}

/// `ITEM[,...]` into a list.
pub(super) fn items<'t, T>(
    item: impl Parser<&'t str, Output = T, Error = Refusal>,
) -> impl Parser<&'t str, Output = Vec<T>, Error = Refusal> {
    separated_list1(char(','), item)
}

/// `ITEM[,...]` whose values are bits.
pub(crate) fn bits<'t, T: BitOr<Output = T> + Default + Copy>(
    mut item: impl Parser<&'t str, Output = T, Error = Refusal>,
) -> impl FnMut(&'t str) -> Read<&'t str, T> {
    move |text| {
        let (rest, first) = item.parse(text)?;
        let more = preceded(char(','), |rest| item.parse(rest));
        fold_many0(more, || first, |all, one| all | one).parse(rest)
    }
}

/// `WORD[,...]`, the words abbreviated at will, into the bits that `bit_of` gives each. `bad` makes the message of the list from the word
/// on that is none.
pub(crate) fn names_of<'t>(
    text: &'t str,
    bit_of: impl Fn(&str) -> Option<u16>,
    bad: impl Fn(&str) -> ParseError,
) -> Result<u16, ParseError> {
    let word = must(map_opt(item, |word: &str| bit_of(word).filter(|_| !word.is_empty())), |rest: &'t str| bad(rest));
    super::complete(bits(word), text, || bad(text))
}
