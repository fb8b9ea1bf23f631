//! `-m rpfilter`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Rpfilter;

static SPEC: Spec = Spec {
    name: "rpfilter",
    options: &[Opt::flag("loose", 0), Opt::flag("validmark", 1), Opt::flag("accept-local", 2), Opt::flag("invert", 3)],
    checked: true,
    help: "\
rpfilter match options:
    --loose          the way back may leave by any device
    --validmark      look the way back up with the packet's mark
    --accept-local   let sources pass that are this host's own
    --invert         match what fails the test
",
};

impl Extension for Rpfilter {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, _: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        match id {
            0 => self.loose = true,
            1 => self.valid_mark = true,
            2 => self.accept_local = true,
            _ => self.invert = true,
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Rpfilter(self.clone()))
    }
}
