//! `-m cpu`.

use super::{Cx, Extension, Opt, Spec, ranged_u32};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Cpu;

static SPEC: Spec = Spec {
    name: "cpu",
    options: &[Opt::value("cpu", 0).mandatory().invertible()],
    checked: true,
    help: "cpu match options:\n[!] --cpu number   the CPU that handles the packet\n",
};

impl Extension for Cpu {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        self.cpu = ranged_u32("cpu", "cpu", arg, 0, u32::MAX)?;
        self.invert = invert;
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Cpu(self.clone()))
    }
}
