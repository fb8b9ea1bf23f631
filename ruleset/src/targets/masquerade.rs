//! `-j MASQUERADE` (xt_MASQUERADE.c).

use crate::addr::PortRange;
use serde::{Deserialize, Serialize};

/// `-j MASQUERADE` (xt_MASQUERADE.c).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Masquerade {
    /// `--to-ports`.
    pub ports: Option<PortRange>,
    /// `--random`.
    pub random: bool,
    /// `--random-fully`.
    pub random_fully: bool,
}
