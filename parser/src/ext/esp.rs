//! `-m esp`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::range_u32;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Esp;
use bpftables_ruleset::matches::esp::IdentifierRange;

static SPEC: Spec = Spec {
    name: "esp",
    options: &[Opt::value("espspi", 0).invertible()],
    checked: true,
    help: "esp match options:\n[!] --espspi spi[:spi]\n\t\t\t\tthe SPI, one or a range\n",
};

/// A range of 32-bit identifiers.
pub(crate) fn identifiers(
    text: &str,
    extension: &str,
    option: &str,
    invert: bool,
) -> Result<IdentifierRange, ParseError> {
    let (min, max) = range_u32(text, extension, option)?;
    Ok(IdentifierRange { min, max, invert })
}

impl Extension for Esp {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        self.spi = identifiers(arg, "esp", "espspi", invert)?;
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Esp(self.clone()))
    }
}
