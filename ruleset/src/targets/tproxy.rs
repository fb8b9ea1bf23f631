//! `-j TPROXY` (xt_TPROXY.c): the packet to a local socket, unchanged.

use super::TargetKind;
use crate::check::{PRE, Place, Problem, need};
use crate::rule::Rule;
use crate::table::TableKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// `-j TPROXY`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tproxy {
    /// `--on-port`; 0 is the packet's own.
    pub port: u16,
    /// `--on-ip`; unspecified is an address of the device on which it came.
    pub addr: IpAddr,
    /// The value of `--tproxy-mark`.
    pub mark: u32,
    /// Its mask.
    pub mask: u32,
}

impl TargetKind for Tproxy {
    fn check(&self, place: Place, _: &Rule) -> Result<(), Problem> {
        place.in_tables(&[TableKind::Mangle], "TPROXY belongs in mangle's PREROUTING")?;
        place.only_hooks(PRE, "TPROXY belongs in mangle's PREROUTING")?;
        need(matches!(place.protocol, Some((6 | 17, false))), "TPROXY needs -p tcp or -p udp")
    }
}

impl Text for Tproxy {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Self { port, addr, mark, mask } = self;
        write!(out, " --on-port {port} --on-ip {addr} --tproxy-mark 0x{mark:x}/0x{mask:x}")
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        let Self { port, addr, mark, mask } = self;
        write!(out, " TPROXY redirect {addr}:{port} mark 0x{mark:x}/0x{mask:x}")
    }
}
