//! `-m mark`: the packet's mark AND `mask` equals `value`.

use serde::{Deserialize, Serialize};

/// `-m mark`: the packet's mark AND `mask` equals `value`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// Value.
    pub value: u32,
    /// Mask.
    pub mask: u32,
    /// `!`.
    pub invert: bool,
}
