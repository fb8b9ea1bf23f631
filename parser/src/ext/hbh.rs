//! `-m hbh`, and the options that it shares with `-m dst`.

use super::{Cx, Extension, Opt, Spec, ranged_u32};
use crate::error::ParseError;
use crate::value::c_unsigned_any;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Hbh;
use bpftables_ruleset::matches::hbh::OptionsHeader;

const LENGTH: u8 = 0;

/// The most options.
const MAX_OPTIONS: usize = 16;

static SPEC: Spec = Spec {
    name: "hbh",
    options: &[Opt::value("hbh-len", LENGTH).invertible(), Opt::value("hbh-opts", 1)],
    checked: true,
    help: "\
hbh match options:
[!] --hbh-len length            the header's length
  --hbh-opts TYPE[:LEN][,TYPE[:LEN]...] 
                                its options with their lengths (16 at most)
",
};

fn number(text: &str, extension: &str, what: &str) -> Result<u8, ParseError> {
    let (number, rest) = c_unsigned_any(text);
    if rest.len() == text.len() {
        return Err(ParseError::Parameter(format!("{extension}: no valid digits in {what} `{text}'")));
    }
    if !rest.is_empty() {
        return Err(ParseError::Parameter(format!("{extension}: error parsing {what} `{text}'")));
    }
    Ok(number.to_le_bytes()[0])
}

/// `TYPE[:LENGTH][,...]`.
fn options(text: &str, extension: &str) -> Result<Vec<(u8, u8)>, ParseError> {
    let mut options = Vec::new();
    for item in text.split(',') {
        if options.len() == MAX_OPTIONS {
            return Err(ParseError::parameter("too many addresses specified"));
        }
        let (kind, length) = match item.split_once(':') {
            Some((kind, length)) => (kind, Some(length)),
            None => (item, None),
        };
        if length.is_some() && options.len() == MAX_OPTIONS - 1 {
            return Err(ParseError::parameter("too many ports specified"));
        }
        let kind = number(kind, extension, "opt")?;
        let length = match length {
            None => u8::MAX,
            Some(_) if kind == 0 => {
                let words = if extension == "dst" { "PAD0 hasn't got length" } else { "PAD0 has not got length" };
                return Err(ParseError::parameter(words));
            }
            Some(length) => number(length, extension, "length")?,
        };
        options.push((kind, length));
    }
    Ok(options)
}

/// Takes one of the two options.
pub(crate) fn header_option(
    header: &mut OptionsHeader,
    id: u8,
    arg: &str,
    invert: bool,
    extension: &str,
) -> Result<(), ParseError> {
    if id == LENGTH {
        let length = ranged_u32(extension, &format!("{extension}-len"), arg, 0, u32::MAX)?;
        header.length = Some((length, invert));
    } else {
        header.options = Some(options(arg, extension)?);
    }
    Ok(())
}

impl Extension for Hbh {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        header_option(&mut self.header, id, arg, invert, "hbh")
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Hbh(Box::new(self.clone())))
    }
}
