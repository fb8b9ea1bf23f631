//! `-m nfacct`.

use super::{Cx, Extension, Opt, Spec, cut};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Nfacct;

/// The longest name, in bytes.
const MAX_NAME: usize = 31;

static SPEC: Spec = Spec {
    name: "nfacct",
    options: &[Opt::value("nfacct-name", 0).mandatory()],
    checked: true,
    help: "nfacct match options:\n --nfacct-name STRING\t\tthe name of the accounting object\n",
};

impl Extension for Nfacct {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        if arg.is_empty() {
            return Err(ParseError::parameter("Argument must have a minimum length of 1 characters\n"));
        }
        if arg.contains('\n') {
            return Err(ParseError::parameter("Newlines not allowed in --nfacct-name"));
        }
        self.name = cut(arg, MAX_NAME);
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Nfacct(self.clone()))
    }
}
