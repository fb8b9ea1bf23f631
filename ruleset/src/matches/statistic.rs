//! `-m statistic` (xt_statistic.c).

use serde::{Deserialize, Serialize};

/// `-m statistic`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Statistic {
    /// How it decides.
    pub mode: StatisticMode,
    /// `!` before `--probability` or `--every`.
    pub invert: bool,
}

/// The two modes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StatisticMode {
    /// Matches when 31 random bits are below `probability` (of 2^31; 0x8000_0000 is 1.0).
    Random {
        /// Of 2^31.
        probability: u32,
    },
    /// Every n-th packet.
    Nth {
        /// `--every` - 1, as the kernel keeps it.
        every: u32,
        /// `--packet`: the count at which the rule begins.
        packet: u32,
    },
}
