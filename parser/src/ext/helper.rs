//! `-m helper`.

use super::{Cx, Extension, Opt, Spec, cut};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Helper;

/// The longest name, in bytes.
const MAX_NAME: usize = 29;

static SPEC: Spec = Spec {
    name: "helper",
    options: &[Opt::value("helper", 0).mandatory().invertible()],
    checked: true,
    help: "helper match options:\n[!] --helper string        the name of the connection's helper\n",
};

impl Extension for Helper {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        self.name = cut(arg, MAX_NAME);
        self.invert = invert;
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Helper(self.clone()))
    }
}
