//! `-m hashlimit`: a limit for each group of connections (xt_hashlimit.c, rev 3).

use crate::check::{Place, Problem, need};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m hashlimit`: a limit for each group of connections (xt_hashlimit.c, rev 3).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hashlimit {
    /// `--hashlimit-above` rather than `--hashlimit-upto`.
    pub above: bool,
    /// The rate is in bytes.
    pub bytes: bool,
    /// `--hashlimit-mode`: [`DESTINATION`], ... as bits.
    pub mode: u8,
    /// What a packet (or 16 bytes) costs.
    pub cost: u64,
    /// `--hashlimit-burst`, of bytes in units of the rate.
    pub burst: u64,
    /// `--hashlimit-name`, at most 254 bytes.
    pub name: Box<str>,
    /// `--hashlimit-htable-size`; 0: the kernel chooses.
    pub size: u32,
    /// `--hashlimit-htable-max`; 0: the kernel chooses.
    pub max: u32,
    /// `--hashlimit-htable-gcinterval`, milliseconds.
    pub gc_interval: u32,
    /// `--hashlimit-htable-expire`, milliseconds.
    pub expire: u32,
    /// `--hashlimit-srcmask`, a length.
    pub source_mask: u8,
    /// `--hashlimit-dstmask`, a length.
    pub destination_mask: u8,
    /// The length of an address of the family.
    pub width: u8,
    /// `--hashlimit-rate-match`.
    pub rate_match: bool,
    /// `--hashlimit-rate-interval`, seconds; 0 without the former.
    pub interval: u32,
}

/// By destination address.
pub const DESTINATION: u8 = 1;
/// By destination port.
pub const DESTINATION_PORT: u8 = 2;
/// By source address.
pub const SOURCE: u8 = 4;
/// By source port.
pub const SOURCE_PORT: u8 = 8;

/// The modes by name, in the order in which they are printed.
pub const MODES: [(&str, u8); 4] =
    [("srcip", SOURCE), ("srcport", SOURCE_PORT), ("dstip", DESTINATION), ("dstport", DESTINATION_PORT)];

/// The most buckets and entries; the kernel takes so many where more are asked for.
pub const MAX_ENTRIES: u32 = 1 << 20;
/// Units of a packet's cost in a second.
pub const SCALE: u64 = 1_000_000;
/// The time between two collections of garbage when none is given.
pub const DEFAULT_GC_INTERVAL: u32 = 1000;
/// Seconds after which bytes are forgotten, without and with a burst.
pub const BYTES_EXPIRE: u32 = 15;
/// See [`BYTES_EXPIRE`].
pub const BYTES_EXPIRE_BURST: u32 = 60;

/// The bytes in a second that a cost means.
#[must_use]
pub const fn cost_to_bytes(cost: u64) -> u64 {
    let rate = match cost {
        0 => u32::MAX as u64,
        cost => u32::MAX as u64 / cost,
    };
    rate.wrapping_sub(1) << 4
}

/// The cost of a rate of bytes in a second; `None` for one that legacy cannot compute.
#[must_use]
pub const fn bytes_to_cost(bytes: u64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, reason = "as C stores it in 32 bits")]
    match ((bytes >> 4) as u32).checked_add(1) {
        Some(rate) => Some((u32::MAX / rate) as u64),
        None => None,
    }
}

/// The rate of a cost in packets; gives the milliseconds of its unit.
fn write_rate(cost: u64, out: &mut dyn fmt::Write) -> Result<u32, fmt::Error> {
    const UNITS: [(&str, u32); 4] = [("day", 86_400), ("hour", 3600), ("min", 60), ("sec", 1)];
    if cost == 0 {
        out.write_str(" inf")?;
        return Ok(0);
    }
    let coarse = |seconds: u32| {
        let unit = SCALE * u64::from(seconds);
        cost > unit || unit / cost < unit % cost
    };
    let end = UNITS.iter().skip(1).position(|(_, seconds)| coarse(*seconds)).map_or(UNITS.len(), |index| index + 1);
    let (name, seconds) = UNITS[end - 1];
    write!(out, " {}/{name}", SCALE * u64::from(seconds) / cost)?;
    Ok(seconds * 1000)
}

/// A rate in bytes and its burst; gives the milliseconds after which they are forgotten.
fn write_bytes(cost: u64, burst: u64, prefix: &str, out: &mut dyn fmt::Write) -> Result<u32, fmt::Error> {
    const UNITS: [(&str, u32); 3] = [("m", 1 << 20), ("k", 1 << 10), ("", 1)];
    let rate = cost_to_bytes(cost);
    let exact = |unit: u32| bytes_to_cost(rate & u64::from(!(unit - 1))) == Some(cost);
    let pick = |holds: &dyn Fn(u32) -> bool| *UNITS[..2].iter().find(|(_, unit)| holds(*unit)).unwrap_or(&UNITS[2]);
    let (name, unit) = pick(&|unit| rate >= u64::from(unit) && exact(unit));
    write!(out, " {}{name}b/s", rate / u64::from(unit))?;
    if burst == 0 {
        return Ok(BYTES_EXPIRE * 1000);
    }
    let bytes = rate.wrapping_mul(burst);
    let (name, unit) = pick(&|unit| bytes >= u64::from(unit));
    write!(out, " {prefix}burst {}{name}b", bytes / u64::from(unit))?;
    Ok(BYTES_EXPIRE_BURST * 1000)
}

impl Hashlimit {
    fn write_mode(&self, label: &str, separator: char, out: &mut dyn fmt::Write) -> fmt::Result {
        if self.mode == 0 {
            return Ok(());
        }
        write!(out, " {label}")?;
        let mut next = ' ';
        for (name, _) in MODES.iter().filter(|(_, bit)| self.mode & bit != 0) {
            write!(out, "{next}{name}")?;
            next = separator;
        }
        Ok(())
    }

    fn write_rest(&self, quantum: u32, prefix: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        let numbers = [
            ("htable-size", self.size, 0),
            ("htable-max", self.max, 0),
            ("htable-gcinterval", self.gc_interval, DEFAULT_GC_INTERVAL),
            ("htable-expire", self.expire, quantum),
            ("srcmask", self.source_mask.into(), self.width.into()),
            ("dstmask", self.destination_mask.into(), self.width.into()),
        ];
        for (option, number, _) in numbers.iter().filter(|(_, number, usual)| number != usual) {
            write!(out, " {prefix}{option} {number}")?;
        }
        if !self.rate_match {
            return Ok(());
        }
        write!(out, " {prefix}rate-match")?;
        if self.interval == 1 { Ok(()) } else { write!(out, " {prefix}rate-interval {}", self.interval) }
    }
}

impl Text for Hashlimit {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(if self.above { " --hashlimit-above" } else { " --hashlimit-upto" })?;
        let quantum = if self.bytes {
            write_bytes(self.cost, self.burst, "--hashlimit-", out)?
        } else {
            let quantum = write_rate(self.cost, out)?;
            write!(out, " --hashlimit-burst {}", self.burst)?;
            quantum
        };
        self.write_mode("--hashlimit-mode", ',', out)?;
        write!(out, " --hashlimit-name {}", self.name)?;
        self.write_rest(quantum, "--hashlimit-", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(if self.above { " limit: above" } else { " limit: up to" })?;
        let quantum = if self.bytes {
            write_bytes(self.cost, self.burst, "", out)?
        } else {
            let times = if self.interval == 0 { 1 } else { self.interval.into() };
            let quantum = write_rate(self.cost.wrapping_mul(times), out)?;
            write!(out, " burst {}", self.burst)?;
            quantum
        };
        self.write_mode("mode", '-', out)?;
        self.write_rest(quantum, "", out)
    }
}

/// The kernel's credits for a time (HZ times credits per jiffy is the same for HZ 250 and 1000).
const fn credits(user: u64) -> u64 {
    user.wrapping_mul(137_438_953)
}

impl MatchKind for Hashlimit {
    fn check(&self, _: Place) -> Result<(), Problem> {
        need(self.gc_interval != 0 && self.expire != 0, "no time in which entries are collected")?;
        need(self.source_mask <= self.width && self.destination_mask <= self.width, "a mask with holes")?;
        let name = &*self.name;
        need(name != "." && name != ".." && !name.contains('/'), "the name cannot be a file's")?;
        if self.rate_match {
            if self.cost == 0 || self.cost > u32::MAX.into() {
                return Err(Problem::Range);
            }
            return Ok(());
        }
        let overflows = credits(self.cost.wrapping_mul(self.burst)) < credits(self.cost);
        if !self.bytes && (self.burst == 0 || overflows) { Err(Problem::Range) } else { Ok(()) }
    }
}
