//! `-m quota`.

use super::{Cx, Extension, Opt, Spec, ranged};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Quota;

static SPEC: Spec = Spec {
    name: "quota",
    options: &[Opt::value("quota", 0).mandatory().invertible()],
    checked: true,
    help: "quota match options:\n[!] --quota quota\t\tbytes that may pass\n",
};

impl Extension for Quota {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        self.bytes = ranged("quota", "quota", arg, 0, u64::MAX)?;
        self.invert = invert;
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Quota(self.clone()))
    }
}
