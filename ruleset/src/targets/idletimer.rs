//! `-j IDLETIMER` (xt_IDLETIMER.c): user space is told when no packet came for a while.

use super::TargetKind;
use crate::check::{Place, Problem, need};
use crate::rule::Rule;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j IDLETIMER`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Idletimer {
    /// `--timeout`, in seconds.
    pub timeout: u32,
    /// `--label`, at most [`Idletimer::MAX_LABEL`] bytes.
    pub label: Box<str>,
    /// `--alarm`: a timer that wakes a sleeping system.
    pub alarm: bool,
}

impl Idletimer {
    /// The longest label, in bytes; what is longer is cut.
    pub const MAX_LABEL: usize = 27;

    fn write(&self, before: &str, between: char, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " {before}timeout{between}{} {before}label{between}{}", self.timeout, self.label)?;
        if self.alarm { write!(out, " {before}alarm") } else { Ok(()) }
    }
}

impl TargetKind for Idletimer {
    fn check(&self, _: Place, _: &Rule) -> Result<(), Problem> {
        let seconds = 1..i32::MAX.unsigned_abs() / 1000;
        need(seconds.contains(&self.timeout), "IDLETIMER's timeout is out of range")?;
        let label = &*self.label;
        let taken = matches!(label, "" | "power" | "subsystem" | "uevent") || label.contains('/');
        need(!taken, "IDLETIMER's label cannot be a file's name")
    }
}

impl Text for Idletimer {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("--", ' ', out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("", ':', out)
    }
}
