//! `-m tcp` (xt_tcpudp.c, struct xt_tcp).

use crate::addr::PortRange;
use crate::check::{Place, Problem};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m tcp` (xt_tcpudp.c, struct xt_tcp).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tcp {
    /// `[!] --sport`; `!` with every port is kept.
    pub sport: PortRange,
    /// `! --sport`.
    pub invert_sport: bool,
    /// `[!] --dport`.
    pub dport: PortRange,
    /// `! --dport`.
    pub invert_dport: bool,
    /// `[!] --tcp-flags MASK COMP` (and `--syn`): the packet's flag byte AND `flags_mask` must equal `flags_cmp`; mask 0: not asked.
    pub flags_mask: u8,
    /// See `flags_mask`.
    pub flags_cmp: u8,
    /// `! --tcp-flags`.
    pub invert_flags: bool,
    /// `[!] --tcp-option N`: the option must be present; 0: not asked.
    pub option: u8,
    /// `! --tcp-option`.
    pub invert_option: bool,
}

/// The flags by name, in the order in which they are printed.
pub const FLAG_NAMES: &[(&str, u8)] =
    &[("FIN", 0x01), ("SYN", 0x02), ("RST", 0x04), ("PSH", 0x08), ("ACK", 0x10), ("URG", 0x20)];

fn write_flags(bits: u8, out: &mut dyn fmt::Write) -> fmt::Result {
    let mut separator = "";
    for (name, bit) in FLAG_NAMES {
        if bits & bit != 0 {
            write!(out, "{separator}{name}")?;
            separator = ",";
        }
    }
    if separator.is_empty() { out.write_str("NONE") } else { Ok(()) }
}

impl Text for Tcp {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let not = |invert: bool| if invert { " !" } else { "" };
        self.sport.save("sport", self.invert_sport, out)?;
        self.dport.save("dport", self.invert_dport, out)?;
        if self.option != 0 || self.invert_option {
            write!(out, "{} --tcp-option {}", not(self.invert_option), self.option)?;
        }
        if self.flags_mask != 0 || self.invert_flags {
            write!(out, "{} --tcp-flags ", not(self.invert_flags))?;
            write_flags(self.flags_mask, out)?;
            out.write_char(' ')?;
            write_flags(self.flags_cmp, out)?;
        }
        Ok(())
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        let not = |invert: bool| if invert { "!" } else { "" };
        out.write_str(" tcp")?;
        cx.write_port_range("spt", self.sport, self.invert_sport, "tcp", out)?;
        cx.write_port_range("dpt", self.dport, self.invert_dport, "tcp", out)?;
        if self.option != 0 || self.invert_option {
            write!(out, " option={}{}", not(self.invert_option), self.option)?;
        }
        if self.flags_mask != 0 || self.invert_flags {
            write!(out, " flags:{}", not(self.invert_flags))?;
            if cx.numeric {
                write!(out, "0x{:02X}/0x{:02X}", self.flags_mask, self.flags_cmp)?;
            } else {
                write_flags(self.flags_mask, out)?;
                out.write_char('/')?;
                write_flags(self.flags_cmp, out)?;
            }
        }
        Ok(())
    }
}

impl MatchKind for Tcp {
    fn check(&self, place: Place) -> Result<(), Problem> {
        place.needs_protocol(6, "the tcp match needs -p tcp")
    }
}
