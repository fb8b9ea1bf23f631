//! `-m helper`: the helper that a connection belongs to (xt_helper.c).

use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not, write_string};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m helper`: the helper that a connection belongs to (xt_helper.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Helper {
    /// Its name, at most 29 bytes; empty: any.
    pub name: Box<str>,
    /// `!`.
    pub invert: bool,
}

impl Text for Helper {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --helper", not(self.invert))?;
        write_string(&self.name, out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " helper match {}\"{}\"", if self.invert { "! " } else { "" }, self.name)
    }
}

impl MatchKind for Helper {}
