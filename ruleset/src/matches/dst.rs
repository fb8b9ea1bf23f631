//! `-m dst`: a destination options header (ip6t_hbh.c).

use crate::matches::MatchKind;
use crate::matches::hbh::OptionsHeader;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m dst`: a destination options header (ip6t_hbh.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dst {
    /// The header.
    pub header: OptionsHeader,
}

impl Text for Dst {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.header.save("dst", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.header.list("dst", out)
    }
}

impl MatchKind for Dst {}
