//! The kernel's clock that programs read, and what it adds to its clocks.

use std::io;

/// Differences between clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Seconds that TAI is ahead of UTC: 0 where no time service said otherwise.
    pub tai_offset: i32,
    /// Minutes that the kernel's time zone is west of UTC.
    pub minutes_west: i32,
}

/// As it is now. What can't be read is 0, the kernel's default.
pub fn read() -> Clock {
    let mut clock = Clock::default();
    let mut timex = std::mem::MaybeUninit::<libc::timex>::zeroed();
    #[expect(unsafe_code, reason = "adjtimex(2) has no safe wrapper")]
    // SAFETY: without modes it only reads; the kernel fills the struct, which is zeroed before.
    unsafe {
        if libc::adjtimex(timex.as_mut_ptr()) >= 0 {
            clock.tai_offset = timex.assume_init_ref().tai;
        }
    }
    let mut zone = [0i32; 2];
    #[expect(unsafe_code, reason = "libc's gettimeofday(3) takes no time zone everywhere")]
    // SAFETY: a timezone is two ints, which the kernel fills.
    let result = unsafe { libc::syscall(libc::SYS_gettimeofday, 0usize, zone.as_mut_ptr()) };
    if result == 0 {
        clock.minutes_west = zone[0];
    }
    clock
}

/// CLOCK_MONOTONIC in nanoseconds, as programs tell it.
///
/// # Errors
/// What clock_gettime(2) says.
pub fn monotonic_ns() -> io::Result<u64> {
    nanoseconds(libc::CLOCK_MONOTONIC)
}

/// What a clock says, in nanoseconds.
pub(super) fn nanoseconds(clock: libc::clockid_t) -> io::Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[expect(unsafe_code, reason = "clock_gettime(2) has no safe wrapper")]
    // SAFETY: the kernel fills the struct.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tai_is_as_far_ahead_as_said() {
        let mut times = [[0i64; 2]; 2];
        for (time, id) in times.iter_mut().zip([libc::CLOCK_REALTIME, libc::CLOCK_TAI]) {
            let mut spec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            #[expect(unsafe_code, reason = "clock_gettime(2) has no safe wrapper")]
            // SAFETY: the kernel fills the struct.
            let result = unsafe { libc::clock_gettime(id, &raw mut spec) };
            assert_eq!(result, 0);
            *time = [spec.tv_sec, spec.tv_nsec];
        }
        let nanoseconds = |[seconds, rest]: [i64; 2]| seconds * 1_000_000_000 + rest;
        let ahead = nanoseconds(times[1]) - nanoseconds(times[0]);
        assert_eq!(ahead / 1_000_000_000, i64::from(read().tai_offset));
    }
}
