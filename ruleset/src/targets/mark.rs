//! `-j MARK` (xt_mark.c, rev 2): mark = (mark AND NOT `mask`) XOR `value`.

use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j MARK` (xt_mark.c, rev 2): mark = (mark AND NOT `mask`) XOR `value`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MarkSet {
    /// Value.
    pub value: u32,
    /// Mask.
    pub mask: u32,
}

impl Text for MarkSet {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " --set-xmark 0x{:x}/0x{:x}", self.value, self.mask)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" MARK")?;
        crate::text::write_mark_operation(self.value, self.mask, out)
    }
}
