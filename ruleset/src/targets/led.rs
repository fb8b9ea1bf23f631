//! `-j LED` (xt_LED.c): a lamp. The check refuses it as a kernel does that has no such target.

use super::TargetKind;
use crate::check::{Place, Problem};
use crate::rule::Rule;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j LED`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Led {
    /// `--led-trigger-id`, at most [`Led::MAX_ID`] bytes.
    pub id: Box<str>,
    /// `--led-delay` in milliseconds; -1 is for ever.
    pub delay: i32,
    /// `--led-always-blink`.
    pub always_blink: bool,
}

impl Led {
    /// The longest name, in bytes.
    pub const MAX_ID: usize = 16;

    fn write(&self, before: &str, between: char, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " {before}led-trigger-id{between}\"")?;
        for c in self.id.chars() {
            if matches!(c, '"' | '\\') {
                out.write_char('\\')?;
            }
            out.write_char(c)?;
        }
        out.write_char('"')
    }
}

impl TargetKind for Led {
    fn check(&self, _: Place, _: &Rule) -> Result<(), Problem> {
        Err(Problem::Missing("the LED target does not exist here"))
    }
}

impl Text for Led {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("--", ' ', out)?;
        match self.delay {
            -1 => out.write_str(" --led-delay inf")?,
            delay if delay > 0 => write!(out, " --led-delay {delay}")?,
            _ => {}
        }
        if self.always_blink { out.write_str(" --led-always-blink") } else { Ok(()) }
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("", ':', out)?;
        match self.delay {
            -1 => out.write_str(" led-delay:inf")?,
            delay => write!(out, " led-delay:{delay}ms")?,
        }
        if self.always_blink { out.write_str(" led-always-blink") } else { Ok(()) }
    }
}
