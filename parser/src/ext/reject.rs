//! `-j REJECT`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::abbreviates;
use bpftables_ruleset::targets::RejectWith;
use bpftables_ruleset::{Family, Target};

static OPTIONS: &[Opt] = &[Opt::value("reject-with", 0)];
static SPEC: Spec = Spec { name: "REJECT", options: OPTIONS, checked: true, help: crate::help::REJECT };
static SPEC_6: Spec = Spec { name: "REJECT", options: OPTIONS, checked: true, help: crate::help::REJECT6 };

/// The answers, and their short names, in the order in which abbreviations are tried.
type Types = &'static [(RejectWith, &'static str)];

const TYPES: Types = &[
    (RejectWith::NetUnreachable, "net-unreach"),
    (RejectWith::HostUnreachable, "host-unreach"),
    (RejectWith::ProtoUnreachable, "proto-unreach"),
    (RejectWith::PortUnreachable, "port-unreach"),
    (RejectWith::NetProhibited, "net-prohib"),
    (RejectWith::HostProhibited, "host-prohib"),
    (RejectWith::TcpReset, "tcp-rst"),
    (RejectWith::AdminProhibited, "admin-prohib"),
];

const TYPES_6: Types = &[
    (RejectWith::Icmp6NoRoute, "no-route"),
    (RejectWith::Icmp6AdmProhibited, "adm-prohibited"),
    (RejectWith::Icmp6AddrUnreachable, "addr-unreach"),
    (RejectWith::Icmp6PortUnreachable, "port-unreach"),
    (RejectWith::TcpReset, "tcp-reset"),
    (RejectWith::Icmp6PolicyFail, "policy-fail"),
    (RejectWith::Icmp6RejectRoute, "reject-route"),
];

/// Reads `-j REJECT`.
#[derive(Debug)]
pub(crate) struct RejectBuilder {
    spec: &'static Spec,
    types: Types,
    with: RejectWith,
}

impl RejectBuilder {
    pub(crate) const fn v4() -> Self {
        Self { spec: &SPEC, types: TYPES, with: RejectWith::PortUnreachable }
    }

    pub(crate) const fn v6() -> Self {
        Self { spec: &SPEC_6, types: TYPES_6, with: RejectWith::Icmp6PortUnreachable }
    }
}

impl Extension for RejectBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        self.spec
    }

    fn option(&mut self, _: u8, arg: &str, _: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let found = self.types.iter().find(|(with, short)| abbreviates(arg, with.name()) || abbreviates(arg, short));
        if let Some((with, _)) = found {
            self.with = *with;
            return Ok(());
        }
        if cx.family == Family::V4 && (abbreviates(arg, "echo-reply") || abbreviates(arg, "echoreply")) {
            cx.notices.push("--reject-with echo-reply no longer supported".to_owned());
        }
        Err(ParseError::Parameter(format!("unknown reject type \"{arg}\"")))
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Reject(self.with))
    }
}
