//! `-m time`: when a packet comes (xt_time.c).

use crate::check::{Place, Problem, need};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m time`: when a packet comes (xt_time.c).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Time {
    /// `--datestart`, seconds since 1970; 0: none.
    pub date_start: u32,
    /// `--datestop`; [`NO_DATE_STOP`]: none.
    pub date_stop: u32,
    /// `--timestart`, seconds since midnight.
    pub day_start: u32,
    /// `--timestop`.
    pub day_stop: u32,
    /// `--monthdays`: bit n is day n. Already without those after `!`.
    pub month_days: u32,
    /// `--weekdays`: bits 1 (Monday) to 7.
    pub week_days: u8,
    /// `--kerneltz`.
    pub kernel_zone: bool,
    /// `--contiguous`.
    pub contiguous: bool,
}

/// No end.
pub const NO_DATE_STOP: u32 = i32::MAX as u32;
/// The last second of a day.
pub const LAST_SECOND: u32 = 24 * 60 * 60 - 1;
/// Every day of a month.
pub const ALL_MONTH_DAYS: u32 = 0xffff_fffe;
/// Every day of a week.
pub const ALL_WEEK_DAYS: u8 = 0xfe;

/// The days of a week by bit; the first is none.
pub const WEEK_DAYS: [&str; 8] = ["", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

impl Default for Time {
    fn default() -> Self {
        Self {
            date_start: 0,
            date_stop: NO_DATE_STOP,
            day_start: 0,
            day_stop: LAST_SECOND,
            month_days: ALL_MONTH_DAYS,
            week_days: ALL_WEEK_DAYS,
            kernel_zone: false,
            contiguous: false,
        }
    }
}

/// Year, month and day of a number of days since 1970 (the proleptic Gregorian calendar).
pub(crate) fn civil(days: u32) -> (u32, u32, u32) {
    // Counted from the first of March of year 0, so that a leap day ends a year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + u32::from(month <= 2), month, day)
}

fn write_date(date: u32, separator: char, out: &mut dyn fmt::Write) -> fmt::Result {
    let (year, month, day) = civil(date / 86_400);
    let (hour, minute, second) = clock(date % 86_400);
    write!(out, " {year:04}-{month:02}-{day:02}{separator}{hour:02}:{minute:02}:{second:02}")
}

const fn clock(seconds: u32) -> (u32, u32, u32) {
    (seconds / 3600, seconds / 60 % 60, seconds % 60)
}

const fn ordinal(day: u32) -> &'static str {
    match day % 10 {
        1 => "st",
        2 => "nd",
        3 => "rd",
        _ => "th",
    }
}

impl Time {
    fn write_day_times(&self, start: &str, stop: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        if self.day_start == 0 && self.day_stop == LAST_SECOND {
            return Ok(());
        }
        for (label, (hour, minute, second)) in [(start, clock(self.day_start)), (stop, clock(self.day_stop))] {
            write!(out, " {label} {hour:02}:{minute:02}:{second:02}")?;
        }
        Ok(())
    }

    fn write_week_days(&self, label: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        if self.week_days == ALL_WEEK_DAYS {
            return Ok(());
        }
        write!(out, " {label} ")?;
        let mut separator = "";
        for (_, name) in WEEK_DAYS.iter().enumerate().skip(1).filter(|(day, _)| self.week_days & (1 << day) != 0) {
            write!(out, "{separator}{name}")?;
            separator = ",";
        }
        Ok(())
    }

    fn write_month_days(&self, label: &str, ordinals: bool, out: &mut dyn fmt::Write) -> fmt::Result {
        if self.month_days == ALL_MONTH_DAYS {
            return Ok(());
        }
        write!(out, " {label} ")?;
        let mut separator = "";
        for day in (1..=31).filter(|day| self.month_days & (1 << day) != 0) {
            write!(out, "{separator}{day}{}", if ordinals { ordinal(day) } else { "" })?;
            separator = ",";
        }
        Ok(())
    }
}

impl Text for Time {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write_day_times("--timestart", "--timestop", out)?;
        self.write_month_days("--monthdays", false, out)?;
        self.write_week_days("--weekdays", out)?;
        // Legacy prints the end also where there is none.
        for (option, date) in [("datestart", self.date_start), ("datestop", self.date_stop)] {
            if date != 0 {
                write!(out, " --{option}")?;
                write_date(date, 'T', out)?;
            }
        }
        out.write_str(if self.kernel_zone { " --kerneltz" } else { "" })?;
        out.write_str(if self.contiguous { " --contiguous" } else { "" })
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" TIME")?;
        self.write_day_times("from", "to", out)?;
        self.write_week_days("on", out)?;
        self.write_month_days("on", true, out)?;
        if self.date_start != 0 {
            out.write_str(" starting from")?;
            write_date(self.date_start, ' ', out)?;
        }
        if self.date_stop != NO_DATE_STOP {
            out.write_str(" until date")?;
            if self.date_stop != 0 {
                write_date(self.date_stop, ' ', out)?;
            }
        }
        out.write_str(if self.kernel_zone { "" } else { " UTC" })?;
        out.write_str(if self.contiguous { " contiguous" } else { "" })
    }
}

impl MatchKind for Time {
    fn check(&self, _: Place) -> Result<(), Problem> {
        let over_midnight = !self.contiguous || self.day_start >= self.day_stop;
        need(over_midnight, "--contiguous belongs to a span over midnight")
    }
}
