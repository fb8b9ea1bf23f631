//! `-m comment`: always matches.

use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m comment`: always matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Comment {
    /// At most 255 bytes (`XT_MAX_COMMENT_LEN` - 1).
    pub text: Box<str>,
}

impl Text for Comment {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" --comment")?;
        crate::text::write_string(&self.text, out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " /* {} */", self.text)
    }
}

impl MatchKind for Comment {}
