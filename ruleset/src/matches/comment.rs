//! `-m comment`: always matches.

use serde::{Deserialize, Serialize};

/// `-m comment`: always matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Comment {
    /// At most 255 bytes (`XT_MAX_COMMENT_LEN` - 1).
    pub text: Box<str>,
}
