//! `-j MARK` (xt_mark.c, rev 2): mark = (mark AND NOT `mask`) XOR `value`.

use serde::{Deserialize, Serialize};

/// `-j MARK` (xt_mark.c, rev 2): mark = (mark AND NOT `mask`) XOR `value`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MarkSet {
    /// Value.
    pub value: u32,
    /// Mask.
    pub mask: u32,
}
