//! Proof that every packet that was under way has passed.
//!
//! Programs at tcx run with bottom halves off from their first instruction to their last. Unless the kernel is a PREEMPT_RT one, such a
//! stretch is left by no switch to another thread. So once a thread was seen to run on a CPU, every program that had begun on that
//! CPU before has ended; and once it was seen on all of them, every program has. That takes some tens of microseconds a CPU,
//! where the kernel's own grace period takes some ten milliseconds.
//!
//! This holds for tcx programs only. A program of another kind may be preempted; what it reads of an image counts only if the live slot
//! is the same afterwards (the guard at netfilter's hooks does so).

use std::ffi::CStr;
use std::io;
use std::sync::mpsc;
use std::time::Duration;
use zerocopy::{FromBytes, IntoBytes};

/// With more CPUs than this the kernel's grace period is the shorter way.
const MAX_CPUS: usize = 256;

/// A thread on its way to every CPU.
#[derive(Debug)]
pub struct Passing(mpsc::Receiver<bool>);

impl Passing {
    /// Sends a thread to each of the CPUs below `possible`.
    #[must_use]
    pub fn begin(possible: usize) -> Self {
        let (done, passing) = mpsc::channel();
        if possible <= MAX_CPUS && programs_are_never_preempted() {
            // A thread of its own, so that the caller keeps its CPUs, and need not wait for one that others do not yield.
            let visit = move || done.send((0..possible).all(|cpu| visited(cpu) || is_offline(cpu)));
            let _ = std::thread::Builder::new().name("grace".to_owned()).spawn(visit);
        }
        Self(passing)
    }

    /// Waits for the thread; true if all programs at tcx that began before it did have ended. False: nothing is known, for a CPU that
    /// is online is barred to this process or too busy, or programs can be preempted.
    #[must_use]
    pub fn passed(self, at_most: Duration) -> bool {
        self.0.recv_timeout(at_most).unwrap_or(false)
    }
}

/// Whether the calling thread moved to `cpu` and was seen there.
fn visited(cpu: usize) -> bool {
    let mut mask = vec![0_u64; cpu / 64 + 1];
    mask[cpu / 64] = 1 << (cpu % 64);
    #[expect(unsafe_code, reason = "sched_setaffinity(2) has no safe wrapper for any number of CPUs")]
    // SAFETY: the kernel reads as many bytes as the slice has.
    let set = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask.as_slice()), mask.as_ptr()) };
    set == 0 && current_cpu() == Some(cpu)
}

/// Where the calling thread runs, as the kernel says.
fn current_cpu() -> Option<usize> {
    let mut cpu = 0_u32;
    let none = std::ptr::null_mut::<libc::c_void>();
    #[expect(unsafe_code, reason = "getcpu(2) has no safe wrapper")]
    // SAFETY: the kernel writes one number.
    let result = unsafe { libc::syscall(libc::SYS_getcpu, &raw mut cpu, none, none) };
    (result == 0).then_some(cpu as usize)
}

/// The beginning of `struct perf_event_attr` (`PERF_ATTR_SIZE_VER0`).
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct PerfEventAttr {
    kind: u32,
    size: u32,
    config: u64,
    rest: [u64; 6],
}

/// Whether the kernel says that `cpu` is offline. A CPU goes offline only when nothing runs there any more, and what it runs once it
/// is back began later. Asked by way of perf_event_open(2), which looks at the kernel's own mask: files below `/sys` may be a container's.
fn is_offline(cpu: usize) -> bool {
    // PERF_TYPE_SOFTWARE, PERF_COUNT_SW_DUMMY.
    let attr = PerfEventAttr { kind: 1, size: size_of::<PerfEventAttr>() as u32, config: 9, rest: [0; 6] };
    let cpu = i32::try_from(cpu).unwrap_or(i32::MAX);
    #[expect(unsafe_code, reason = "perf_event_open(2) has no safe wrapper")]
    // SAFETY: the kernel reads `attr.size` bytes of `attr`. A descriptor that it gives is closed below.
    let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attr, -1, cpu, -1, 0) };
    if fd >= 0 {
        #[expect(unsafe_code, reason = "closes a descriptor that was just made")]
        // SAFETY: nobody else knows the descriptor.
        unsafe {
            libc::close(fd as libc::c_int);
        }
        return false;
    }
    io::Error::last_os_error().raw_os_error() == Some(libc::ENODEV)
}

/// Whether bottom halves off means what is said above: not on a PREEMPT_RT kernel, whose version says so.
fn programs_are_never_preempted() -> bool {
    let mut name = std::mem::MaybeUninit::<libc::utsname>::zeroed();
    #[expect(unsafe_code, reason = "uname(2) has no safe wrapper")]
    // SAFETY: the kernel fills the whole struct.
    let result = unsafe { libc::uname(name.as_mut_ptr()) };
    if result != 0 {
        return false;
    }
    #[expect(unsafe_code, reason = "filled by the kernel")]
    // SAFETY: zeroed before and filled by uname; its strings end with a NUL.
    let version = unsafe { CStr::from_ptr(name.assume_init_ref().version.as_ptr()) };
    !version.to_string_lossy().contains("PREEMPT_RT")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::bpf::possible_cpus;

    #[test]
    fn every_cpu_is_visited_and_the_caller_stays_where_it_may_run() {
        let allowed = || std::thread::available_parallelism().unwrap();
        let before = allowed();
        assert!(Passing::begin(possible_cpus().unwrap()).passed(Duration::from_secs(60)));
        assert_eq!(allowed(), before);
    }

    #[test]
    fn a_cpu_that_runs_is_not_taken_for_offline() {
        assert!(!is_offline(current_cpu().unwrap()));
        assert_eq!(size_of::<PerfEventAttr>(), 64);
    }

    #[test]
    fn a_cpu_that_cannot_be_visited_proves_nothing() {
        // Beyond the last CPU the kernel says neither "visited" nor "offline".
        let possible = possible_cpus().unwrap();
        assert!(!visited(possible + 4000));
        assert!(!is_offline(possible + 4000));
        assert!(!Passing::begin(possible + 1).passed(Duration::from_secs(60)));
        assert!(!Passing::begin(MAX_CPUS + 1).passed(Duration::ZERO));
    }
}
