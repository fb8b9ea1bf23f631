//! The xtables lock: the same file and the same flock(2) as legacy's, so that both exclude each other.

use clap::Args;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

/// Where legacy keeps its lock when `XTABLES_LOCKFILE` does not name another place.
pub const DEFAULT_PATH: &str = "/run/xtables.lock";

/// How long to wait for the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: no `-w`, or `-w 0`.
    No,
    /// `-w SECONDS`.
    Seconds(u32),
    /// `-w` alone (or with a negative number, which is kept for the message).
    Forever,
}

impl Wait {
    /// From the number that legacy keeps: 0 does not wait, a negative one waits for ever.
    #[must_use]
    pub const fn from_seconds(seconds: i32) -> Self {
        match seconds {
            0 => Self::No,
            1.. => Self::Seconds(seconds.unsigned_abs()),
            _ => Self::Forever,
        }
    }
}

/// `-w` of the commands that iptables has not: without it they wait for ever, as they may have to finish what they begin.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Waiting {
    /// Seconds to wait for the xtables lock at most (0: not at all); for ever without it.
    #[arg(short = 'w', long, value_name = "SECONDS")]
    wait: Option<Option<u32>>,
}

impl Waiting {
    /// Takes the lock, and says before it waits what for.
    pub(crate) fn acquire(self, path: &Path) -> Result<XtablesLock, LockError> {
        let wait = match self.wait.flatten() {
            None => Wait::Forever,
            Some(0) => Wait::No,
            Some(seconds) => Wait::Seconds(seconds),
        };
        match XtablesLock::acquire(path, Wait::No) {
            Err(LockError::Busy { .. }) if wait != Wait::No => {}
            done => return done,
        }
        let path_shown = path.display();
        let _ = writeln!(
            io::stderr(),
            "bpftables: waiting for the xtables lock ({path_shown}), which another app is holding"
        );
        XtablesLock::acquire(path, wait)
    }
}

/// Why the lock was not had. Both are exit code 4.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The file cannot be opened.
    #[error("Fatal: can't open lock file {}: {}", path.display(), strerror(error))]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Someone else holds it.
    #[error(
        "Can't lock {}: {}\nAnother app is currently holding the xtables lock. {}",
        path.display(), strerror(error), advice(*wait)
    )]
    Busy {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
        /// How long was waited.
        wait: Wait,
    },
}

fn advice(wait: Wait) -> String {
    match wait {
        Wait::No => "Perhaps you want to use the -w option?".to_owned(),
        Wait::Seconds(seconds) => format!("Stopped waiting after {seconds}s."),
        Wait::Forever => "Stopped waiting after -1s.".to_owned(),
    }
}

/// An error's text as strerror(3) has it, without Rust's " (os error N)".
#[must_use]
pub fn strerror(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// The lock, held until dropped.
#[derive(Debug)]
pub struct XtablesLock {
    _file: File,
}

impl XtablesLock {
    /// Takes the lock, waiting as `wait` says.
    pub fn acquire(path: &Path, wait: Wait) -> Result<Self, LockError> {
        let open = || OpenOptions::new().read(true).custom_flags(libc::O_CREAT).mode(0o600).open(path);
        let file = open().map_err(|error| LockError::Open { path: path.to_owned(), error })?;
        let busy = |error| LockError::Busy { path: path.to_owned(), error, wait };
        match file.try_lock() {
            Ok(()) => return Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(busy(error)),
        }
        let would_block = || io::Error::from_raw_os_error(libc::EWOULDBLOCK);
        match wait {
            Wait::No => Err(busy(would_block())),
            Wait::Forever => match file.lock() {
                Ok(()) => Ok(Self { _file: file }),
                Err(error) => Err(busy(error)),
            },
            Wait::Seconds(seconds) => {
                // A thread stands in the kernel's queue of waiters, so nobody who came later is served first. When time is
                // up the process ends, and the thread with it.
                let (done, waiter) = mpsc::channel();
                std::thread::spawn(move || {
                    let result = file.lock().map(|()| file);
                    let _ = done.send(result);
                });
                match waiter.recv_timeout(Duration::from_secs(seconds.into())) {
                    Ok(Ok(file)) => Ok(Self { _file: file }),
                    Ok(Err(error)) => Err(busy(error)),
                    Err(_) => Err(busy(would_block())),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("bpftables-lock-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_held_lock_is_refused_waited_for_or_given_up_on() {
        let path = scratch("held");
        let held = XtablesLock::acquire(&path, Wait::No).unwrap();
        let refused = XtablesLock::acquire(&path, Wait::No).unwrap_err().to_string();
        assert_eq!(
            refused,
            format!(
                "Can't lock {}: Resource temporarily unavailable\nAnother app is currently holding the xtables lock. \
                 Perhaps you want to use the -w option?",
                path.display()
            )
        );
        let begin = Instant::now();
        let late = XtablesLock::acquire(&path, Wait::Seconds(1)).unwrap_err().to_string();
        assert!(late.ends_with("Stopped waiting after 1s."), "{late}");
        assert!(begin.elapsed() >= Duration::from_secs(1));
        // That waiter still stands in the queue of this process (a command would have ended), so let it have the lock on
        // its own and drop it.
        let other = std::thread::spawn({
            let path = path.clone();
            move || XtablesLock::acquire(&path, Wait::Forever).map(drop)
        });
        std::thread::sleep(Duration::from_millis(50));
        assert!(!other.is_finished());
        drop(held);
        other.join().unwrap().unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_lock_file_that_cannot_be_opened_is_named() {
        let error = XtablesLock::acquire(Path::new("/nonexistent/lock"), Wait::No).unwrap_err();
        assert_eq!(error.to_string(), "Fatal: can't open lock file /nonexistent/lock: No such file or directory");
    }
}
