//! Waiting for descriptors, and signals as a descriptor.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// The descriptor of something that implements only [`AsRawFd`], for as long as that lives.
pub fn borrow(owner: &impl AsRawFd) -> BorrowedFd<'_> {
    #[expect(unsafe_code, reason = "types of other crates without AsFd")]
    // SAFETY: the owner keeps its descriptor open while it is borrowed.
    unsafe {
        BorrowedFd::borrow_raw(owner.as_raw_fd())
    }
}

/// Waits until one of the descriptors can be read or is hung up; which ones, none after `timeout`.
///
/// # Errors
/// What poll(2) says, but for EINTR, which is as if time were up.
pub fn readable(descriptors: &[BorrowedFd<'_>], timeout: Duration) -> io::Result<Vec<bool>> {
    let mut polled: Vec<libc::pollfd> =
        descriptors.iter().map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
    let milliseconds = libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX);
    let count = polled.len() as libc::nfds_t;
    #[expect(unsafe_code, reason = "poll(2) has no safe wrapper")]
    // SAFETY: the kernel writes `revents` of `count` structs, which are ours.
    let result = unsafe { libc::poll(polled.as_mut_ptr(), count, milliseconds) };
    match result {
        0.. => Ok(polled.iter().map(|one| one.revents != 0).collect()),
        _ => match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::Interrupted => Ok(vec![false; polled.len()]),
            e => Err(e),
        },
    }
}

/// A descriptor that can be read once SIGTERM or SIGINT came; from now on these do nothing else in this thread and those it starts.
///
/// # Errors
/// What the kernel says.
pub fn termination() -> io::Result<OwnedFd> {
    signals(&[libc::SIGTERM, libc::SIGINT])
}

/// As [`termination`], for other signals.
///
/// # Errors
/// What the kernel says.
pub fn signals(numbers: &[libc::c_int]) -> io::Result<OwnedFd> {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
    #[expect(unsafe_code, reason = "signalfd(2) has no safe wrapper")]
    // SAFETY: the set is initialised by sigemptyset before it is used; the other calls take it and numbers.
    let fd = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for number in numbers {
            libc::sigaddset(set.as_mut_ptr(), *number);
        }
        let blocked = libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
        if blocked != 0 {
            return Err(io::Error::from_raw_os_error(blocked));
        }
        libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    #[expect(unsafe_code, reason = "the kernel hands out a raw descriptor")]
    // SAFETY: new, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes a signal from a descriptor of [`signals`] that can be read.
///
/// # Errors
/// What read(2) says.
pub fn take(signals: &OwnedFd) -> io::Result<()> {
    // One is taken, of which nothing but its number was asked for.
    std::fs::File::from(signals.try_clone()?).read_exact(&mut [0; size_of::<libc::signalfd_siginfo>()])
}
