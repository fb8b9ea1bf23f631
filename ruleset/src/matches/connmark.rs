//! `-m connmark`: the connection's mark (no connection: no match, `!` or not) AND `mask` equals `value`.

use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m connmark`: the connection's mark (no connection: no match, `!` or not) AND `mask` equals `value`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Connmark {
    /// Value.
    pub value: u32,
    /// Mask.
    pub mask: u32,
    /// `!`.
    pub invert: bool,
}

impl Text for Connmark {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --mark", if self.invert { " !" } else { "" })?;
        crate::text::write_value_mask(self.value, self.mask, out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " connmark match {}", if self.invert { "!" } else { "" })?;
        crate::text::write_value_mask(self.value, self.mask, out)
    }
}

impl MatchKind for Connmark {}
