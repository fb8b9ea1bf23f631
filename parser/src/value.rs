//! The grammars of values (numbers, addresses, ports, marks, lists), built from nom's combinators, and what they mean.
//!
//! A grammar that knows what legacy says where something is missing wraps the part with [`must`], or reads it with [`meaning`]: such a
//! message ends the parse. Anything else that does not fit is a [`Refusal::Syntax`], from which alternatives are tried, and which
//! [`complete`] turns into the message for the value as a whole.

mod address;
mod dscp;
mod list;
mod mac;
mod named;
mod nat;
mod number;
mod port;
mod range;

use address::strict_address;
pub(crate) use address::{address_list, address_match, host, host_mask, mask_length, numeric_address, prefix_mask};
pub(crate) use dscp::{dscp_class, tos_mask};
pub(crate) use list::{abbreviates, bits, item, names_of};
pub(crate) use mac::mac_address;
pub(crate) use named::named_value;
pub(crate) use nat::{address_range, addresses_and_ports, nat_ports};
pub(crate) use number::{
    atoi, atoll, blanks, c_unsigned, c_unsigned_any, decimal, leading_float, narrow, number, number_u8, scan_hex,
    scan_i32, scan_u64, signed, unsigned, wrapped,
};
pub(crate) use port::{plain_ports, port_by_resolver, port_list, resolver_port_range};
pub(crate) use range::{number_range, range_u16, range_u32};

use crate::error::ParseError;
use bpftables_ruleset::names::{BUILTIN_PROTOCOLS, Names};
use nom::character::complete::char;
use nom::combinator::{all_consuming, opt};
use nom::error::ErrorKind;
use nom::sequence::preceded;
use nom::{IResult, Parser};

/// Why a grammar did not take its input.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It has another form.
    Syntax,
    /// The form is right as far as it goes, and legacy has a message for what is wrong with it.
    Message(ParseError),
}

impl<I> nom::error::ParseError<I> for Refusal {
    fn from_error_kind(_: I, _: ErrorKind) -> Self {
        Self::Syntax
    }

    fn append(_: I, _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// What a grammar gives.
pub(crate) type Read<I, T> = IResult<I, T, Refusal>;

/// What has to stand here. If it does not, `message` is made of all that does.
pub(crate) fn must<I: Clone, T>(
    mut grammar: impl Parser<I, Output = T, Error = Refusal>,
    message: impl Fn(I) -> ParseError,
) -> impl FnMut(I) -> Read<I, T> {
    move |input| {
        grammar.parse(input.clone()).map_err(|error| match error {
            nom::Err::Error(Refusal::Message(known)) | nom::Err::Failure(Refusal::Message(known)) => {
                nom::Err::Failure(Refusal::Message(known))
            }
            _ => nom::Err::Failure(Refusal::Message(message(input))),
        })
    }
}

/// What `look_up` makes of what `grammar` takes. Its error ends the parse.
pub(crate) fn meaning<'t, P, T>(
    mut grammar: P,
    mut look_up: impl FnMut(P::Output) -> Result<T, ParseError>,
) -> impl FnMut(&'t str) -> Read<&'t str, T>
where
    P: Parser<&'t str, Error = Refusal>,
{
    move |text| {
        let (rest, found) = grammar.parse(text)?;
        match look_up(found) {
            Ok(value) => Ok((rest, value)),
            Err(error) => Err(nom::Err::Failure(Refusal::Message(error))),
        }
    }
}

/// Reads a whole text. `otherwise` is said of one that does not fit.
pub(crate) fn complete<I, T>(
    grammar: impl Parser<I, Output = T, Error = Refusal>,
    text: I,
    otherwise: impl FnOnce() -> ParseError,
) -> Result<T, ParseError>
where
    I: nom::Input,
{
    match all_consuming(grammar).parse(text) {
        Ok((_, value)) => Ok(value),
        Err(nom::Err::Error(Refusal::Message(error)) | nom::Err::Failure(Refusal::Message(error))) => Err(error),
        Err(_) => Err(otherwise()),
    }
}

/// A protocol by number or name.
pub(crate) fn protocol(text: &str, names: &dyn Names) -> Result<u8, ParseError> {
    number_u8(text)
        .or_else(|| BUILTIN_PROTOCOLS.iter().find(|(name, _)| *name == text).map(|(_, number)| *number))
        .or_else(|| names.protocol_number(text))
        .ok_or_else(|| ParseError::Parameter(format!("unknown protocol \"{text}\" specified")))
}

/// `VALUE[/MASK]`, both 32 bits.
pub(crate) fn mark_mask(text: &str, extension: &str, option: &str) -> Result<(u32, u32), ParseError> {
    let bits = || {
        must(narrow::<u32>, |_| {
            ParseError::Parameter(format!(
                "{extension}: bad integer value for option \"--{option}\", or out of range.\n"
            ))
        })
    };
    let (value, mask) = complete((bits(), opt(preceded(char('/'), bits()))), text, || {
        ParseError::Parameter(format!("{extension}: trailing garbage after value for option \"--{option}\".\n"))
    })?;
    Ok((value, mask.unwrap_or(u32::MAX)))
}
