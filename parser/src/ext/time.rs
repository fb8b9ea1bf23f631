//! `-m time`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::{c_unsigned, c_unsigned_any};
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Time;
use bpftables_ruleset::matches::time::{ALL_MONTH_DAYS, ALL_WEEK_DAYS, WEEK_DAYS};

const DATE_START: u8 = 0;
const DATE_STOP: u8 = 1;
const TIME_START: u8 = 2;
const TIME_STOP: u8 = 3;
const CONTIGUOUS: u8 = 4;
const MONTH_DAYS: u8 = 5;
const WEEK_DAYS_OPTION: u8 = 6;
const LOCAL: u8 = 7;
const UTC: u8 = 8;
const KERNEL: u8 = 9;

static SPEC: Spec = Spec {
    name: "time",
    options: &[
        Opt::value("datestart", DATE_START),
        Opt::value("datestop", DATE_STOP),
        Opt::value("timestart", TIME_START),
        Opt::value("timestop", TIME_STOP),
        Opt::flag("contiguous", CONTIGUOUS),
        Opt::value("weekdays", WEEK_DAYS_OPTION).invertible(),
        Opt::value("monthdays", MONTH_DAYS).invertible(),
        Opt::flag("localtz", LOCAL).excludes(1 << UTC),
        Opt::flag("utc", UTC).excludes(1 << LOCAL | 1 << KERNEL),
        Opt::flag("kerneltz", KERNEL).excludes(1 << UTC),
    ],
    checked: true,
    help: "\
time match options:
    --datestart time     first and last moment, as ISO 8601 has it:
    --datestop time      YYYY[-MM[-DD[Thh[:mm[:ss]]]]]
    --timestart time     first and last second of a day, hh:mm[:ss],
    --timestop time      from 00:00:00 to 23:59:59
[!] --monthdays value    days of the month, separated by commas
                         (1 to 31; all if not given)
[!] --weekdays value     days of the week, separated by commas
                         (Mon,Tue,Wed,Thu,Fri,Sat,Sun or 1 to 7;
                         all if not given)
    --kerneltz           in the kernel's time zone, not in UTC
",
};

/// Parts of a date after the year: the largest, what ends the part before, and its value if it is missing.
const DATE_PARTS: [(u32, char, u32); 5] = [(12, '-', 1), (31, '-', 1), (23, 'T', 0), (59, ':', 0), (59, ':', 0)];

/// Days from 1970 to a day that need not be one of its month.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Counted in years that begin in March; month 0 is December of the year before.
    let months = year * 12 + month - 3;
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12));
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// `YYYY[-MM[-DD[Thh[:mm[:ss]]]]]`.
fn date(text: &str) -> Result<u32, ParseError> {
    let invalid =
        || ParseError::Parameter(format!("Invalid date \"{text}\" specified. Should be YYYY[-MM[-DD[Thh[:mm[:ss]]]]]"));
    let (year, mut rest) = c_unsigned(text);
    if !(1970..=2038).contains(&year) {
        return Err(invalid());
    }
    let mut parts = DATE_PARTS.map(|(_, _, missing)| missing);
    for (part, (max, separator, _)) in parts.iter_mut().zip(DATE_PARTS) {
        if rest.is_empty() {
            break;
        }
        let value;
        (value, rest) = c_unsigned(rest.strip_prefix(separator).ok_or_else(invalid)?);
        if value > max {
            return Err(invalid());
        }
        *part = value;
    }
    if !rest.is_empty() {
        return Err(invalid());
    }
    let [month, day, hour, minute, second] = parts.map(i64::from);
    let seconds = days(year.into(), month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    u32::try_from(seconds).map_err(|_| ParseError::Other("mktime returned an error".to_owned()))
}

/// `hh:mm[:ss]`.
fn day_time(text: &str) -> Result<u32, ParseError> {
    let invalid = |at: &str| {
        ParseError::Parameter(format!(
            "invalid time \"{at}\" specified, should be hh:mm[:ss] format and within the boundaries"
        ))
    };
    let (hour, rest) = c_unsigned(text);
    let minutes = rest.strip_prefix(':').filter(|_| hour <= 23).ok_or_else(|| invalid(text))?;
    let (minute, rest) = c_unsigned(minutes);
    if minute > 59 || !(rest.is_empty() || rest.starts_with(':')) {
        return Err(invalid(minutes));
    }
    let Some(seconds) = rest.strip_prefix(':') else { return Ok(hour * 3600 + minute * 60) };
    let (second, rest) = c_unsigned(seconds);
    if second > 59 || !rest.is_empty() {
        return Err(invalid(seconds));
    }
    Ok(hour * 3600 + minute * 60 + second)
}

/// The items of a list, each cut to `most` bytes; a last comma ends it.
fn items(text: &str, most: usize) -> impl Iterator<Item = &str> {
    let text = text.strip_suffix(',').unwrap_or(text);
    let list = if text.is_empty() { None } else { Some(text.split(',')) };
    list.into_iter().flatten().map(move |item| &item[..item.floor_char_boundary(most)])
}

fn month_days(text: &str) -> Result<u32, ParseError> {
    items(text, 2).try_fold(0, |days, item| match c_unsigned_any(item) {
        (day @ 0..=31, "") => Ok(days | 1 << day),
        _ => Err(ParseError::Parameter(format!("{item} is not a valid day for --monthdays"))),
    })
}

fn week_days(text: &str) -> Result<u8, ParseError> {
    let mut days = 0u32;
    for item in items(text, 3) {
        match c_unsigned_any(item) {
            (0, "") => return Err(ParseError::parameter("No, the week does NOT begin with Sunday.")),
            (day, "") => days |= 1u32.wrapping_shl(day),
            _ => {
                let named = |name: &&str| item.len() >= 2 && name.starts_with(&item[..item.floor_char_boundary(2)]);
                let day = WEEK_DAYS
                    .iter()
                    .skip(1)
                    .position(named)
                    .ok_or_else(|| ParseError::Parameter(format!("{item} is not a valid day specifier")))?;
                days |= 2 << day;
            }
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "as C stores it in eight bits")]
    Ok(days as u8)
}

impl Extension for Time {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        match id {
            DATE_START => self.date_start = date(arg)?,
            DATE_STOP => self.date_stop = date(arg)?,
            TIME_START => self.day_start = day_time(arg)?,
            TIME_STOP => self.day_stop = day_time(arg)?,
            CONTIGUOUS => self.contiguous = true,
            MONTH_DAYS => self.month_days = month_days(arg)? ^ if invert { ALL_MONTH_DAYS } else { 0 },
            WEEK_DAYS_OPTION => self.week_days = week_days(arg)? ^ if invert { ALL_WEEK_DAYS } else { 0 },
            LOCAL => {
                cx.notices.push(
                    "WARNING: --localtz is being replaced by --kerneltz, since \"local\" is ambiguous. Note the \
                     kernel timezone has caveats - see manpage for details."
                        .to_owned(),
                );
                self.kernel_zone = true;
            }
            KERNEL => self.kernel_zone = true,
            _ => {}
        }
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen & (1 << CONTIGUOUS) != 0 && self.day_start < self.day_stop {
            return Err(ParseError::parameter(
                "time: --contiguous only makes sense when stoptime is smaller than starttime",
            ));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Time(Box::new(self.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_outside_of_their_month_count_on() {
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2000, 2, 29), 11_016);
        assert_eq!(days(2000, 3, 0), 11_016);
        assert_eq!(days(2000, 0, 1), days(1999, 12, 1));
        assert_eq!(days(2038, 2, 31), days(2038, 3, 3));
    }
}
