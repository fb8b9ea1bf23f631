//! `-m hashlimit`.

use super::{Cx, Extension, Opt, Spec, bad_value, cut, ranged_u32};
use crate::error::ParseError;
use crate::value::{abbreviates, atoi, atoll, mask_length, unsigned};
use bpftables_ruleset::matches::Hashlimit;
use bpftables_ruleset::matches::hashlimit::{
    BYTES_EXPIRE, BYTES_EXPIRE_BURST, DEFAULT_GC_INTERVAL, MAX_ENTRIES, MODES, SCALE, bytes_to_cost, cost_to_bytes,
};
use bpftables_ruleset::{Family, Match};

const UPTO: u8 = 0;
const ABOVE: u8 = 1;
const MODE: u8 = 3;
const SOURCE_MASK: u8 = 4;
const DESTINATION_MASK: u8 = 5;
const NAME: u8 = 6;
const BURST: u8 = 7;
const SIZE: u8 = 8;
const MAX: u8 = 9;
const GC_INTERVAL: u8 = 10;
const EXPIRE: u8 = 11;
const RATE_MATCH: u8 = 12;

const DEFAULT_BURST: u64 = 5;
const MAX_BURST: u64 = 1_000_000;
/// The longest name, in bytes.
const MAX_NAME: usize = 254;

static SPEC: Spec = Spec {
    name: "hashlimit",
    options: &[
        Opt::value("hashlimit-upto", UPTO).excludes(1 << ABOVE).invertible(),
        Opt::value("hashlimit-above", ABOVE).excludes(1 << UPTO).invertible(),
        Opt::value("hashlimit", UPTO).excludes(1 << ABOVE).invertible(),
        Opt::value("hashlimit-srcmask", SOURCE_MASK),
        Opt::value("hashlimit-dstmask", DESTINATION_MASK),
        Opt::value("hashlimit-burst", BURST),
        Opt::value("hashlimit-htable-size", SIZE),
        Opt::value("hashlimit-htable-max", MAX),
        Opt::value("hashlimit-htable-gcinterval", GC_INTERVAL),
        Opt::value("hashlimit-htable-expire", EXPIRE),
        Opt::value("hashlimit-mode", MODE),
        Opt::value("hashlimit-name", NAME).mandatory(),
        Opt::flag("hashlimit-rate-match", RATE_MATCH),
        Opt::value("hashlimit-rate-interval", 13),
    ],
    checked: true,
    help: "\
hashlimit match options:
  --hashlimit-upto <avg>           at most this rate on average
                                   [packets per second, or with 
                                   /sec /minute /hour /day after it]
  --hashlimit-above <avg>          more than this rate
  --hashlimit-mode <mode>          what makes a group, separated by commas:
                                   dstip,srcip,dstport,srcport (or nothing)
  --hashlimit-srcmask <length>     prefix length of source addresses
  --hashlimit-dstmask <length>     prefix length of destination addresses
  --hashlimit-name <name>          name in /proc/net/ipt_hashlimit
  --hashlimit-burst <num>\t    how many may come at once, 5 if not given
  --hashlimit-htable-size <num>    buckets of the hash table
  --hashlimit-htable-max <num>     entries of the hash table
  --hashlimit-htable-gcinterval    milliseconds between collections of garbage
  --hashlimit-htable-expire        milliseconds after which an idle entry goes
  --hashlimit-rate-match           compare the rate without limiting it
  --hashlimit-rate-interval        seconds over which that is done

",
};

/// Reads `-m hashlimit`.
#[derive(Debug)]
pub(crate) struct HashlimitBuilder {
    info: Hashlimit,
    /// Seconds of the rate's unit.
    unit: u32,
    burst: Option<u64>,
    expire: Option<u32>,
}

impl HashlimitBuilder {
    pub(crate) fn new(family: Family) -> Self {
        let width = family.width();
        let info = Hashlimit {
            above: false,
            bytes: false,
            mode: 0,
            cost: 0,
            burst: DEFAULT_BURST,
            name: Box::default(),
            size: 0,
            max: 0,
            gc_interval: DEFAULT_GC_INTERVAL,
            expire: 0,
            source_mask: width,
            destination_mask: width,
            width,
            rate_match: false,
            interval: 0,
        };
        Self { info, unit: 0, burst: None, expire: None }
    }

    /// A rate in bytes, if it is one.
    fn bytes(&mut self, text: &str) -> Result<bool, ParseError> {
        let Some((before, _)) = text.split_once("b/s").filter(|(before, _)| !before.is_empty()) else {
            return Ok(false);
        };
        let number = atoll(text);
        if number == 0 {
            return Ok(false);
        }
        let cost = bytes_to_cost(number.wrapping_mul(factor(before.chars().next_back()))).filter(|cost| *cost != 0);
        self.info.cost = cost.ok_or_else(|| ParseError::Parameter(format!("Rate too high \"{text}\"")))?;
        self.info.bytes = true;
        self.unit = BYTES_EXPIRE;
        Ok(true)
    }

