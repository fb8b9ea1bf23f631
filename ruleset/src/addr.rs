//! Addresses, interfaces and ports as rules name them.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Address family of a ruleset: iptables or ip6tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Family {
    /// IPv4, `iptables`.
    V4,
    /// IPv6, `ip6tables`.
    V6,
}

/// `[!] -s ADDR/MASK` or `-d`: a packet's address AND `mask` must equal `addr` (already masked).
/// The mask need not be contiguous. Both are of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AddrMatch {
    /// Network address with the bits outside `mask` cleared.
    pub addr: IpAddr,
    /// Any bit mask, as legacy allows.
    pub mask: IpAddr,
    /// `!` was given.
    pub invert: bool,
}

/// `[!] -i NAME` or `-o`, where a trailing `+` makes `name` a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IfacePattern {
    /// The name or, with `wildcard`, the prefix (without the `+`). At most 15 bytes.
    pub name: Box<str>,
    /// A trailing `+` was given.
    pub wildcard: bool,
    /// `!` was given.
    pub invert: bool,
}

/// An inclusive range of ports (or of any 16-bit values), host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortRange {
    /// First port.
    pub lo: u16,
    /// Last port, inclusive.
    pub hi: u16,
}

impl Default for PortRange {
    fn default() -> Self {
        Self::ANY
    }
}

impl PortRange {
    /// Every port.
    pub const ANY: Self = Self { lo: 0, hi: u16::MAX };

    /// Whether `port` lies in the range.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.lo <= port && port <= self.hi
    }
}
