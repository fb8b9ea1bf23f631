//! `-j SECMARK`.

use super::{Cx, Extension, Opt, Spec, cut};
use crate::error::ParseError;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Secmark;

static SPEC: Spec = Spec {
    name: "SECMARK",
    options: &[Opt::value("selctx", 0).mandatory()],
    checked: true,
    help: "\
SECMARK target options:
  --selctx value                     the security context of SELinux
",
};

/// Reads `-j SECMARK`.
#[derive(Debug, Default)]
pub(crate) struct SecmarkBuilder {
    context: Box<str>,
}

impl Extension for SecmarkBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        self.context = cut(arg, Secmark::MAX_CONTEXT);
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Secmark(Secmark { context: self.context.clone() }))
    }
}
