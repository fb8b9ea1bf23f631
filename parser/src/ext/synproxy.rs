//! `-j SYNPROXY`.

use super::{Cx, Extension, Opt, Spec, ranged_u32};
use crate::error::ParseError;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Synproxy;

const SACK: u8 = 0;
const TIMESTAMP: u8 = 1;
const WSCALE: u8 = 2;
const MSS: u8 = 3;

static SPEC: Spec = Spec {
    name: "SYNPROXY",
    options: &[
        Opt::flag("sack-perm", SACK),
        Opt::flag("timestamp", TIMESTAMP),
        Opt::value("wscale", WSCALE),
        Opt::value("mss", MSS),
        Opt::flag("ecn", 4),
    ],
    checked: true,
    help: "\
SYNPROXY target options:
  --sack-perm                        the server takes selective ACKs
  --timestamp                        the server takes timestamps
  --wscale value                     its window scale
  --mss value                        its maximum segment size
  --ecn                              the server takes ECN
",
};

/// Reads `-j SYNPROXY`.
#[derive(Debug, Default)]
pub(crate) struct SynproxyBuilder {
    proxy: Synproxy,
}

impl Extension for SynproxyBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let number = |option| ranged_u32("SYNPROXY", option, arg, 0, u32::MAX);
        match id {
            SACK => self.proxy.sack_perm = true,
            TIMESTAMP => self.proxy.timestamp = true,
            WSCALE => self.proxy.wscale = Some(number("wscale")?.to_le_bytes()[0]),
            #[expect(clippy::cast_possible_truncation, reason = "as legacy cuts it")]
            MSS => self.proxy.mss = Some(number("mss")? as u16),
            _ => self.proxy.ecn = true,
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Synproxy(self.proxy.clone()))
    }
}
