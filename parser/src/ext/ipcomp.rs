//! `-m ipcomp`.

use super::esp::identifiers;
use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Ipcomp;

static SPEC: Spec = Spec {
    name: "ipcomp",
    options: &[Opt::value("ipcompspi", 0).invertible(), Opt::flag("compres", 1)],
    checked: true,
    help: "comp match options:\n[!] --ipcompspi spi[:spi]\n\t\t\t\tthe CPI, one or a range\n",
};

impl Extension for Ipcomp {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        if id == 0 {
            self.spi = identifiers(arg, "ipcomp", "ipcompspi", invert)?;
        } else {
            self.reserved = true;
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Ipcomp(self.clone()))
    }
}
