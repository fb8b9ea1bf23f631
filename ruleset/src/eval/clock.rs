//! `-m time` (`xt_time.c`).

use crate::matches::Time;
use crate::matches::time::{ALL_MONTH_DAYS, civil};

const DAY: i64 = 86_400;

/// Whether the match holds at so many seconds since 1970 (UTC), where the kernel's time zone is so many minutes west of it.
#[must_use]
pub fn holds(m: &Time, seconds: i64, minutes_west: i32) -> bool {
    let mut stamp = if m.kernel_zone { seconds - 60 * i64::from(minutes_west) } else { seconds };
    if !(i64::from(m.date_start)..=i64::from(m.date_stop)).contains(&stamp) {
        return false;
    }
    let (of_day, start, stop) = (stamp.rem_euclid(DAY), i64::from(m.day_start), i64::from(m.day_stop));
    if start < stop {
        if of_day < start || of_day > stop {
            return false;
        }
    } else {
        if of_day < start && of_day > stop {
            return false;
        }
        // The days are those on which the span began.
        if m.contiguous && of_day <= stop {
            stamp -= DAY;
        }
    }
    let days = stamp.div_euclid(DAY);
    // 1970 began with a Thursday.
    let week_day = (days + 3).rem_euclid(7) + 1;
    if m.week_days >> week_day & 1 == 0 {
        return false;
    }
    let (_, _, month_day) = civil(days.try_into().unwrap_or(0));
    m.month_days == ALL_MONTH_DAYS || m.month_days >> month_day & 1 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-26, a Thursday, 00:00.
    const THURSDAY: i64 = 1_795_651_200;

    #[test]
    fn days_and_times_are_those_of_the_calendar() {
        let at = |m: &Time, time| holds(m, THURSDAY + time, 0);
        let thursdays = Time { week_days: 1 << 4, ..Time::default() };
        assert!(at(&thursdays, 0) && at(&thursdays, DAY - 1) && !at(&thursdays, DAY) && !at(&thursdays, -1));
        let days = Time { month_days: 1 << 26, ..Time::default() };
        assert!(at(&days, 0) && !at(&days, DAY) && !at(&days, -1));
        let leap = Time { month_days: 1 << 29, ..Time::default() };
        assert!(holds(&leap, 951_782_400, 0) && !holds(&leap, 951_868_800, 0), "2000-02-29");
        let office = Time { day_start: 9 * 3600, day_stop: 17 * 3600, ..Time::default() };
        assert!(at(&office, 9 * 3600) && at(&office, 17 * 3600) && !at(&office, 17 * 3600 + 1) && !at(&office, 0));
        let dates = Time { date_start: THURSDAY as u32, date_stop: (THURSDAY + 5) as u32, ..Time::default() };
        assert!(at(&dates, 0) && at(&dates, 5) && !at(&dates, 6) && !at(&dates, -1));
    }

    #[test]
    fn a_span_over_midnight_belongs_to_its_first_day_if_contiguous() {
        let night = Time { day_start: 22 * 3600, day_stop: 6 * 3600, week_days: 1 << 4, ..Time::default() };
        let contiguous = Time { contiguous: true, ..night.clone() };
        let (early, noon, late, next) = (3600, 12 * 3600, 23 * 3600, DAY + 3600);
        let seen = |m: &Time| [early, noon, late, next].map(|time| holds(m, THURSDAY + time, 0));
        assert_eq!(seen(&night), [true, false, true, false]);
        assert_eq!(seen(&contiguous), [false, false, true, true]);
    }

    #[test]
    fn the_kernel_s_zone_counts_where_it_is_asked_for() {
        let m = Time { week_days: 1 << 3, kernel_zone: true, ..Time::default() };
        assert!(holds(&m, THURSDAY + 3600, 120) && !holds(&m, THURSDAY + 3600, -120));
        assert!(!holds(&Time { kernel_zone: false, ..m }, THURSDAY + 3600, 120));
    }
}
