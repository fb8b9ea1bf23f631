//! `-m mh`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::{abbreviates, number_u8};
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Mh;
use bpftables_ruleset::matches::mh::TYPE_NAMES;

static SPEC: Spec = Spec {
    name: "mh",
    options: &[Opt::value("mh-type", 0).invertible()],
    checked: true,
    help: "\
mh match options:
[!] --mh-type type[:type]\tthe type, one or a range
Valid MH types:
binding-refresh-request (brr)
home-test-init (hoti)
careof-test-init (coti)
home-test (hot)
careof-test (cot)
binding-update (bu)
binding-acknowledgement (ba)
binding-error (be)
",
};

/// A type by its full name, the first name that begins so, or number.
fn kind(text: &str) -> Result<u8, ParseError> {
    let exact = TYPE_NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    let named = exact.or_else(|| TYPE_NAMES.iter().find(|(name, _)| abbreviates(text, name)));
    let named = named.map(|(_, kind)| *kind).or_else(|| number_u8(text));
    named.ok_or_else(|| ParseError::Parameter(format!("Invalid MH type `{text}'")))
}

impl Extension for Mh {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        (self.min, self.max) = match arg.split_once(':') {
            None => {
                let only = kind(arg)?;
                (only, only)
            }
            Some((first, last)) => {
                let or = |text: &str, default| if text.is_empty() { Ok(default) } else { kind(text) };
                (or(first, 0)?, or(last, u8::MAX)?)
            }
        };
        if self.min > self.max {
            return Err(ParseError::parameter("Invalid MH type range (min > max)"));
        }
        self.invert = invert;
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Mh(self.clone()))
    }
}
