//! `-j ECN`.

use super::{Cx, Extension, Opt, Spec, ranged};
use crate::error::ParseError;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::EcnSet;

const REMOVE: u8 = 0;
const CWR: u8 = 1;
const ECE: u8 = 2;

static SPEC: Spec = Spec {
    name: "ECN",
    options: &[
        Opt::flag("ecn-tcp-remove", REMOVE).excludes(1 << CWR | 1 << ECE),
        Opt::value("ecn-tcp-cwr", CWR).excludes(1 << REMOVE),
        Opt::value("ecn-tcp-ece", ECE).excludes(1 << REMOVE),
        Opt::value("ecn-ip-ect", 3),
    ],
    checked: true,
    help: "\
ECN target options
  --ecn-tcp-remove\t\tclear the bits of ECN in TCP's header
",
};

/// Reads `-j ECN`.
#[derive(Debug, Default)]
pub(crate) struct EcnBuilder {
    ecn: EcnSet,
}

impl Extension for EcnBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let bit = |option| ranged("ECN", option, arg, 0, 1u8).map(|bit| Some(bit == 1));
        match id {
            // Takes back what was said before it.
            REMOVE => self.ecn = EcnSet { ece: Some(false), cwr: Some(false), ect: None },
            CWR => self.ecn.cwr = bit("ecn-tcp-cwr")?,
            ECE => self.ecn.ece = bit("ecn-tcp-ece")?,
            _ => self.ecn.ect = Some(ranged("ECN", "ecn-ip-ect", arg, 0, 3)?),
        }
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen == 0 {
            return Err(ParseError::parameter("ECN target: An operation is required"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Ecn(self.ecn))
    }
}
