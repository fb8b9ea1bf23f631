//! `-m eui64`: the source address is made of the link layer's (ip6t_eui64.c).

use crate::check::{FWD, IN, PRE, Place, Problem};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m eui64`: the source address is made of the link layer's (ip6t_eui64.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Eui64;

impl Text for Eui64 {
    fn save(&self, _out: &mut dyn fmt::Write) -> fmt::Result {
        Ok(())
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        // What legacy prints of a match that says nothing of itself.
        out.write_str("eui64 ")
    }
}

impl MatchKind for Eui64 {
    fn check(&self, place: Place) -> Result<(), Problem> {
        place.only_hooks(PRE | IN | FWD, "eui64 belongs where packets have come in")
    }
}
