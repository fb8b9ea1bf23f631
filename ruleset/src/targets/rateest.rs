//! `-j RATEEST` (xt_RATEEST.c): a moving average of how many packets and bytes come.

use super::TargetKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j RATEEST`. Two rules of one name have to agree on the rest, which is not checked here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rateest {
    /// `--rateest-name`, at most [`Rateest::MAX_NAME`] bytes.
    pub name: Box<str>,
    /// A quarter of a second times two to the power of this is `--rateest-interval`; at most 5.
    pub interval: u8,
    /// The interval times two to the power of this is `--rateest-ewmalog`; 1 to 29.
    pub ewma: u8,
}

impl Rateest {
    /// The longest name, in bytes; what is longer is cut.
    pub const MAX_NAME: usize = 15;

    fn write(&self, before: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        let interval = 250_000_u32 << self.interval;
        write!(out, " {before}name {} {before}interval", self.name)?;
        write_time(interval, out)?;
        write!(out, " {before}ewmalog")?;
        write_time(interval.wrapping_mul(1 << self.ewma), out)
    }
}

/// Microseconds in the largest unit that they fill.
fn write_time(micros: u32, out: &mut dyn fmt::Write) -> fmt::Result {
    match micros {
        1_000_000.. => write!(out, " {:.1}s", f64::from(micros) / 1e6),
        1_000.. => write!(out, " {:.1}ms", f64::from(micros) / 1e3),
        _ => write!(out, " {micros}us"),
    }
}

impl TargetKind for Rateest {}

impl Text for Rateest {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("--rateest-", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("", out)
    }
}
