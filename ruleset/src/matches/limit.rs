//! `-m limit` (xt_limit.c).

use serde::{Deserialize, Serialize};

/// `-m limit` (xt_limit.c).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limit {
    /// Cost of one packet in 1/10000 s (`XT_LIMIT_SCALE`), as legacy computes it from the rate.
    pub average: u32,
    /// `--limit-burst`.
    pub burst: u32,
}
