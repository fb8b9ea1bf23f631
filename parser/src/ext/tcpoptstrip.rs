//! `-j TCPOPTSTRIP`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Tcpoptstrip;
use bpftables_ruleset::targets::tcpoptstrip::NAMES;

static SPEC: Spec = Spec {
    name: "TCPOPTSTRIP",
    options: &[Opt::value("strip-options", 0)],
    checked: true,
    help: "\
TCPOPTSTRIP target options:
  --strip-options value     which options of TCP go, by their kinds
                            (a list with commas)
  Some kinds have names, which may stand for the numbers:
    wscale            that of \"Window scale\"
    mss               that of \"Maximum Segment Size\"
    sack-permitted    that of \"SACK permitted\"
    sack              that of \"Selective ACK\"
    timestamp         that of \"Timestamp\"
    md5               that of \"MD5 signature\"
",
};

/// Reads `-j TCPOPTSTRIP`.
#[derive(Debug, Default)]
pub(crate) struct TcpoptstripBuilder {
    kinds: [u32; 8],
}

impl Extension for TcpoptstripBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let mut strip = Tcpoptstrip { kinds: self.kinds };
        for item in arg.split(',') {
            let named = NAMES.iter().find(|(name, _)| *name == item).map(|(_, kind)| *kind);
            let Some(kind) = named.or_else(|| value::number_u8(item)) else {
                return Err(ParseError::Parameter(format!("Bad TCP option value \"{item}\"")));
            };
            if kind < 2 {
                return Err(ParseError::parameter("Option value may not be 0 or 1"));
            }
            if strip.has(kind) {
                return Err(ParseError::Parameter(format!("Option \"{item}\" already specified")));
            }
            strip.insert(kind);
        }
        self.kinds = strip.kinds;
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Tcpoptstrip(Tcpoptstrip { kinds: self.kinds }))
    }
}
