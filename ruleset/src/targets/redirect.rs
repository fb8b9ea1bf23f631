//! `-j REDIRECT` (xt_REDIRECT.c).

use crate::addr::PortRange;
use serde::{Deserialize, Serialize};

/// `-j REDIRECT` (xt_REDIRECT.c).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Redirect {
    /// `--to-ports`.
    pub ports: Option<PortRange>,
    /// `--random`.
    pub random: bool,
}
