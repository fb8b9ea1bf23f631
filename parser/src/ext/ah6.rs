//! `-m ah` of IPv6.

use super::esp::identifiers;
use super::{Cx, Extension, Opt, Spec, ranged_u32};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Ah6;

static SPEC: Spec = Spec {
    name: "ah",
    options: &[Opt::value("ahspi", 0).invertible(), Opt::value("ahlen", 1).invertible(), Opt::flag("ahres", 2)],
    checked: true,
    help: "\
ah match options:
[!] --ahspi spi[:spi]          the SPI, one or a range
[!] --ahlen length             the header's length
 --ahres                       the reserved field is zero
",
};

impl Extension for Ah6 {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        match id {
            0 => self.spi = identifiers(arg, "ah", "ahspi", invert)?,
            1 => {
                self.length = ranged_u32("ah", "ahlen", arg, 0, u32::MAX)?;
                self.invert_length = invert;
            }
            _ => self.reserved = true,
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Ah6(self.clone()))
    }
}
