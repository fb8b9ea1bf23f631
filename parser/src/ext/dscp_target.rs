//! `-j DSCP`.

use super::{Cx, Extension, Opt, Spec, ranged};
use crate::error::ParseError;
use crate::value;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::DscpSet;

const VALUE: u8 = 0;
const CLASS: u8 = 1;

static SPEC: Spec = Spec {
    name: "DSCP",
    options: &[
        Opt::value("set-dscp", VALUE).excludes(1 << CLASS),
        Opt::value("set-dscp-class", CLASS).excludes(1 << VALUE),
    ],
    checked: true,
    help: "\
DSCP target options
  --set-dscp value\t\tthe code point of DiffServ
  \t\t                as a number, decimal (32)
               \t\tor hexadecimal (0x20)
  --set-dscp-class class\tthe code point of DiffServ
\t\t\t\tby the name of its class:
\t\t\t\tEF, BE, one of CSxx
\t\t\t\tor of AFxx.

\t\t\t\tOne of the two, not both!

",
};

/// Reads `-j DSCP`.
#[derive(Debug, Default)]
pub(crate) struct DscpBuilder {
    dscp: u8,
}

impl Extension for DscpBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        self.dscp = match id {
            VALUE => ranged("DSCP", "set-dscp", arg, 0, 63)?,
            _ => value::dscp_class(arg)?,
        };
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen == 0 {
            return Err(ParseError::parameter("DSCP target: Parameter --set-dscp is required"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Dscp(DscpSet { dscp: self.dscp }))
    }
}
