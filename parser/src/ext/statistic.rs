//! `-m statistic`.

use super::{Cx, Extension, Opt, Spec, ranged_u32};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::{Statistic, StatisticMode};

const MODE: u8 = 0;
const PROBABILITY: u8 = 1;
const EVERY: u8 = 2;
const PACKET: u8 = 3;

static SPEC: Spec = Spec {
    name: "statistic",
    options: &[
        Opt::value("mode", MODE).mandatory(),
        Opt::value("probability", PROBABILITY).invertible().excludes(1 << EVERY | 1 << PACKET),
        Opt::value("every", EVERY).invertible().excludes(1 << PROBABILITY).requires(1 << PACKET),
        Opt::value("packet", PACKET).excludes(1 << PROBABILITY).requires(1 << EVERY),
    ],
    checked: true,
    help: crate::help::STATISTIC,
};

/// Reads `-m statistic`.
#[derive(Debug, Default)]
pub(crate) struct StatisticBuilder {
    nth: bool,
    invert: bool,
    /// `--probability` or `--every`, whichever came last: legacy keeps both in one place, and compares it with the packet's number
    /// before it asks whether the two go together.
    rate: u32,
    packet: u32,
}

/// `lround(2^31 * p)` of a decimal number from 0 to 1.
fn probability(text: &str) -> Option<u32> {
    let trimmed = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let value = match trimmed.strip_prefix("0x").or_else(|| trimmed.strip_prefix("0X")) {
        Some(hex) => f64::from(u32::from_str_radix(hex, 16).ok()?),
        None => trimmed.parse::<f64>().ok()?,
    };
    if !(0.0..=1.0).contains(&value) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 2^31")]
    Some((value * f64::from(0x8000_0000_u32)).round() as u32)
}

impl Extension for StatisticBuilder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        self.invert |= invert;
        match id {
            MODE => {
                self.nth = match arg {
                    "random" => false,
                    "nth" => true,
                    _ => return Err(ParseError::Parameter(format!("Bad mode \"{arg}\""))),
                }
            }
            PROBABILITY => {
                self.rate = probability(arg).ok_or_else(|| super::out_of_range("statistic", "probability", 0, 1))?;
            }
            EVERY => self.rate = ranged_u32("statistic", "every", arg, 1, u32::MAX)? - 1,
            _ => self.packet = ranged_u32("statistic", "packet", arg, 0, u32::MAX)?,
        }
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        let given = |id: u8| seen & (1 << id) != 0;
        // Legacy looks at the mode before it asks whether one was given; random is its zero.
        if !self.nth && !given(PROBABILITY) {
            return Err(ParseError::parameter("--probability must be specified when using random mode"));
        }
        if self.nth && !given(EVERY) && !given(PACKET) {
            return Err(ParseError::parameter("--every and --packet must be specified when using nth mode"));
        }
        if self.packet > self.rate {
            return Err(ParseError::parameter("the --packet p must be 0 <= p <= n-1"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        let mode = if self.nth {
            StatisticMode::Nth { every: self.rate, packet: self.packet }
        } else {
            StatisticMode::Random { probability: self.rate }
        };
        Ok(Match::Statistic(Statistic { mode, invert: self.invert }))
    }
}
