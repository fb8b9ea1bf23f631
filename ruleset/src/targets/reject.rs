//! `-j REJECT` (ipt_REJECT.c).

use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `--reject-with`, numbered as `enum ipt_reject_with` where used by the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RejectWith {
    /// ICMP 3/0.
    NetUnreachable,
    /// ICMP 3/1.
    HostUnreachable,
    /// ICMP 3/2.
    ProtoUnreachable,
    /// ICMP 3/3, the default.
    PortUnreachable,
    /// ICMP 3/9.
    NetProhibited,
    /// ICMP 3/10.
    HostProhibited,
    /// ICMP 3/13.
    AdminProhibited,
    /// A TCP RST; only with `-p tcp`.
    TcpReset,
}

impl RejectWith {
    /// The name after `--reject-with`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetUnreachable => "icmp-net-unreachable",
            Self::HostUnreachable => "icmp-host-unreachable",
            Self::ProtoUnreachable => "icmp-proto-unreachable",
            Self::PortUnreachable => "icmp-port-unreachable",
            Self::NetProhibited => "icmp-net-prohibited",
            Self::HostProhibited => "icmp-host-prohibited",
            Self::AdminProhibited => "icmp-admin-prohibited",
            Self::TcpReset => "tcp-reset",
        }
    }
}

impl Text for RejectWith {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " --reject-with {}", self.name())
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " reject-with {}", self.name())
    }
}
