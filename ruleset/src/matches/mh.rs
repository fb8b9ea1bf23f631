//! `-m mh`: types of mobility headers (ip6t_mh.c).

use crate::check::{Place, Problem};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not, write_bounds};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m mh`: types of mobility headers (ip6t_mh.c).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mh {
    /// Lowest type.
    pub min: u8,
    /// Highest type, inclusive.
    pub max: u8,
    /// `!`.
    pub invert: bool,
}

impl Default for Mh {
    fn default() -> Self {
        Self { min: 0, max: u8::MAX, invert: false }
    }
}

/// Names of types; the first of equal ones is printed.
pub const TYPE_NAMES: &[(&str, u8)] = &[
    ("binding-refresh-request", 0),
    ("brr", 0),
    ("home-test-init", 1),
    ("hoti", 1),
    ("careof-test-init", 2),
    ("coti", 2),
    ("home-test", 3),
    ("hot", 3),
    ("careof-test", 4),
    ("cot", 4),
    ("binding-update", 5),
    ("bu", 5),
    ("binding-acknowledgement", 6),
    ("ba", 6),
    ("binding-error", 7),
    ("be", 7),
];

impl Text for Mh {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if *self == Self::default() {
            return Ok(());
        }
        write!(out, "{} --mh-type ", not(self.invert))?;
        write_bounds(self.min, self.max, out)
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" mh")?;
        if *self == Self::default() {
            return Ok(());
        }
        write!(out, " {}", if self.invert { "!" } else { "" })?;
        let name = |kind: u8| {
            let named = TYPE_NAMES.iter().find(|(_, number)| !cx.numeric && *number == kind);
            named.map_or_else(|| kind.to_string(), |(name, _)| (*name).to_owned())
        };
        write_bounds(name(self.min), name(self.max), out)
    }
}

impl MatchKind for Mh {
    fn check(&self, place: Place) -> Result<(), Problem> {
        place.needs_protocol(135, "the mh match needs -p mh")
    }
}
