//! `-j TRACE`.

use super::{Cx, Extension, Spec};
use crate::error::ParseError;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Trace;

static SPEC: Spec = Spec { name: "TRACE", options: &[], checked: true, help: "TRACE does not take any options\n" };

/// Reads `-j TRACE`.
#[derive(Debug)]
pub(crate) struct TraceBuilder;

impl Extension for TraceBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, _: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Trace(Trace))
    }
}
