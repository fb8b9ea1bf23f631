//! The range of `-j SNAT --to-source` and `-j DNAT --to-destination` (struct nf_nat_range2).

use crate::addr::PortRange;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The range of `-j SNAT --to-source` and `-j DNAT --to-destination` (struct nf_nat_range2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NatRange {
    /// First and last address, host order inside `IpAddr`; `None`: the address is not changed.
    pub addrs: Option<(IpAddr, IpAddr)>,
    /// Ports.
    pub ports: Option<PortRange>,
    /// DNAT's `/PORT` (rev 2): ports are shifted from this base.
    pub base_port: Option<u16>,
    /// `--random`.
    pub random: bool,
    /// `--random-fully` (SNAT only).
    pub random_fully: bool,
    /// `--persistent`.
    pub persistent: bool,
}
