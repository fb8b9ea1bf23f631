//! `-m eui64`.

use super::{Cx, Extension, Spec};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Eui64;

static SPEC: Spec = Spec { name: "eui64", options: &[], checked: true, help: "" };

impl Extension for Eui64 {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, _: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Eui64(self.clone()))
    }
}
