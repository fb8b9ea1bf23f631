//! `-j QUEUE`.

use super::{Cx, Extension, Spec};
use crate::error::ParseError;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Queue;

static SPEC: Spec = Spec { name: "QUEUE", options: &[], checked: true, help: crate::help::STANDARD };

/// Reads `-j QUEUE`.
#[derive(Debug)]
pub(crate) struct QueueBuilder;

impl Extension for QueueBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, _: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Queue(Queue))
    }
}
