//! `-m tos`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::tos_mask;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Tos;
use bpftables_ruleset::matches::tos::NAMED_MASK;

static SPEC: Spec = Spec {
    name: "tos",
    options: &[Opt::value("tos", 1).mandatory().invertible()],
    checked: true,
    help: "\
tos match options:
[!] --tos value[/mask]    the TOS field, of which the mask's bits count
[!] --tos symbol          the TOS field (IPv4 alone) by one of these
                          names:
                          (0x10) 16 Minimize-Delay
                          (0x08)  8 Maximize-Throughput
                          (0x04)  4 Maximize-Reliability
                          (0x02)  2 Minimize-Cost
                          (0x00)  0 Normal-Service

",
};

impl Extension for Tos {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        (self.value, self.mask) = tos_mask(arg, NAMED_MASK)?;
        self.invert = invert;
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Tos(self.clone()))
    }
}
