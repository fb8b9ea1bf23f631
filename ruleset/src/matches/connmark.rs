//! `-m connmark`: the connection's mark (no connection: no match, `!` or not) AND `mask` equals `value`.

use serde::{Deserialize, Serialize};

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
