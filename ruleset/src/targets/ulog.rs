//! `-j ULOG` (ipt_ULOG.c): gone from the kernel since Linux 3.17, so the check refuses it as every kernel does.

use super::TargetKind;
use crate::check::{Place, Problem};
use crate::rule::Rule;
use crate::text::{ListContext, Text, write_string};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j ULOG`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ulog {
    /// `--ulog-nlgroup`, 1 to 32.
    pub group: u8,
    /// `--ulog-prefix`, at most [`Ulog::MAX_PREFIX`] bytes.
    pub prefix: Box<str>,
    /// `--ulog-cprange`.
    pub copy_range: u64,
    /// `--ulog-qthreshold`.
    pub threshold: u64,
}

impl Ulog {
    /// The longest prefix, in bytes; what is longer is cut.
    pub const MAX_PREFIX: usize = 31;
}

impl Default for Ulog {
    fn default() -> Self {
        Self { group: 1, prefix: "".into(), copy_range: 0, threshold: 1 }
    }
}

impl TargetKind for Ulog {
    fn check(&self, _: Place, _: &Rule) -> Result<(), Problem> {
        Err(Problem::Missing("the ULOG target does not exist any more"))
    }
}

/// As legacy prints a number that it keeps in 64 bits.
#[expect(clippy::cast_possible_truncation, reason = "as legacy cuts it")]
const fn shown(number: u64) -> u32 {
    number as u32
}

impl Text for Ulog {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if !self.prefix.is_empty() {
            out.write_str(" --ulog-prefix")?;
            write_string(&self.prefix, out)?;
        }
        if self.group != 1 {
            write!(out, " --ulog-nlgroup {}", self.group)?;
        }
        if self.copy_range != 0 {
            write!(out, " --ulog-cprange {}", shown(self.copy_range))?;
        }
        if self.threshold == 1 { Ok(()) } else { write!(out, " --ulog-qthreshold {}", self.threshold) }
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " ULOG copy_range {} nlgroup {}", shown(self.copy_range), self.group)?;
        if !self.prefix.is_empty() {
            write!(out, " prefix \"{}\"", self.prefix)?;
        }
        write!(out, " queue_threshold {}", self.threshold)
    }
}
