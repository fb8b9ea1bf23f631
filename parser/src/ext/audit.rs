//! `-j AUDIT`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Audit;

static SPEC: Spec = Spec {
    name: "AUDIT",
    options: &[Opt::value("type", 0).mandatory()],
    checked: true,
    help: "\
AUDIT target options
  --type TYPE\t\twhich kind of record: accept, drop or reject.
",
};

/// Reads `-j AUDIT`.
#[derive(Debug, Default)]
pub(crate) struct AuditBuilder {
    audit: Option<Audit>,
}

impl Extension for AuditBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let all = [Audit::Accept, Audit::Drop, Audit::Reject];
        self.audit = all.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(arg));
        if self.audit.is_none() {
            return Err(ParseError::Parameter(format!("Bad action type value \"{arg}\"")));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Audit(self.audit.unwrap_or(Audit::Accept)))
    }
}
