//! `-j REJECT`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::abbreviates;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::RejectWith;

static SPEC: Spec =
    Spec { name: "REJECT", options: &[Opt::value("reject-with", 0)], checked: true, help: crate::help::REJECT };

/// Names and short names in the order in which abbreviations are tried.
const TYPES: &[(RejectWith, &str)] = &[
    (RejectWith::NetUnreachable, "net-unreach"),
    (RejectWith::HostUnreachable, "host-unreach"),
    (RejectWith::ProtoUnreachable, "proto-unreach"),
    (RejectWith::PortUnreachable, "port-unreach"),
    (RejectWith::NetProhibited, "net-prohib"),
    (RejectWith::HostProhibited, "host-prohib"),
    (RejectWith::TcpReset, "tcp-rst"),
    (RejectWith::AdminProhibited, "admin-prohib"),
];

/// Reads `-j REJECT`.
#[derive(Debug)]
pub(crate) struct RejectBuilder {
    with: RejectWith,
}

impl Default for RejectBuilder {
    fn default() -> Self {
        Self { with: RejectWith::PortUnreachable }
    }
}

impl Extension for RejectBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, _: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let found = TYPES.iter().find(|(with, short)| abbreviates(arg, with.name()) || abbreviates(arg, short));
        if let Some((with, _)) = found {
            self.with = *with;
            return Ok(());
        }
        if abbreviates(arg, "echo-reply") || abbreviates(arg, "echoreply") {
            cx.notices.push("--reject-with echo-reply no longer supported".to_owned());
        }
        Err(ParseError::Parameter(format!("unknown reject type \"{arg}\"")))
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Reject(self.with))
    }
}
