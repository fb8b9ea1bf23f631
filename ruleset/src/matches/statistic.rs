//! `-m statistic` (xt_statistic.c).

use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

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

impl Statistic {
    fn write(&self, prefix: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        let not = if self.invert { " !" } else { "" };
        match self.mode {
            StatisticMode::Random { probability } => {
                let share = f64::from(probability) / f64::from(0x8000_0000_u32);
                write!(out, " {prefix}mode random{not} {prefix}probability {share:.11}")
            }
            StatisticMode::Nth { every, packet } => {
                write!(out, " {prefix}mode nth{not} {prefix}every {}", every.wrapping_add(1))?;
                if packet != 0 || !prefix.is_empty() {
                    write!(out, " {prefix}packet {packet}")?;
                }
                Ok(())
            }
        }
    }
}

impl Text for Statistic {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("--", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" statistic")?;
        self.write("", out)
    }
}

impl MatchKind for Statistic {}
