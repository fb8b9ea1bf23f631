//! `-j CONNSECMARK`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Connsecmark;

const SAVE: u8 = 0;
const RESTORE: u8 = 1;

static SPEC: Spec = Spec {
    name: "CONNSECMARK",
    options: &[Opt::flag("save", SAVE).excludes(1 << RESTORE), Opt::flag("restore", RESTORE).excludes(1 << SAVE)],
    checked: true,
    help: "\
CONNSECMARK target options:
  --save                   the packet's security mark to the connection
  --restore                the connection's to the packet
",
};

/// Reads `-j CONNSECMARK`.
#[derive(Debug, Default)]
pub(crate) struct ConnsecmarkBuilder {
    restore: bool,
}

impl Extension for ConnsecmarkBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, _: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        self.restore = id == RESTORE;
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen == 0 {
            return Err(ParseError::parameter("CONNSECMARK target: parameter required"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Connsecmark(if self.restore { Connsecmark::Restore } else { Connsecmark::Save }))
    }
}
