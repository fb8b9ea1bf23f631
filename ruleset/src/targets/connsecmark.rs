//! `-j CONNSECMARK` (xt_CONNSECMARK.c): security marks between packets and connections.

use super::TargetKind;
use crate::check::{Place, Problem};
use crate::rule::Rule;
use crate::table::TableKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j CONNSECMARK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Connsecmark {
    /// `--save`: from the packet to the connection.
    Save,
    /// `--restore`: from the connection to the packet.
    Restore,
}

impl Connsecmark {
    const fn name(self) -> &'static str {
        match self {
            Self::Save => "save",
            Self::Restore => "restore",
        }
    }
}

impl TargetKind for Connsecmark {
    fn check(&self, place: Place, _: &Rule) -> Result<(), Problem> {
        place.in_tables(&[TableKind::Mangle, TableKind::Security], "CONNSECMARK belongs in mangle and security")
    }
}

impl Text for Connsecmark {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " --{}", self.name())
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " CONNSECMARK {}", self.name())
    }
}
