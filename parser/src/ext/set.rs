//! `-m set`. Legacy checks its options by itself, in its own words.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::number;
use bpftables_ruleset::matches::Set;
use bpftables_ruleset::matches::set::SetComparison;
use bpftables_ruleset::names::SetLookup;
use bpftables_ruleset::{Family, Match};

const MATCH: u8 = 0;
const OLD: u8 = 1;
const RETURN_NOMATCH: u8 = 2;
const COUNTERS: u8 = 3;
const SUBCOUNTERS: u8 = 4;
const PACKETS_EQ: u8 = 5;
const PACKETS_LT: u8 = 6;
const PACKETS_GT: u8 = 7;
const BYTES_EQ: u8 = 8;
const BYTES_LT: u8 = 9;
const BYTES_GT: u8 = 10;

/// The longest name, in bytes, and the most dimensions.
const MAX_NAME: usize = 31;
const MAX_DIMENSIONS: usize = 6;

static SPEC: Spec = Spec {
    name: "set",
    options: &[
        Opt::value("match-set", MATCH).invertible(),
        Opt::value("set", OLD).invertible(),
        Opt::flag("return-nomatch", RETURN_NOMATCH).invertible(),
        Opt::flag("update-counters", COUNTERS).invertible(),
        Opt::value("packets-eq", PACKETS_EQ).invertible(),
        Opt::value("packets-lt", PACKETS_LT).invertible(),
        Opt::value("packets-gt", PACKETS_GT).invertible(),
        Opt::value("bytes-eq", BYTES_EQ).invertible(),
        Opt::value("bytes-lt", BYTES_LT).invertible(),
        Opt::value("bytes-gt", BYTES_GT).invertible(),
        Opt::flag("update-subcounters", SUBCOUNTERS).invertible(),
    ],
    checked: false,
    help: "\
set match options:
 [!] --match-set name flags [--return-nomatch]
\t   [! --update-counters] [! --update-subcounters]
\t   [[!] --packets-eq value | --packets-lt value | --packets-gt value
\t   [[!] --bytes-eq value | --bytes-lt value | --bytes-gt value
\t\t 'name' is the set's name, 'flags' a list with commas of
\t\t 'src' and 'dst', one for each dimension of the set.
",
};

/// The kernel has room for so many bytes of a name.
pub(super) fn name_fits(name: &str) -> Result<(), ParseError> {
    if name.len() > MAX_NAME {
        return Err(ParseError::Parameter(format!("setname `{name}' too long, max {MAX_NAME} characters.")));
    }
    Ok(())
}

/// The set has to be there, and of this family.
pub(super) fn find(name: &str, cx: &Cx<'_, '_>) -> Result<(), ParseError> {
    let other = |text: String| Err(ParseError::Other(text));
    match cx.names.find_set(name) {
        SetLookup::Found(None) => Ok(()),
        SetLookup::Found(Some(family)) if family == cx.family => Ok(()),
        SetLookup::Found(Some(family)) => {
            let family = if family == Family::V4 { "IPv4" } else { "IPv6" };
            Err(ParseError::Parameter(format!(
                "The protocol family of set {name} is {family}, which is not applicable.\n"
            )))
        }
        SetLookup::Missing => Err(ParseError::Parameter(format!("Set {name} doesn't exist.\n"))),
        SetLookup::NoSocket => other("Can't open socket to ipset.\n".to_owned()),
        SetLookup::NoModule => other("Kernel module xt_set is not loaded in.\n".to_owned()),
        SetLookup::Failed(errno) => other(format!("Problem when communicating with ipset, errno={errno}.\n")),
    }
}

/// `src` and `dst`, whatever follows them.
pub(super) fn sides(text: &str) -> Result<Vec<bool>, ParseError> {
    let mut sides = Vec::new();
    for word in text.split(',') {
        if sides.len() == MAX_DIMENSIONS {
            return Err(ParseError::Parameter(format!("Can't be more src/dst options than {MAX_DIMENSIONS}.")));
        }
        if !word.starts_with("src") && !word.starts_with("dst") {
            return Err(ParseError::parameter("You must specify (the comma separated list of) 'src' or 'dst'."));
        }
        sides.push(word.starts_with("src"));
    }
    Ok(sides)
}

/// One of the comparisons of a counter.
fn counter(
    known: &mut Option<(SetComparison, u64)>,
    what: &str,
    comparison: SetComparison,
    text: &str,
    invert: bool,
) -> Result<(), ParseError> {
    if known.is_some() {
        return Err(ParseError::Parameter(format!("only one of the --{what}-[eq|lt|gt] is allowed")));
    }
    let comparison = match (comparison, invert) {
        (comparison, false) => comparison,
        (SetComparison::Less, true) => {
            return Err(ParseError::Parameter(format!("--{what}-lt option cannot be inverted")));
        }
        (SetComparison::Greater, true) => {
            return Err(ParseError::Parameter(format!("--{what}-gt option cannot be inverted")));
        }
        _ => SetComparison::NotEqual,
    };
    let value = number(text, 0, u64::MAX)
        .ok_or_else(|| ParseError::Parameter(format!("Cannot parse {text} as a counter value")))?;
    *known = Some((comparison, value));
    Ok(())
}

impl Extension for Set {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        match id {
            MATCH | OLD => {
                if id == OLD {
                    cx.notices.push("--set option deprecated, please use --match-set".to_owned());
                }
                if !self.sources.is_empty() {
                    return Err(ParseError::parameter("--match-set can be specified only once"));
                }
                self.invert = invert;
                let list = cx.getopt.take_plain();
                let list = list.ok_or_else(|| ParseError::parameter("--match-set requires two args."))?;
                name_fits(arg)?;
                find(arg, cx)?;
                self.name = arg.into();
                self.sources = sides(list)?;
                Ok(())
            }
            RETURN_NOMATCH if invert => Err(ParseError::parameter("--return-nomatch flag cannot be inverted")),
            RETURN_NOMATCH => {
                self.return_nomatch = true;
                Ok(())
            }
            COUNTERS => {
                self.keep_counters |= invert;
                Ok(())
            }
            SUBCOUNTERS => {
                self.keep_subcounters |= invert;
                Ok(())
            }
            PACKETS_EQ => counter(&mut self.packets, "packets", SetComparison::Equal, arg, invert),
            PACKETS_LT => counter(&mut self.packets, "packets", SetComparison::Less, arg, invert),
            PACKETS_GT => counter(&mut self.packets, "packets", SetComparison::Greater, arg, invert),
            BYTES_EQ => counter(&mut self.bytes, "bytes", SetComparison::Equal, arg, invert),
            BYTES_LT => counter(&mut self.bytes, "bytes", SetComparison::Less, arg, invert),
            _ => counter(&mut self.bytes, "bytes", SetComparison::Greater, arg, invert),
        }
    }

    fn check(&self, _: u32) -> Result<(), ParseError> {
        if self.sources.is_empty() {
            return Err(ParseError::parameter("You must specify `--match-set' with proper arguments"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Set(Box::new(self.clone())))
    }
}
