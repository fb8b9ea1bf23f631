//! `-m rt`: a routing header (ip6t_rt.c).

use crate::matches::MatchKind;
use crate::matches::esp::IdentifierRange;
use crate::text::{ListContext, Text, not, write_ip};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// `-m rt`: a routing header (ip6t_rt.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rt {
    /// `--rt-type`, and whether after `!`.
    pub kind: Option<(u32, bool)>,
    /// `--rt-segsleft`.
    pub segments_left: IdentifierRange,
    /// `--rt-len`, and whether after `!`.
    pub length: Option<(u32, bool)>,
    /// `--rt-0-res`.
    pub reserved: bool,
    /// `--rt-0-addrs`, 16 at most.
    pub addresses: Option<Vec<Ipv6Addr>>,
    /// `--rt-0-not-strict`.
    pub not_strict: bool,
}

impl Rt {
    fn write_addresses(&self, label: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        let Some(addresses) = &self.addresses else { return Ok(()) };
        write!(out, " {label}")?;
        for (index, addr) in addresses.iter().enumerate() {
            out.write_char(if index == 0 { ' ' } else { ',' })?;
            write_ip(IpAddr::V6(*addr), out)?;
        }
        Ok(())
    }
}

impl Text for Rt {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if let Some((kind, invert)) = self.kind {
            write!(out, "{} --rt-type {kind}", not(invert))?;
        }
        self.segments_left.save("rt-segsleft", out)?;
        if let Some((length, invert)) = self.length {
            write!(out, "{} --rt-len {length}", not(invert))?;
        }
        out.write_str(if self.reserved { " --rt-0-res" } else { "" })?;
        self.write_addresses("--rt-0-addrs", out)?;
        out.write_str(if self.not_strict { " --rt-0-not-strict" } else { "" })
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        let bang = |invert| if invert { "!" } else { "" };
        out.write_str(" rt")?;
        if let Some((kind, invert)) = self.kind {
            write!(out, " type:{}{}", bang(invert), kind.cast_signed())?;
        }
        self.segments_left.list(" segsleft", out)?;
        if let Some((length, invert)) = self.length {
            write!(out, " length:{}{length}", bang(invert))?;
        }
        out.write_str(if self.reserved { " reserved" } else { "" })?;
        self.write_addresses("0-addrs", out)?;
        out.write_str(if self.not_strict { " 0-not-strict" } else { "" })
    }
}

impl MatchKind for Rt {}
