//! `-j SNPT` and `-j DNPT` (ip6t_NPT.c): one prefix of IPv6 for another, without touching checksums.

use super::TargetKind;
use crate::check::{HookMask, IN, OUT, POST, PRE, Place, Problem, need};
use crate::rule::Rule;
use crate::table::TableKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv6Addr;

/// Two prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prefixes {
    /// `--src-pfx`: what it was.
    pub src: (Ipv6Addr, u8),
    /// `--dst-pfx`: what it becomes.
    pub dst: (Ipv6Addr, u8),
}

impl Prefixes {
    fn check(&self, place: Place, hooks: HookMask, reason: &'static str) -> Result<(), Problem> {
        place.in_tables(&[TableKind::Mangle], reason)?;
        place.only_hooks(hooks, reason)?;
        need(self.src.1 <= 64 && self.dst.1 <= 64, "a prefix is at most 64 bits long")?;
        let is_prefix =
            |(addr, length): (Ipv6Addr, u8)| addr.to_bits() & u128::MAX.checked_shr(length.into()).unwrap_or(0) == 0;
        need(is_prefix(self.src) && is_prefix(self.dst), "a prefix has bits behind its length")
    }

    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for (option, (addr, length)) in [("src", self.src), ("dst", self.dst)] {
            if !addr.is_unspecified() || length != 0 {
                write!(out, " --{option}-pfx {addr}/{length}")?;
            }
        }
        Ok(())
    }

    fn list(&self, name: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        let ((src, src_length), (dst, dst_length)) = (self.src, self.dst);
        write!(out, " {name} src-pfx {src}/{src_length} dst-pfx {dst}/{dst_length}")
    }
}

/// `-j SNPT`: of sources.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Snpt(pub Prefixes);

/// `-j DNPT`: of destinations.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dnpt(pub Prefixes);

impl TargetKind for Snpt {
    fn check(&self, place: Place, _: &Rule) -> Result<(), Problem> {
        self.0.check(place, IN | POST, "SNPT belongs in mangle's INPUT and POSTROUTING")
    }
}

impl TargetKind for Dnpt {
    fn check(&self, place: Place, _: &Rule) -> Result<(), Problem> {
        self.0.check(place, PRE | OUT, "DNPT belongs in mangle's PREROUTING and OUTPUT")
    }
}

impl Text for Snpt {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.0.save(out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.0.list("SNPT", out)
    }
}

impl Text for Dnpt {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.0.save(out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.0.list("DNPT", out)
    }
}
