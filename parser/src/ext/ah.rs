//! `-m ah` of IPv4.

use super::esp::identifiers;
use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Ah;

static SPEC: Spec = Spec {
    name: "ah",
    options: &[Opt::value("ahspi", 0).invertible()],
    checked: true,
    help: "ah match options:\n[!] --ahspi spi[:spi]\n\t\t\t\tthe SPI, one or a range\n",
};

impl Extension for Ah {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        self.spi = identifiers(arg, "ah", "ahspi", invert)?;
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Ah(self.clone()))
    }
}
