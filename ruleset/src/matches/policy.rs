//! `-m policy`: the IPsec policy that a packet came by or will go by (xt_policy.c).

use crate::check::{IN, OUT, POST, PRE, Place, Problem};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not, write_ip, write_list_mask};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// `-m policy`: the IPsec policy that a packet came by or will go by (xt_policy.c).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// `--dir in` rather than `out`. Both were given if [`Policy::outward`] is set, too.
    pub inward: bool,
    /// `--dir out`.
    pub outward: bool,
    /// `--pol none`.
    pub none: bool,
    /// `--strict`.
    pub strict: bool,
    /// Four at most.
    pub elements: Vec<PolicyElement>,
}

/// One element of a policy. Each part may stand after `!`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PolicyElement {
    /// `--reqid`.
    pub reqid: Option<(u32, bool)>,
    /// `--spi`.
    pub spi: Option<(u32, bool)>,
    /// `--proto`: number and the name that the system has for it.
    pub protocol: Option<(u8, Option<Box<str>>, bool)>,
    /// `--mode tunnel` rather than `transport`.
    pub tunnel: Option<(bool, bool)>,
    /// `--tunnel-src`, not masked.
    pub source: Option<(IpAddr, IpAddr, bool)>,
    /// `--tunnel-dst`, not masked.
    pub destination: Option<(IpAddr, IpAddr, bool)>,
}

/// The most elements.
pub const MAX_ELEMENTS: usize = 4;

impl PolicyElement {
    fn write(&self, prefix: &str, numeric: bool, out: &mut dyn fmt::Write) -> fmt::Result {
        if let Some((reqid, invert)) = self.reqid {
            write!(out, "{} {prefix}reqid {reqid}", not(invert))?;
        }
        if let Some((spi, invert)) = self.spi {
            write!(out, "{} {prefix}spi 0x{spi:x}", not(invert))?;
        }
        if let Some((protocol, name, invert)) = &self.protocol {
            write!(out, "{} {prefix}proto ", not(*invert))?;
            match name {
                Some(name) if !numeric => out.write_str(name)?,
                _ => write!(out, "{protocol}")?,
            }
        }
        if let Some((tunnel, invert)) = self.tunnel {
            write!(out, "{} {prefix}mode {}", not(invert), if tunnel { "tunnel" } else { "transport" })?;
        }
        for (tunnel, option) in [(self.destination, "dst"), (self.source, "src")] {
            if let Some((addr, mask, invert)) = tunnel {
                write!(out, "{} {prefix}tunnel-{option} ", not(invert))?;
                write_ip(addr, out)?;
                write_list_mask(mask, out)?;
            }
        }
        Ok(())
    }
}

impl Policy {
    fn write_flags(&self, prefix: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        let (dir, pol) = (if self.inward { "in" } else { "out" }, if self.none { "none" } else { "ipsec" });
        write!(out, " {prefix}dir {dir} {prefix}pol {pol}")?;
        if self.strict { write!(out, " {prefix}strict") } else { Ok(()) }
    }
}

impl Text for Policy {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write_flags("--", out)?;
        for (index, element) in self.elements.iter().enumerate() {
            out.write_str(if index == 0 { "" } else { " --next" })?;
            element.write("--", false, out)?;
        }
        Ok(())
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" policy match")?;
        self.write_flags("", out)?;
        for (index, element) in self.elements.iter().enumerate() {
            if self.elements.len() > 1 {
                write!(out, " [{index}]")?;
            }
            element.write("", cx.numeric, out)?;
        }
        Ok(())
    }
}

impl MatchKind for Policy {
    fn check(&self, place: Place) -> Result<(), Problem> {
        if self.outward {
            place.only_hooks(!(PRE | IN), "--dir out where packets come in")?;
        }
        if self.inward {
            place.only_hooks(!(POST | OUT), "--dir in where packets go out")?;
        }
        Ok(())
    }
}
