//! `-j CLASSIFY` (xt_CLASSIFY.c): the class that queueing disciplines go by.

use super::TargetKind;
use crate::check::{FWD, OUT, POST, Place, Problem};
use crate::rule::Rule;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j CLASSIFY --set-class MAJOR:MINOR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Classify {
    /// Before the colon.
    pub major: u16,
    /// After it.
    pub minor: u16,
}

impl TargetKind for Classify {
    fn check(&self, place: Place, _: &Rule) -> Result<(), Problem> {
        place.only_hooks(FWD | OUT | POST, "CLASSIFY belongs where packets leave")
    }
}

impl Text for Classify {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " --set-class {:04x}:{:04x}", self.major, self.minor)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " CLASSIFY set {:x}:{:x}", self.major, self.minor)
    }
}
