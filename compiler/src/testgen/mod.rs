//! Generators of rulesets and packets for property tests, here and against the kernel.
//!
//! Values come from small pools, so that packets meet rules.

mod extension;
pub mod growing;
mod hmark;
pub mod ipv6;
mod kube;
mod matches;
mod packets;
mod pools;
mod rules;
mod search;
mod transport;

pub use kube::{five_tuples, kube_proxy};
pub use packets::{Header, packet, packet_bytes};
pub use pools::{ADDRS, DEVICES, addr_types};
pub use rules::{many_rules, ruleset};

/// What generated rules may depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The table that gets rules.
    pub table: bpftables_ruleset::TableKind,
    /// `-m statistic --mode random` with a chance between 0 and 1. Without it, only 0 and 1.
    pub chance: bool,
    /// limit, recent, statistic nth.
    pub memory: bool,
    /// state, conntrack, connmark, CONNMARK.
    pub conntrack: bool,
}

impl Profile {
    /// Everything.
    pub const ALL: Self =
        Self { table: bpftables_ruleset::TableKind::Filter, chance: true, memory: true, conntrack: true };
}
