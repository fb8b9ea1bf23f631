//! `-m conntrack` (xt_conntrack.c, struct xt_conntrack_mtinfo3). A field that is `None` is not asked. The flag in each pair is `!`.

use super::{CtStates, CtStatus};
use crate::addr::{AddrMatch, PortRange};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m conntrack` (xt_conntrack.c, struct xt_conntrack_mtinfo3). A field that is `None` is not asked. The flag in each pair is `!`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Conntrack {
    /// `--ctstate`: bits of [`super::CtStates`].
    pub state: Option<(CtStates, bool)>,
    /// `--ctproto`.
    pub proto: Option<(u8, bool)>,
    /// `--ctorigsrc`. Unlike those of `-s` and `-d`, these addresses are kept as written, not masked.
    pub orig_src: Option<AddrMatch>,
    /// `--ctorigdst`.
    pub orig_dst: Option<AddrMatch>,
    /// `--ctreplsrc`.
    pub repl_src: Option<AddrMatch>,
    /// `--ctrepldst`.
    pub repl_dst: Option<AddrMatch>,
    /// `--ctorigsrcport`.
    pub orig_src_port: Option<(PortRange, bool)>,
    /// `--ctorigdstport`.
    pub orig_dst_port: Option<(PortRange, bool)>,
    /// `--ctreplsrcport`.
    pub repl_src_port: Option<(PortRange, bool)>,
    /// `--ctrepldstport`.
    pub repl_dst_port: Option<(PortRange, bool)>,
    /// `--ctstatus`: bits of [`super::CtStatus`]; an empty set is NONE.
    pub status: Option<(CtStatus, bool)>,
    /// `--ctexpire LO:HI` in seconds, inclusive.
    pub expires: Option<(u32, u32, bool)>,
    /// `--ctdir`: true is ORIGINAL. The command line has no `!` for it.
    pub direction_original: Option<bool>,
}

fn write_address(
    addr: &AddrMatch,
    option: &str,
    prefix: &str,
    cx: Option<&ListContext<'_>>,
    out: &mut dyn fmt::Write,
) -> fmt::Result {
    write!(out, "{} {prefix}{option} ", if addr.invert { " !" } else { "" })?;
    match cx {
        Some(cx) if !cx.numeric && addr.addr.is_unspecified() => return out.write_str("anywhere"),
        Some(cx) => cx.write_address(addr.addr, out)?,
        None => crate::text::write_ip(addr.addr, out)?,
    }
    crate::text::write_list_mask(addr.mask, out)
}

fn write_ports(
    (range, invert): (PortRange, bool),
    option: &str,
    prefix: &str,
    out: &mut dyn fmt::Write,
) -> fmt::Result {
    write!(out, "{} {prefix}{option} {}", if invert { " !" } else { "" }, range.lo)?;
    if range.hi != 0 && range.hi != range.lo {
        write!(out, ":{}", range.hi)?;
    }
    Ok(())
}

impl Conntrack {
    fn write(&self, prefix: &str, cx: Option<&ListContext<'_>>, out: &mut dyn fmt::Write) -> fmt::Result {
        let not = |invert: bool| if invert { " !" } else { "" };
        if let Some((states, invert)) = self.state {
            write!(out, "{} {prefix}ctstate", not(invert))?;
            states.write(out)?;
        }
        if let Some((proto, invert)) = self.proto {
            write!(out, "{} {prefix}ctproto {proto}", not(invert))?;
        }
        let addresses = [
            (&self.orig_src, "ctorigsrc"),
            (&self.orig_dst, "ctorigdst"),
            (&self.repl_src, "ctreplsrc"),
            (&self.repl_dst, "ctrepldst"),
        ];
        for (addr, option) in addresses {
            if let Some(addr) = addr {
                write_address(addr, option, prefix, cx, out)?;
            }
        }
        let ports = [
            (self.orig_src_port, "ctorigsrcport"),
            (self.orig_dst_port, "ctorigdstport"),
            (self.repl_src_port, "ctreplsrcport"),
            (self.repl_dst_port, "ctrepldstport"),
        ];
        for (range, option) in ports {
            if let Some(range) = range {
                write_ports(range, option, prefix, out)?;
            }
        }
        if let Some((status, invert)) = self.status {
            write!(out, "{} {prefix}ctstatus", not(invert))?;
            status.write(out)?;
        }
        if let Some((lo, hi, invert)) = self.expires {
            write!(out, "{} {prefix}ctexpire {lo}", not(invert))?;
            if hi != lo {
                write!(out, ":{hi}")?;
            }
        }
        if let Some(original) = self.direction_original {
            write!(out, " {prefix}ctdir {}", if original { "ORIGINAL" } else { "REPLY" })?;
        }
        Ok(())
    }
}

impl Text for Conntrack {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("--", None, out)
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("", Some(cx), out)
    }
}

impl MatchKind for Conntrack {}
