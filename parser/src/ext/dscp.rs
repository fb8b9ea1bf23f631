//! `-m dscp`.

use super::{Cx, Extension, Opt, Spec, ranged};
use crate::error::ParseError;
use crate::value::dscp_class;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Dscp;

const VALUE: u8 = 0;
const CLASS: u8 = 1;

static SPEC: Spec = Spec {
    name: "dscp",
    options: &[
        Opt::value("dscp", VALUE).excludes(1 << CLASS).invertible(),
        Opt::value("dscp-class", CLASS).excludes(1 << VALUE).invertible(),
    ],
    checked: true,
    help: "\
dscp match options
[!] --dscp value\t\tthe DSCP value, in decimal (32)
  \t\t                or in hexadecimal (0x20)
[!] --dscp-class name\t\tthe same by the name of a DiffServ class:
\t\t\t\tBE, EF, AFxx or CSx

\t\t\t\tOne of the two, not both.
",
};

impl Extension for Dscp {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        self.dscp = if id == VALUE { ranged("dscp", "dscp", arg, 0, 63)? } else { dscp_class(arg)? };
        self.invert |= invert;
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen == 0 {
            return Err(ParseError::parameter("DSCP match: Parameter --dscp is required"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Dscp(self.clone()))
    }
}
