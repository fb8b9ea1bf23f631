//! `-m addrtype` (xt_addrtype.c, rev 1). Types are bits by RTN_* number (`1 << RTN_LOCAL`).

use crate::addr::Family;
use crate::check::{IN, OUT, POST, PRE, Place, Problem, need};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m addrtype` (xt_addrtype.c, rev 1). Types are bits by RTN_* number (`1 << RTN_LOCAL`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Addrtype {
    /// `--src-type`, 0: not asked.
    pub src: u16,
    /// `! --src-type`.
    pub invert_src: bool,
    /// `--dst-type`, 0: not asked.
    pub dst: u16,
    /// `! --dst-type`.
    pub invert_dst: bool,
    /// `--limit-iface-in`.
    pub limit_in: bool,
    /// `--limit-iface-out`.
    pub limit_out: bool,
}

/// The types by RTN_* number.
pub const TYPE_NAMES: &[&str] = &[
    "UNSPEC",
    "UNICAST",
    "LOCAL",
    "BROADCAST",
    "ANYCAST",
    "MULTICAST",
    "BLACKHOLE",
    "UNREACHABLE",
    "PROHIBIT",
    "THROW",
    "NAT",
    "XRESOLVE",
];

const BROADCAST: u16 = 1 << 3;
const BLACKHOLE: u16 = 1 << 6;
const PROHIBIT: u16 = 1 << 8;

fn write_types(bits: u16, out: &mut dyn fmt::Write) -> fmt::Result {
    let mut separator = "";
    for (bit, name) in TYPE_NAMES.iter().enumerate() {
        if bits & (1 << bit) != 0 {
            write!(out, "{separator}{name}")?;
            separator = ",";
        }
    }
    Ok(())
}

impl Text for Addrtype {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for (bits, invert, option) in [(self.src, self.invert_src, "src"), (self.dst, self.invert_dst, "dst")] {
            if bits != 0 {
                write!(out, "{} --{option}-type ", if invert { " !" } else { "" })?;
                write_types(bits, out)?;
            }
        }
        if self.limit_in {
            out.write_str(" --limit-iface-in")?;
        }
        if self.limit_out {
            out.write_str(" --limit-iface-out")?;
        }
        Ok(())
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" ADDRTYPE match")?;
        for (bits, invert, option) in [(self.src, self.invert_src, "src"), (self.dst, self.invert_dst, "dst")] {
            if bits != 0 {
                write!(out, " {option}-type {}", if invert { "!" } else { "" })?;
                write_types(bits, out)?;
            }
        }
        if self.limit_in {
            out.write_str(" limit-in")?;
        }
        if self.limit_out {
            out.write_str(" limit-out")?;
        }
        Ok(())
    }
}

impl MatchKind for Addrtype {
    fn check(&self, place: Place) -> Result<(), Problem> {
        need(!(self.limit_in && self.limit_out), "addrtype takes one of the two device options")?;
        need(!(self.limit_out && place.hooks & (PRE | IN) != 0), "--limit-iface-out where packets come in")?;
        need(!(self.limit_in && place.hooks & (POST | OUT) != 0), "--limit-iface-in where packets go out")?;
        let types = self.src | self.dst;
        let only_v4 = types >= PROHIBIT || types & (BROADCAST | BLACKHOLE) != 0;
        need(place.family == Family::V4 || !only_v4, "addrtype has no such type in IPv6")
    }
}
