//! `-j TCPMSS`.

use super::{Cx, Extension, Opt, Spec, ranged_u16};
use crate::error::ParseError;
use bpftables_ruleset::targets::TcpmssSet;
use bpftables_ruleset::{Family, Target};

const SET: u8 = 0;

const OPTIONS: &[Opt] = &[Opt::value("set-mss", SET), Opt::flag("clamp-mss-to-pmtu", 1)];

static V4: Spec = Spec {
    name: "TCPMSS",
    options: OPTIONS,
    checked: true,
    help: "\
TCPMSS target mutually-exclusive options:
  --set-mss value               the MSS that is offered, if it was larger
  --clamp-mss-to-pmtu           what the MTU on the way leaves for it (the MTU less 20 and TCP's header)
",
};

static V6: Spec = Spec {
    name: "TCPMSS",
    options: OPTIONS,
    checked: true,
    help: "\
TCPMSS target mutually-exclusive options:
  --set-mss value               the MSS that is offered, if it was larger
  --clamp-mss-to-pmtu           what the MTU on the way leaves for it (the MTU less 40 and TCP's header)
",
};

/// Reads `-j TCPMSS`.
#[derive(Debug)]
pub(crate) struct TcpmssBuilder {
    family: Family,
    set: TcpmssSet,
}

impl TcpmssBuilder {
    pub(crate) const fn new(family: Family) -> Self {
        Self { family, set: TcpmssSet::Clamp }
    }
}

impl Extension for TcpmssBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        match self.family {
            Family::V4 => &V4,
            Family::V6 => &V6,
        }
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let header = match self.family {
            Family::V4 => 20,
            Family::V6 => 40,
        };
        self.set = match id {
            SET => TcpmssSet::Mss(ranged_u16("TCPMSS", "set-mss", arg, 0, u16::MAX - header)?),
            _ => TcpmssSet::Clamp,
        };
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen == 0 {
            return Err(ParseError::parameter("TCPMSS target: At least one parameter is required"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Tcpmss(self.set))
    }
}
