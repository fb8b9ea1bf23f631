//! `-m limit`.

use super::{Cx, Extension, Opt, Spec, ranged_u32};
use crate::error::ParseError;
use crate::value::{abbreviates, atoi, complete};
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Limit;
use bpftables_ruleset::matches::limit::{DEFAULT_BURST, SCALE};
use nom::bytes::complete::take_till;
use nom::character::complete::char;
use nom::combinator::{map_opt, opt, rest};
use nom::sequence::preceded;

const LIMIT: u8 = 0;
const BURST: u8 = 1;

static SPEC: Spec = Spec {
    name: "limit",
    options: &[Opt::value("limit", LIMIT), Opt::value("limit-burst", BURST)],
    checked: true,
    help: crate::help::LIMIT,
};

/// Reads `-m limit`.
#[derive(Debug)]
pub(crate) struct LimitBuilder {
    average: u32,
    burst: u32,
}

impl Default for LimitBuilder {
    fn default() -> Self {
        Self { average: SCALE * 3600 / 3, burst: DEFAULT_BURST }
    }
}

/// The cost of a packet at a rate such as `5/minute`.
fn cost(text: &str) -> Result<u32, ParseError> {
    let bad = || ParseError::Parameter(format!("bad rate \"{text}\"'"));
    let units = [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86400)];
    let unit = map_opt(rest, |unit: &str| {
        units.iter().find(|(word, _)| !unit.is_empty() && abbreviates(unit, word)).map(|(_, seconds)| *seconds)
    });
    let rate = (take_till(|c| c == '/'), opt(preceded(char('/'), unit)));
    let (number, seconds) = complete(rate, text, bad)?;
    #[expect(clippy::cast_sign_loss, reason = "legacy keeps the number as it is in an unsigned one")]
    let rate = atoi(number) as u32;
    match (SCALE * seconds.unwrap_or(1)).checked_div(rate) {
        None => Err(bad()),
        Some(0) => Err(ParseError::Parameter(format!("Rate too fast \"{text}\""))),
        Some(cost) => Ok(cost),
    }
}

impl Extension for LimitBuilder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        if id == LIMIT {
            self.average = cost(arg)?;
        } else {
            self.burst = ranged_u32("limit", "limit-burst", arg, 0, 10_000)?;
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Limit(Limit { average: self.average, burst: self.burst }))
    }
}
