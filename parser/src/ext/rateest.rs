//! `-j RATEEST`.

use super::{Cx, Extension, Opt, Spec, cut};
use crate::error::ParseError;
use crate::value;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Rateest;

const NAME: u8 = 0;
const INTERVAL: u8 = 1;

static SPEC: Spec = Spec {
    name: "RATEEST",
    options: &[
        Opt::value("rateest-name", NAME).mandatory(),
        Opt::value("rateest-interval", INTERVAL).mandatory(),
        Opt::value("rateest-ewmalog", 2).mandatory(),
    ],
    checked: true,
    help: "\
RATEEST target options:
  --rateest-name name\t\twhat the estimator is called
  --rateest-interval sec\thow often it looks, in seconds
  --rateest-ewmalog value\tover which time it averages
",
};

/// A time in microseconds, with or without a unit.
fn time(text: &str) -> Option<u32> {
    let (number, rest) = value::leading_float(text)?;
    let factor = match rest.to_ascii_lowercase().as_str() {
        "" | "us" | "usec" | "usecs" => 1.0,
        "ms" | "msec" | "msecs" => 1e3,
        "s" | "sec" | "secs" => 1e6,
        _ => return None,
    };
    // As C converts on this machine: what is negative wraps.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as C converts")]
    let time = (number * factor) as i64 as u32;
    Some(time)
}

/// Reads `-j RATEEST`.
#[derive(Debug, Default)]
pub(crate) struct RateestBuilder {
    name: Box<str>,
    interval: u32,
    ewma: u32,
}

impl RateestBuilder {
    /// The two times as the kernel takes them.
    fn logarithms(&self) -> Result<(u8, u8), ParseError> {
        let interval = (0..=5).find(|log| self.interval <= 250_000 << log);
        let Some(interval) = interval else {
            return Err(ParseError::parameter("RATEEST: interval value is too large"));
        };
        let weight = |log: u8| -(1.0 - 1.0 / f64::from(1_u32 << log)).ln();
        let ewma = (1..32).find(|log| f64::from(self.interval) / weight(*log) > f64::from(self.ewma)).unwrap_or(32) - 1;
        if ewma == 0 || ewma >= 31 {
            return Err(ParseError::parameter("RATEEST: ewmalog value is out of range"));
        }
        Ok((interval, ewma))
    }
}

impl Extension for RateestBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let bad = |what: &str| ParseError::Parameter(format!("RATEEST: bad {what} value \"{arg}\""));
        match id {
            NAME => self.name = cut(arg, Rateest::MAX_NAME),
            INTERVAL => self.interval = time(arg).ok_or_else(|| bad("interval"))?,
            _ => self.ewma = time(arg).ok_or_else(|| bad("ewmalog"))?,
        }
        Ok(())
    }

    fn check(&self, _: u32) -> Result<(), ParseError> {
        self.logarithms().map(drop)
    }

    fn finish(&self) -> Result<Target, ParseError> {
        let (interval, ewma) = self.logarithms()?;
        Ok(Target::Rateest(Rateest { name: self.name.clone(), interval, ewma }))
    }
}
