//! `-j IDLETIMER`.

use super::{Cx, Extension, Opt, Spec, cut, ranged_u32};
use crate::error::ParseError;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Idletimer;

const TIMEOUT: u8 = 0;
const LABEL: u8 = 1;

static SPEC: Spec = Spec {
    name: "IDLETIMER",
    options: &[
        Opt::value("timeout", TIMEOUT).mandatory(),
        Opt::value("label", LABEL).mandatory(),
        Opt::flag("alarm", 2),
    ],
    checked: true,
    help: "\
IDLETIMER target options:
 --timeout time\tseconds without a packet until it is said
 --label string\twhat the rule's timer is called
 --alarm\tthe timer also runs while the system sleeps

",
};

/// Reads `-j IDLETIMER`.
#[derive(Debug, Default)]
pub(crate) struct IdletimerBuilder {
    timer: Idletimer,
}

impl Extension for IdletimerBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        match id {
            TIMEOUT => self.timer.timeout = ranged_u32("IDLETIMER", "timeout", arg, 0, u32::MAX)?,
            LABEL => self.timer.label = cut(arg, Idletimer::MAX_LABEL),
            _ => self.timer.alarm = true,
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Idletimer(self.timer.clone()))
    }
}