    fn rate(&mut self, text: &str, option: &str) -> Result<(), ParseError> {
        if self.bytes(text)? {
            return Ok(());
        }
        let units = [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86_400)];
        let unit = match text.split_once('/') {
            None => Some(1),
            Some((_, word)) => {
                units.iter().find(|(unit, _)| !word.is_empty() && abbreviates(word, unit)).map(|(_, seconds)| *seconds)
            }
        };
        let unit: u32 = unit.ok_or_else(|| bad_value("hashlimit", option, text))?;
        let cost = (SCALE * u64::from(unit)).checked_div(atoll(text));
        self.info.cost = cost.ok_or_else(|| bad_value("hashlimit", option, text))?;
        self.unit = unit;
        if self.info.cost == 0 {
            return Err(ParseError::Parameter(format!("Rate too fast \"{text}\"")));
        }
        Ok(())
    }
}

const fn factor(letter: Option<char>) -> u64 {
    match letter {
        Some('m') => 1 << 20,
        Some('k') => 1 << 10,
        _ => 1,
    }
}

fn bad_burst() -> ParseError {
    ParseError::Parameter(format!("bad value for option \"--hashlimit-burst\", or out of range (1-{MAX_BURST})."))
}

fn burst(text: &str) -> Result<u64, ParseError> {
    let read = unsigned(text).ok().filter(|(rest, value)| *value >= 1 && !(rest.is_empty() && *value > MAX_BURST));
    let (rest, value) = read.ok_or_else(bad_burst)?;
    Ok(value.wrapping_mul(factor(rest.chars().next())))
}

fn mode(text: &str) -> Option<u8> {
    text.split([',', '|'])
        .filter(|word| !word.is_empty())
        .try_fold(0, |bits, word| MODES.iter().find(|(name, _)| *name == word).map(|(_, bit)| bits | bit))
}

impl Extension for HashlimitBuilder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let number = |option| ranged_u32("hashlimit", option, arg, 0, u32::MAX);
        let length = |option| mask_length(arg, "hashlimit", option, cx.family);
        match id {
            UPTO | ABOVE => {
                self.info.above |= (id == ABOVE) != invert;
                self.rate(arg, if id == UPTO { "hashlimit-upto" } else { "hashlimit-above" })?;
            }
            MODE => self.info.mode |= mode(arg).ok_or_else(|| bad_value("hashlimit", "hashlimit-mode", arg))?,
            SOURCE_MASK => self.info.source_mask = length("hashlimit-srcmask")?,
            DESTINATION_MASK => self.info.destination_mask = length("hashlimit-dstmask")?,
            NAME if arg.is_empty() => {
                return Err(ParseError::parameter("Argument must have a minimum length of 1 characters\n"));
            }
            NAME => self.info.name = cut(arg, MAX_NAME),
            BURST => self.burst = Some(burst(arg)?),
            SIZE => self.info.size = number("hashlimit-htable-size")?.min(MAX_ENTRIES),
            MAX => self.info.max = number("hashlimit-htable-max")?.min(MAX_ENTRIES),
            GC_INTERVAL => self.info.gc_interval = number("hashlimit-htable-gcinterval")?,
            EXPIRE => self.expire = Some(number("hashlimit-htable-expire")?),
            RATE_MATCH => self.info.rate_match = true,
            _ => {
                let seconds = u32::try_from(atoi(arg)).ok().filter(|seconds| *seconds != 0);
                self.info.interval = seconds.ok_or_else(|| bad_value("hashlimit", "hashlimit-rate-interval", arg))?;
            }
        }
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen & (1 << UPTO | 1 << ABOVE) == 0 {
            return Err(ParseError::parameter("You have to specify --hashlimit"));
        }
        let Some(burst) = self.burst else { return Ok(()) };
        let least = cost_to_bytes(self.info.cost);
        if self.info.bytes && burst < least {
            return Err(ParseError::Parameter(format!("burst cannot be smaller than {least}b")));
        }
        if !self.info.bytes && burst > MAX_BURST {
            return Err(bad_burst());
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        let mut info = self.info.clone();
        info.burst = self.burst.unwrap_or(DEFAULT_BURST);
        let mut expire = self.unit * 1000;
        if info.bytes {
            let rate = cost_to_bytes(info.cost);
            info.burst =
                self.burst.and_then(|burst| burst.checked_next_multiple_of(rate)?.checked_div(rate)).unwrap_or(0);
            if self.burst.is_some() {
                expire = BYTES_EXPIRE_BURST * 1000;
            }
        }
        info.expire = self.expire.unwrap_or(expire);
        if info.rate_match {
            if !info.bytes {
                info.cost /= u64::from(self.unit.max(1));
            }
            if info.interval == 0 {
                info.interval = if info.bytes { 1 } else { self.unit };
            }
        }
        Ok(Match::Hashlimit(Box::new(info)))
    }
}
