//! `-m ipv6header`: the headers that a packet has (ip6t_ipv6header.c).

use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m ipv6header`: the headers that a packet has (ip6t_ipv6header.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ipv6header {
    /// `--header`, bits of [`HEADERS`].
    pub headers: u8,
    /// The same as a list of the names that the system had when the rule was read.
    pub names: Box<str>,
    /// `!`.
    pub invert: bool,
    /// `--soft`: these among others.
    pub soft: bool,
}

/// The headers in the order in which they are printed: protocol, bit, and legacy's own name.
pub const HEADERS: [(u8, u8, &str); 8] = [
    (0, 128, "hop-by-hop"),
    (60, 64, "dst"),
    (43, 32, "route"),
    (44, 16, "frag"),
    (51, 8, "auth"),
    (50, 4, "esp"),
    (59, 2, "none"),
    (255, 1, "protocol"),
];

impl Text for Ipv6header {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --header {}", not(self.invert), self.names)?;
        out.write_str(if self.soft { " --soft" } else { "" })
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " ipv6header flags:{}", if self.invert { "!" } else { "" })?;
        if cx.numeric {
            write!(out, "0x{:02X}", self.headers)?;
        } else {
            out.write_str(&self.names)?;
        }
        out.write_str(if self.soft { " soft" } else { "" })
    }
}

impl MatchKind for Ipv6header {}
