//! `-j AUDIT` (xt_AUDIT.c): a record for the audit daemon.

use super::TargetKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j AUDIT`: which kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Audit {
    /// `--type accept`.
    Accept,
    /// `--type drop`.
    Drop,
    /// `--type reject`.
    Reject,
}

impl Audit {
    /// The word after `--type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Drop => "drop",
            Self::Reject => "reject",
        }
    }
}

impl TargetKind for Audit {}

impl Text for Audit {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " --type {}", self.name())
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " AUDIT {}", self.name())
    }
}
