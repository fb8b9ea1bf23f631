//! `-m quota`: true until so many bytes have passed (xt_quota.c).

use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m quota`: true until so many bytes have passed (xt_quota.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Quota {
    /// Bytes.
    pub bytes: u64,
    /// `!`.
    pub invert: bool,
}

impl Text for Quota {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --quota {}", not(self.invert), self.bytes)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " quota: {} bytes", self.bytes)
    }
}

impl MatchKind for Quota {}
