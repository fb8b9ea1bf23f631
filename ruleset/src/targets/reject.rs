//! `-j REJECT` (ipt_REJECT.c, ip6t_REJECT.c).

use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `--reject-with` of either family; those of IPv6 begin with `Icmp6`, the reset is in both.
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
    /// ICMPv6 1/0.
    Icmp6NoRoute,
    /// ICMPv6 1/1.
    Icmp6AdmProhibited,
    /// ICMPv6 1/3.
    Icmp6AddrUnreachable,
    /// ICMPv6 1/4, the default in IPv6.
    Icmp6PortUnreachable,
    /// ICMPv6 1/5.
    Icmp6PolicyFail,
    /// ICMPv6 1/6.
    Icmp6RejectRoute,
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
            Self::Icmp6NoRoute => "icmp6-no-route",
            Self::Icmp6AdmProhibited => "icmp6-adm-prohibited",
            Self::Icmp6AddrUnreachable => "icmp6-addr-unreachable",
            Self::Icmp6PortUnreachable => "icmp6-port-unreachable",
            Self::Icmp6PolicyFail => "icmp6-policy-fail",
            Self::Icmp6RejectRoute => "icmp6-reject-route",
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
