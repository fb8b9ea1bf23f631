//! `-m mac`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::mac_address;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Mac;

static SPEC: Spec = Spec {
    name: "mac",
    options: &[Opt::value("mac-source", 0).mandatory().invertible()],
    checked: true,
    help: "\
mac match options:
[!] --mac-source XX:XX:XX:XX:XX:XX
\t\t\t\tthe source MAC address
",
};

impl Extension for Mac {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        self.source = mac_address(arg)?;
        self.invert = invert;
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Mac(self.clone()))
    }
}
