//! `-j TRACE` (xt_TRACE.c): whatever becomes of the packet in netfilter from here on is logged, rule by rule.

use super::TargetKind;
use crate::check::{Place, Problem};
use crate::rule::Rule;
use crate::table::TableKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j TRACE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trace;

impl TargetKind for Trace {
    fn check(&self, place: Place, _: &Rule) -> Result<(), Problem> {
        place.in_tables(&[TableKind::Raw], "TRACE belongs in the raw table")
    }
}

impl Text for Trace {
    fn save(&self, _out: &mut dyn fmt::Write) -> fmt::Result {
        Ok(())
    }

    fn list(&self, _cx: &ListContext<'_>, _out: &mut dyn fmt::Write) -> fmt::Result {
        Ok(())
    }
}
