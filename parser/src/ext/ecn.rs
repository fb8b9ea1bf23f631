//! `-m ecn`.

use super::{Cx, Extension, Opt, Spec, ranged};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Ecn;

const CWR: u8 = 0;
const ECE: u8 = 1;
const ECT: u8 = 2;

static SPEC: Spec = Spec {
    name: "ecn",
    options: &[
        Opt::flag("ecn-tcp-cwr", CWR).invertible(),
        Opt::flag("ecn-tcp-ece", ECE).invertible(),
        Opt::value("ecn-ip-ect", ECT).invertible(),
    ],
    checked: true,
    help: "\
ECN match options
[!] --ecn-tcp-cwr \t\tTCP's CWR bit
[!] --ecn-tcp-ece\t\tTCP's ECE bit
[!] --ecn-ip-ect [0..3]\tthe ECN bits of the IP header
",
};

impl Extension for Ecn {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        match id {
            CWR => self.cwr = Some(invert),
            ECE => self.ece = Some(invert),
            _ => self.ect = Some((ranged("ecn", "ecn-ip-ect", arg, 0, 3)?, invert)),
        }
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen == 0 {
            return Err(ParseError::parameter("ECN match: some option required"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Ecn(self.clone()))
    }
}
