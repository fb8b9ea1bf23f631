//! What rules make and share by name in the kernel: rate estimators (`-j RATEEST`), timers (`-j IDLETIMER`) and tables (`-m hashlimit`). The first rule of a name says
//! how the thing is; the kernel refuses others that say it otherwise, and `-m rateest` of a name that there is not.

use crate::check::CheckError;
use crate::matches::Match;
use crate::table::Table;
use crate::targets::Target;
use std::collections::BTreeMap;

/// The rate estimators that there are: the powers of two of their interval and of their average's, as [`crate::targets::Rateest`] has them.
pub type Estimators = BTreeMap<Box<str>, (u8, u8)>;

/// What there is by name in a network namespace and family.
#[derive(Clone, Debug, Default)]
pub struct There {
    /// The rate estimators.
    pub estimators: Estimators,
    /// The tables of hashlimit, and whether they match rates (`--hashlimit-rate-match`).
    pub limits: BTreeMap<Box<str>, bool>,
}

/// Checks the rules of a table that takes another's place, in the kernel's order. What they make is added to `there`, which
/// has what there is: what rules of the table that goes made, too.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(table: &Table, there: &mut There) -> Result<(), CheckError> {
    let mut timers: BTreeMap<&str, bool> = BTreeMap::new();
    for chain in table.chains() {
        let name = || chain.name.clone();
        for (index, rule) in chain.rules.iter().enumerate() {
            let number = index + 1;
            let mut agrees = true;
            for m in &rule.matches {
                match m {
                    Match::Rateest(m)
                        if !there.estimators.contains_key(&m.name)
                            || m.other.as_ref().is_some_and(|other| !there.estimators.contains_key(other)) =>
                    {
                        let reason = "there is no such rate estimator";
                        return Err(CheckError::Missing { chain: name(), rule: number, reason });
                    }
                    Match::Hashlimit(m) => {
                        agrees &= *there.limits.entry(m.name.clone()).or_insert(m.rate_match) == m.rate_match;
                    }
                    _ => {}
                }
            }
            agrees &= match &rule.target {
                Target::Rateest(made) => {
                    let times = (made.interval, made.ewma);
                    *there.estimators.entry(made.name.clone()).or_insert(times) == times
                }
                Target::Idletimer(made) => *timers.entry(&made.label).or_insert(made.alarm) == made.alarm,
                _ => true,
            };
            if !agrees {
                let reason = "another rule makes one of this name with other parameters";
                return Err(CheckError::Invalid { chain: name(), rule: number, reason });
            }
        }
    }
    Ok(())
}
