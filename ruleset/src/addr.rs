//! Addresses, interfaces and ports as rules name them.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Address family of a ruleset: iptables or ip6tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Family {
    /// IPv4, `iptables`.
    V4,
    /// IPv6, `ip6tables`.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    #[must_use]
    pub const fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Bits of an address: 32 or 128.
    #[must_use]
    pub const fn width(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// `0.0.0.0` or `::`.
    #[must_use]
    pub const fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    /// The mask whose first `length` bits are set; all of them if `length` is more than there are.
    #[must_use]
    pub fn mask(self, length: u8) -> IpAddr {
        let host_bits = u32::from(self.width().saturating_sub(length));
        match self {
            Self::V4 => Ipv4Addr::from_bits(u32::MAX.checked_shl(host_bits).unwrap_or(0)).into(),
            Self::V6 => Ipv6Addr::from_bits(u128::MAX.checked_shl(host_bits).unwrap_or(0)).into(),
        }
    }
}

/// The bits of `addr` that `mask` has too; `addr` itself if they are of different families.
#[must_use]
pub fn masked(addr: IpAddr, mask: IpAddr) -> IpAddr {
    match (addr, mask) {
        (IpAddr::V4(addr), IpAddr::V4(mask)) => (addr & mask).into(),
        (IpAddr::V6(addr), IpAddr::V6(mask)) => (addr & mask).into(),
        _ => addr,
    }
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
