//! `-m icmp6` (ip6_tables.c, struct ip6t_icmp).

use super::icmp::{TypeName, list_type};
use crate::check::{Place, Problem};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m icmp6` (ip6_tables.c, struct ip6t_icmp). Unlike in IPv4 no type stands for any.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Icmp6 {
    /// The type.
    pub kind: u8,
    /// Lowest code.
    pub code_lo: u8,
    /// Highest code, inclusive.
    pub code_hi: u8,
    /// `! --icmpv6-type`.
    pub invert: bool,
}

/// Names of types in legacy's order, in which the first of equal ones is printed.
pub const TYPE_NAMES: &[TypeName] = &[
    ("destination-unreachable", 1, 0, 255),
    ("no-route", 1, 0, 0),
    ("communication-prohibited", 1, 1, 1),
    ("beyond-scope", 1, 2, 2),
    ("address-unreachable", 1, 3, 3),
    ("port-unreachable", 1, 4, 4),
    ("failed-policy", 1, 5, 5),
    ("reject-route", 1, 6, 6),
    ("packet-too-big", 2, 0, 255),
    ("time-exceeded", 3, 0, 255),
    ("ttl-exceeded", 3, 0, 255),
    ("ttl-zero-during-transit", 3, 0, 0),
    ("ttl-zero-during-reassembly", 3, 1, 1),
    ("parameter-problem", 4, 0, 255),
    ("bad-header", 4, 0, 0),
    ("unknown-header-type", 4, 1, 1),
    ("unknown-option", 4, 2, 2),
    ("echo-request", 128, 0, 255),
    ("ping", 128, 0, 255),
    ("echo-reply", 129, 0, 255),
    ("pong", 129, 0, 255),
    ("mld-listener-query", 130, 0, 255),
    ("mld-listener-report", 131, 0, 255),
    ("mld-listener-done", 132, 0, 255),
    ("mld-listener-reduction", 132, 0, 255),
    ("router-solicitation", 133, 0, 255),
    ("router-advertisement", 134, 0, 255),
    ("neighbour-solicitation", 135, 0, 255),
    ("neighbor-solicitation", 135, 0, 255),
    ("neighbour-advertisement", 136, 0, 255),
    ("neighbor-advertisement", 136, 0, 255),
    ("redirect", 137, 0, 255),
];

impl Text for Icmp6 {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --icmpv6-type {}", if self.invert { " !" } else { "" }, self.kind)?;
        if self.code_lo == 0 && self.code_hi == 255 { Ok(()) } else { write!(out, "/{}", self.code_lo) }
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" ipv6-icmp")?;
        let Self { kind, code_lo, code_hi, invert } = *self;
        list_type(TYPE_NAMES, (kind, code_lo, code_hi), invert, cx, out)
    }
}

impl MatchKind for Icmp6 {
    fn check(&self, place: Place) -> Result<(), Problem> {
        place.needs_protocol(58, "the icmp6 match needs -p ipv6-icmp")
    }
}
