//! `-m tcpmss`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::range_u16;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Tcpmss;

static SPEC: Spec = Spec {
    name: "tcpmss",
    options: &[Opt::value("mss", 0).mandatory().invertible()],
    checked: true,
    help: "\
tcpmss match options:
[!] --mss value[:value]\tTCP's MSS option, one number or a range
\t\t\t\t(of packets with SYN)
",
};

impl Extension for Tcpmss {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        (self.min, self.max) = range_u16(arg, "tcpmss", "mss")?;
        self.invert = invert;
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Tcpmss(self.clone()))
    }
}
