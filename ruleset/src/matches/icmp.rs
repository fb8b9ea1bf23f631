//! `-m icmp` (ip_tables.c, struct ipt_icmp).

use crate::check::{Place, Problem};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m icmp` (ip_tables.c, struct ipt_icmp).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Icmp {
    /// The type; 255 is any.
    pub kind: u8,
    /// Lowest code.
    pub code_lo: u8,
    /// Highest code, inclusive.
    pub code_hi: u8,
    /// `! --icmp-type`.
    pub invert: bool,
}

/// A name of a type: name, type, lowest and highest code.
pub type TypeName = (&'static str, u8, u8, u8);

/// Names of types in legacy's order, in which the first of equal ones is printed.
pub const TYPE_NAMES: &[TypeName] = &[
    ("any", 255, 0, 255),
    ("echo-reply", 0, 0, 255),
    ("pong", 0, 0, 255),
    ("destination-unreachable", 3, 0, 255),
    ("network-unreachable", 3, 0, 0),
    ("host-unreachable", 3, 1, 1),
    ("protocol-unreachable", 3, 2, 2),
    ("port-unreachable", 3, 3, 3),
    ("fragmentation-needed", 3, 4, 4),
    ("source-route-failed", 3, 5, 5),
    ("network-unknown", 3, 6, 6),
    ("host-unknown", 3, 7, 7),
    ("network-prohibited", 3, 9, 9),
    ("host-prohibited", 3, 10, 10),
    ("TOS-network-unreachable", 3, 11, 11),
    ("TOS-host-unreachable", 3, 12, 12),
    ("communication-prohibited", 3, 13, 13),
    ("host-precedence-violation", 3, 14, 14),
    ("precedence-cutoff", 3, 15, 15),
    ("source-quench", 4, 0, 255),
    ("redirect", 5, 0, 255),
    ("network-redirect", 5, 0, 0),
    ("host-redirect", 5, 1, 1),
    ("TOS-network-redirect", 5, 2, 2),
    ("TOS-host-redirect", 5, 3, 3),
    ("echo-request", 8, 0, 255),
    ("ping", 8, 0, 255),
    ("router-advertisement", 9, 0, 255),
    ("router-solicitation", 10, 0, 255),
    ("time-exceeded", 11, 0, 255),
    ("ttl-exceeded", 11, 0, 255),
    ("ttl-zero-during-transit", 11, 0, 0),
    ("ttl-zero-during-reassembly", 11, 1, 1),
    ("parameter-problem", 12, 0, 255),
    ("ip-header-bad", 12, 0, 0),
    ("required-option-missing", 12, 1, 1),
    ("timestamp-request", 13, 0, 255),
    ("timestamp-reply", 14, 0, 255),
    ("address-mask-request", 17, 0, 255),
    ("address-mask-reply", 18, 0, 255),
];

impl Text for Icmp {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if self.invert {
            out.write_str(" !")?;
        }
        let all_codes = self.code_lo == 0 && self.code_hi == 255;
        if self.kind == 255 && all_codes {
            return out.write_str(" --icmp-type any");
        }
        write!(out, " --icmp-type {}", self.kind)?;
        if !all_codes {
            write!(out, "/{}", self.code_lo)?;
        }
        Ok(())
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" icmp")?;
        let Self { kind, code_lo, code_hi, invert } = *self;
        list_type(TYPE_NAMES, (kind, code_lo, code_hi), invert, cx, out)
    }
}

impl MatchKind for Icmp {
    fn check(&self, place: Place) -> Result<(), Problem> {
        place.needs_protocol(1, "the icmp match needs -p icmp")
    }
}

/// A type and its codes in a listing, by the first of `names` that has both, unless `-n`.
pub(super) fn list_type(
    names: &[TypeName],
    (kind, code_lo, code_hi): (u8, u8, u8),
    invert: bool,
    cx: &ListContext<'_>,
    out: &mut dyn fmt::Write,
) -> fmt::Result {
    let named = names.iter().find(|entry| (entry.1, entry.2, entry.3) == (kind, code_lo, code_hi));
    if let Some(named) = named.filter(|_| !cx.numeric) {
        return write!(out, " {}{}", if invert { "!" } else { "" }, named.0);
    }
    write!(out, "{}type {kind}", if invert { " !" } else { "" })?;
    if code_lo == code_hi {
        write!(out, " code {code_lo}")?;
    } else if code_lo != 0 || code_hi != 255 {
        write!(out, " codes {code_lo}-{code_hi}")?;
    }
    Ok(())
}
