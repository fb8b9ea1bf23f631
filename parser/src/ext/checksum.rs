//! `-j CHECKSUM`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Checksum;

static SPEC: Spec = Spec {
    name: "CHECKSUM",
    options: &[Opt::flag("checksum-fill", 0).mandatory()],
    checked: true,
    help: "\
CHECKSUM target options
  --checksum-fill\t\t\tcompute the packet's checksum now.
",
};

/// Reads `-j CHECKSUM`.
#[derive(Debug)]
pub(crate) struct ChecksumBuilder;

impl Extension for ChecksumBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, _: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Checksum(Checksum))
    }
}
