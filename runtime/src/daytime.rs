//! Times of day of what the programs saw.

use crate::sys::clock;
use jiff::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// Turns times of the programs' clock into times of day. Holds until somebody sets the clock or the machine sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Daytime {
    /// Nanoseconds since 1970 when the programs' clock was 0.
    zero: u64,
}

impl Daytime {
    pub(crate) fn now() -> Self {
        // Without a clock everything was just now.
        Self { zero: nanoseconds().saturating_sub(clock::monotonic_ns().unwrap_or_default()) }
    }

    /// Nanoseconds since 1970.
    pub(crate) const fn of(self, time: u64) -> u64 {
        self.zero.saturating_add(time)
    }
}

/// Nanoseconds since 1970.
pub(crate) fn nanoseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// As RFC 3339 writes nanoseconds since 1970, in UTC and to the microsecond.
pub(crate) fn rfc3339(nanoseconds: u64) -> String {
    // Times until the year 2554 fit, and all of them are Timestamps.
    let time = Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or_default();
    format!("{:.6}", time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let of = |seconds: u64| rfc3339(seconds * 1_000_000_000 + 123_456_789);
        assert_eq!(of(0), "1970-01-01T00:00:00.123456Z");
        assert_eq!(of(951_782_399), "2000-02-28T23:59:59.123456Z");
        assert_eq!(of(951_782_400), "2000-02-29T00:00:00.123456Z");
        assert_eq!(of(1_709_251_199), "2024-02-29T23:59:59.123456Z");
        assert_eq!(of(1_735_689_599), "2024-12-31T23:59:59.123456Z");
        assert_eq!(of(4_107_542_400), "2100-03-01T00:00:00.123456Z");
    }

    #[test]
    fn what_was_seen_before_was_before() {
        let (now, seen) = (nanoseconds(), clock::monotonic_ns().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(50));
        let told = Daytime::now().of(seen);
        assert!(now.abs_diff(told) < 20_000_000, "{now} {told}");
    }
}
