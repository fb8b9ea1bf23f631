//! `-m length`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::range_u16;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Length;

static SPEC: Spec = Spec {
    name: "length",
    options: &[Opt::value("length", 0).mandatory().invertible()],
    checked: true,
    help: "\
length match options:
[!] --length length[:length]    the packet's length in bytes, one number
                                or a range (inclusive)
",
};

impl Extension for Length {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        (self.min, self.max) = range_u16(arg, "length", "length")?;
        self.invert = invert;
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Length(self.clone()))
    }
}
