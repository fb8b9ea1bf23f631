//! `-m limit` (xt_limit.c).

use crate::check::{Place, Problem};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m limit` (xt_limit.c).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limit {
    /// Cost of one packet in 1/10000 s (`XT_LIMIT_SCALE`), as legacy computes it from the rate.
    pub average: u32,
    /// `--limit-burst`.
    pub burst: u32,
}

/// Units of [`Limit::average`] in a second (`XT_LIMIT_SCALE`).
pub const SCALE: u32 = 10_000;

/// The burst when none is given.
pub const DEFAULT_BURST: u32 = 5;

/// The rate of a cost, in the largest unit that says it well enough.
fn write_rate(cost: u32, out: &mut dyn fmt::Write) -> fmt::Result {
    const UNITS: [(&str, u32); 4] =
        [("day", SCALE * 86400), ("hour", SCALE * 3600), ("min", SCALE * 60), ("sec", SCALE)];
    if cost == 0 {
        return out.write_str(" inf");
    }
    let coarse = |unit: u32| cost > unit || unit / cost < unit % cost;
    let end = UNITS.iter().skip(1).position(|(_, unit)| coarse(*unit)).map_or(UNITS.len(), |index| index + 1);
    let (name, unit) = UNITS[end - 1];
    write!(out, " {}/{name}", unit / cost)
}

impl Text for Limit {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" --limit")?;
        write_rate(self.average, out)?;
        if self.burst != DEFAULT_BURST {
            write!(out, " --limit-burst {}", self.burst)?;
        }
        Ok(())
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" limit: avg")?;
        write_rate(self.average, out)?;
        write!(out, " burst {}", self.burst)
    }
}

impl MatchKind for Limit {
    fn check(&self, _: Place) -> Result<(), Problem> {
        let all = credits(self.average.wrapping_mul(self.burst));
        if self.burst == 0 || all < credits(self.average) { Err(Problem::Range) } else { Ok(()) }
    }
}

/// The kernel's credits for a time in 1/10000 s, cut to 32 bits as there (HZ times credits per jiffy is 32000 for HZ 250 and 1000).
const fn credits(user: u32) -> u32 {
    const CREDITS_PER_SECOND: u32 = 32_000;
    if user > u32::MAX / CREDITS_PER_SECOND {
        (user / 10_000).wrapping_mul(CREDITS_PER_SECOND)
    } else {
        user * CREDITS_PER_SECOND / 10_000
    }
}
