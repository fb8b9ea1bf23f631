//! `-m rateest`: what rate estimators (`-j RATEEST`) say (xt_rateest.c).

use crate::check::{Place, Problem, need};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m rateest`: what rate estimators (`-j RATEEST`) say (xt_rateest.c). Whether there are such is for the commit to find out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rateest {
    /// `--rateest1`, at most 15 bytes.
    pub name: Box<str>,
    /// `--rateest2`: compares two estimators, not one with a rate.
    pub other: Option<Box<str>>,
    /// `--rateest-delta`.
    pub delta: bool,
    /// `--rateest-bps1` and `--rateest-bps2`, in bytes a second.
    pub bps: Option<(u32, u32)>,
    /// `--rateest-pps1` and `--rateest-pps2`.
    pub pps: Option<(u32, u32)>,
    /// How they are compared.
    pub comparison: Option<RateComparison>,
    /// `!`.
    pub invert: bool,
}

/// `--rateest-lt`, `--rateest-gt`, `--rateest-eq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RateComparison {
    /// Equal.
    Equal,
    /// Less.
    Less,
    /// Greater.
    Greater,
}

/// A space and a rate, in bits with a unit, or (`-n`) in bytes.
fn write_rate(bytes: u32, numeric: bool, out: &mut dyn fmt::Write) -> fmt::Result {
    let bits = f64::from(bytes) * 8.0;
    match bits {
        _ if numeric => write!(out, " {bytes}"),
        _ if bits >= 1e9 => write!(out, " {:.0}Mbit", bits / 1e6),
        _ if bits >= 1e6 => write!(out, " {:.0}Kbit", bits / 1e3),
        _ => write!(out, " {bits:.0}bit"),
    }
}

impl Rateest {
    /// Fails without one: legacy's text ends there, and legacy with it (docs/legacy-behaviour.md).
    fn write_comparison(&self, prefix: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(not(self.invert))?;
        let sign = match self.comparison {
            Some(RateComparison::Equal) => "eq",
            Some(RateComparison::Less) => "lt",
            Some(RateComparison::Greater) => "gt",
            None => return Err(fmt::Error),
        };
        write!(out, " {prefix}{sign}")
    }

    /// The options of one kind of rate.
    fn save_rates(&self, kind: &str, rates: (u32, u32), numeric: bool, out: &mut dyn fmt::Write) -> fmt::Result {
        if self.delta {
            write!(out, " --rateest-{kind}1")?;
            write_rate(rates.0, numeric, out)?;
        }
        self.write_comparison("--rateest-", out)?;
        write!(out, " --rateest-{kind}{}", if self.delta { "2" } else { "" })?;
        if self.delta || self.other.is_none() { write_rate(rates.1, numeric, out) } else { Ok(()) }
    }
}

impl Text for Rateest {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(if self.delta { " --rateest-delta" } else { "" })?;
        write!(out, " --rateest{} {}", if self.other.is_some() { "1" } else { "" }, self.name)?;
        if let Some(rates) = self.bps {
            self.save_rates("bps", rates, false, out)?;
        }
        if let Some(rates) = self.pps {
            self.save_rates("pps", rates, true, out)?;
        }
        self.other.as_ref().map_or(Ok(()), |other| write!(out, " --rateest2 {other}"))
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        let absolute = self.other.is_none();
        write!(out, " rateest match {}{}", self.name, if self.delta { " delta" } else { "" })?;
        if let Some((first, second)) = self.bps {
            out.write_str(" bps")?;
            if self.delta {
                write_rate(first, cx.numeric, out)?;
            }
            if absolute {
                write_rate(second, cx.numeric, out)?;
                self.write_comparison("", out)?;
            }
        }
        if let Some((first, second)) = self.pps {
            out.write_str(" pps")?;
            if self.delta {
                write!(out, " {first}")?;
            }
            if absolute {
                self.write_comparison("", out)?;
                write!(out, " {second}")?;
            }
        }
        let Some(other) = &self.other else { return Ok(()) };
        self.write_comparison("", out)?;
        write!(out, " {other}")?;
        if let Some((_, second)) = self.bps {
            out.write_str(" bps")?;
            if self.delta {
                write_rate(second, cx.numeric, out)?;
            }
        }
        if let Some((_, second)) = self.pps {
            out.write_str(" pps")?;
            if self.delta {
                write!(out, " {second}")?;
            }
        }
        Ok(())
    }
}

impl MatchKind for Rateest {
    fn check(&self, _: Place) -> Result<(), Problem> {
        need(self.bps.is_some() || self.pps.is_some(), "neither bytes nor packets are compared")?;
        need(self.comparison.is_some(), "there is no comparison")
    }
}
