//! `-m dccp`: ports, packet types and options of DCCP (xt_dccp.c).

use crate::addr::PortRange;
use crate::check::{Place, Problem};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not, write_bounds};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m dccp`: ports, packet types and options of DCCP (xt_dccp.c). Each may stand after `!`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dccp {
    /// `--sport`.
    pub sport: Option<(PortRange, bool)>,
    /// `--dport`.
    pub dport: Option<(PortRange, bool)>,
    /// `--dccp-types`, bit by bit.
    pub types: Option<(u16, bool)>,
    /// `--dccp-option`.
    pub option: Option<(u8, bool)>,
}

/// The packet types by number. The last stands for all above.
pub const TYPE_NAMES: [&str; 11] =
    ["REQUEST", "RESPONSE", "DATA", "ACK", "DATAACK", "CLOSEREQ", "CLOSE", "RESET", "SYNC", "SYNCACK", "INVALID"];

fn write_types(types: u16, numeric: bool, out: &mut dyn fmt::Write) -> fmt::Result {
    let mut separator = ' ';
    // By name, all above the last are one.
    let end = if numeric { 16 } else { TYPE_NAMES.len() };
    if types == 0 {
        return out.write_char(' ');
    }
    for kind in (0..end).filter(|kind| types & (1 << kind) != 0) {
        out.write_char(separator)?;
        separator = ',';
        match TYPE_NAMES.get(kind) {
            Some(name) if !numeric => out.write_str(name)?,
            _ => write!(out, "{kind}")?,
        }
    }
    Ok(())
}

impl Text for Dccp {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for (ports, option) in [(self.sport, "sport"), (self.dport, "dport")] {
            if let Some((range, invert)) = ports {
                write!(out, "{} --{option} ", not(invert))?;
                write_bounds(range.lo, range.hi, out)?;
            }
        }
        if let Some((types, invert)) = self.types {
            write!(out, "{} --dccp-types", not(invert))?;
            write_types(types, false, out)?;
        }
        if let Some((option, invert)) = self.option {
            write!(out, "{} --dccp-option {option}", not(invert))?;
        }
        Ok(())
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" dccp")?;
        for (ports, label) in [(self.sport, "spt"), (self.dport, "dpt")] {
            if let Some((range, invert)) = ports {
                cx.write_port_range(label, range, invert, "dccp", out)?;
            }
        }
        if let Some((types, invert)) = self.types {
            out.write_str(not(invert))?;
            write_types(types, cx.numeric, out)?;
        }
        if let Some((option, invert)) = self.option {
            write!(out, " option={}{option}", if invert { "!" } else { "" })?;
        }
        Ok(())
    }
}

impl MatchKind for Dccp {
    fn check(&self, place: Place) -> Result<(), Problem> {
        place.needs_protocol(33, "the dccp match needs -p dccp")
    }
}
