//! `-j HMARK` (xt_HMARK.c): a mark from a hash of the packet or its connection.

use super::TargetKind;
use crate::check::{Place, Problem, need};
use crate::rule::Rule;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// `-j HMARK`. What is `None` was not given, which counts as no bits of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hmark {
    /// `--hmark-src-prefix`, as a mask.
    pub src: Option<IpMask>,
    /// `--hmark-dst-prefix`, as a mask.
    pub dst: Option<IpMask>,
    /// `--hmark-sport-mask`.
    pub sport_mask: Option<u16>,
    /// `--hmark-dport-mask`.
    pub dport_mask: Option<u16>,
    /// `--hmark-spi-mask`.
    pub spi_mask: Option<u32>,
    /// `--hmark-sport`.
    pub sport: Option<u16>,
    /// `--hmark-dport`.
    pub dport: Option<u16>,
    /// `--hmark-spi`.
    pub spi: Option<u32>,
    /// `--hmark-proto-mask`.
    pub proto_mask: Option<u16>,
    /// `--hmark-rnd`.
    pub rnd: u32,
    /// `--hmark-mod`.
    pub modulus: u32,
    /// `--hmark-offset`.
    pub offset: Option<u32>,
    /// `--hmark-tuple ct`: the connection's original tuple is hashed.
    pub conntrack: bool,
}

/// How much of an address is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IpMask(pub IpAddr);

impl IpMask {
    /// The length of the prefix; `None` for a mask with holes.
    fn length(self) -> Option<u32> {
        crate::text::prefix_length(self.0)
    }

    fn save(self, option: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        match self.length() {
            Some(length) => write!(out, " --hmark-{option}-prefix {length}"),
            None => write!(out, " --hmark-{option}-prefix -1"),
        }
    }

    fn list(self, option: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{option}-prefix ")?;
        match (self.length(), self.0) {
            (Some(length), _) => write!(out, "{length} "),
            // Legacy prints its -1 as an unsigned number.
            (None, IpAddr::V4(_)) => write!(out, "{} ", u32::MAX),
            (None, mask) => write!(out, "{mask} "),
        }
    }
}

impl TargetKind for Hmark {
    fn check(&self, _: Place, _: &Rule) -> Result<(), Problem> {
        let ports = self.sport.is_some() || self.dport.is_some();
        need(self.spi.is_none() || !ports, "HMARK takes an SPI or ports")
    }
}

impl Text for Hmark {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if let Some(mask) = self.src {
            mask.save("src", out)?;
        }
        if let Some(mask) = self.dst {
            mask.save("dst", out)?;
        }
        let number = |option: &str, value: Option<u32>, digits: usize, out: &mut dyn fmt::Write| match value {
            Some(value) => write!(out, " --hmark-{option} 0x{value:0digits$x}"),
            None => Ok(()),
        };
        number("sport-mask", self.sport_mask.map(u32::from), 4, out)?;
        number("dport-mask", self.dport_mask.map(u32::from), 4, out)?;
        number("spi-mask", self.spi_mask, 8, out)?;
        number("sport", self.sport.map(u32::from), 4, out)?;
        number("dport", self.dport.map(u32::from), 4, out)?;
        number("spi", self.spi, 8, out)?;
        number("proto-mask", self.proto_mask.map(u32::from), 2, out)?;
        number("rnd", Some(self.rnd), 8, out)?;
        write!(out, " --hmark-mod {}", self.modulus)?;
        if let Some(offset) = self.offset {
            write!(out, " --hmark-offset {offset}")?;
        }
        if self.conntrack { out.write_str(" --hmark-tuple ct") } else { Ok(()) }
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " HMARK mod {} ", self.modulus)?;
        if let Some(offset) = self.offset {
            write!(out, "+ 0x{offset:x} ")?;
        }
        if self.conntrack {
            out.write_str("ct, ")?;
        }
        if let Some(mask) = self.src {
            mask.list("src", out)?;
        }
        if let Some(mask) = self.dst {
            mask.list("dst", out)?;
        }
        let numbers = [
            ("sport-mask", self.sport_mask.map(u32::from)),
            ("dport-mask", self.dport_mask.map(u32::from)),
            ("spi-mask", self.spi_mask),
            ("sport", self.sport.map(u32::from)),
            ("dport", self.dport.map(u32::from)),
            ("spi", self.spi),
            ("proto-mask", self.proto_mask.map(u32::from)),
            ("rnd", Some(self.rnd)),
        ];
        let mut given = numbers.into_iter().filter_map(|(name, value)| Some((name, value?)));
        given.try_for_each(|(name, value)| write!(out, "{name} 0x{value:x} "))
    }
}
