//! Something that fails again and again is told when it begins and when it is over, not each time.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Without a failure for so long, it is over: what fails every other time is told once.
const OVER_AFTER: Duration = Duration::from_secs(1);

/// What goes to one place, and how many of it did not get there.
#[derive(Debug)]
pub(crate) struct Outage {
    what: &'static str,
    to: String,
    failures: u64,
    last: Option<Instant>,
}

impl Outage {
    /// `what` in the plural, and where it goes.
    pub(crate) fn new(what: &'static str, to: String) -> Self {
        Self { what, to, failures: 0, last: None }
    }

    /// Takes note of what became of one; whether it was well.
    pub(crate) fn note<E: Display>(&mut self, result: Result<(), E>) -> bool {
        let well = result.is_ok();
        match result {
            Ok(()) if self.last.is_some_and(|last| last.elapsed() >= OVER_AFTER) => self.over(),
            Ok(()) => {}
            Err(error) => {
                if self.last.is_none() {
                    let (what, to) = (self.what, &self.to);
                    tracing::warn!(%error, what, to, "failed; more failures are counted, and told once it works again");
                }
                self.failures += 1;
                self.last = Some(Instant::now());
            }
        }
        well
    }

    fn over(&mut self) {
        self.last = None;
        let (what, to, failures) = (self.what, &self.to, std::mem::take(&mut self.failures));
        tracing::warn!(failures, what, to, "works again");
    }
}

/// An agent that ends tells what is not told.
impl Drop for Outage {
    fn drop(&mut self) {
        if self.last.is_some() {
            let (what, to, failures) = (self.what, &self.to, self.failures);
            tracing::warn!(failures, what, to, "failed to the end");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_once_nothing_failed_for_a_while_and_not_before() {
        let mut outage = Outage::new("lines", "a file".to_owned());
        for _ in 0..3 {
            assert!(!outage.note(Err("full")));
            assert!(outage.note::<&str>(Ok(())));
        }
        assert_eq!(outage.failures, 3, "what fails every other time goes on");
        outage.last = outage.last.and_then(|last| last.checked_sub(OVER_AFTER));
        assert!(outage.note::<&str>(Ok(())));
        assert_eq!((outage.failures, outage.last), (0, None));
    }
}
