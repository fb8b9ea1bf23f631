//! What the commands need of the datapath, so that they can be tried without a kernel.

use bpftables_ruleset::edit::Source;
use bpftables_ruleset::{ChainName, CheckError, CounterView, Family, Ruleset, Table, TableKind};
use std::io;
use std::rc::Rc;

/// What is in force now.
pub struct Snapshot {
    /// The rules. No table at all when nothing was ever touched.
    pub ruleset: Ruleset,
    /// What they have counted since.
    pub counters: Box<dyn CounterView>,
}

/// A table that is in force, to be edited without reading all of it.
pub struct Part {
    /// Where its chains are read from.
    pub source: Rc<dyn Source>,
    /// What its rules have counted.
    pub counters: Rc<dyn CounterView>,
}

/// The datapath of one network namespace.
pub trait Backend {
    /// Reads what is in force. Creates nothing.
    fn read(&mut self, family: Family) -> Result<Snapshot, BackendError>;

    /// Puts `ruleset` in force, all of it or nothing: gives slots to rules that have none, compiles, swaps. It differs from what was
    /// read, or committed last, in table `kind` only.
    fn commit(&mut self, ruleset: &mut Ruleset, kind: TableKind) -> Result<(), BackendError>;

    /// A table that is in force, to be edited chain by chain; none if it was never touched, or is small enough to be read. Creates nothing.
    fn part(&mut self, _family: Family, _kind: TableKind) -> Result<Option<Part>, BackendError> {
        Ok(None)
    }

    /// Puts in force what was edited of the last [`Self::part`]: the chains of `table`, which were taken from it or are new; the rules
    /// of the chains `refilled` have counted nothing. False: it takes the whole ruleset to say whether that can be done, and nothing was done.
    fn commit_part(&mut self, _table: &mut Table, _refilled: &[ChainName]) -> Result<bool, BackendError> {
        Ok(false)
    }

    /// Tables were put in force, and no more of them follow: what makes later changes quick can be done now.
    fn settle(&mut self, _family: Family) {}

    /// Takes back what it gave, unchanged, or what was committed last, so that a process that stays need not read it again.
    fn keep(&mut self, _ruleset: Ruleset) {}

    /// A command has met a table for the first time without changing anything (legacy's kernel makes a table when it is first
    /// named, and `iptables-save` prints it from then on). Records that where something was committed before; where nothing was,
    /// nothing is made.
    fn touch(&mut self, family: Family, kind: TableKind) -> Result<(), BackendError>;

    /// Whether `snapshot`, which this backend last gave or committed, is still what is in force, so that it need not be read again. Its
    /// counters are then those of now.
    fn refresh(&mut self, family: Family, snapshot: &mut Snapshot) -> bool;
}

/// Why the datapath did not do it.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The caller may not.
    #[error("Permission denied (you must be root)")]
    NotPermitted,
    /// Something is in the way that an administrator can remove; newer software would not help.
    #[error("{0}")]
    Obstacle(String),
    /// The kernel would not take it, and says no more than legacy's does.
    #[error(transparent)]
    Refused(#[from] CheckError),
    /// The programs cannot run this ruleset exactly; the rule and the reason are named.
    #[error("{0}")]
    Unsupported(String),
    /// A size that is beyond the programs or the kernel.
    #[error("{0}")]
    Limit(String),
    /// The kernel refused something that should have worked.
    #[error("{0}")]
    Kernel(String),
    /// Somebody else changed the ruleset meanwhile: to be tried again.
    #[error("{0}")]
    Raced(String),
    /// Files or streams.
    #[error(transparent)]
    Io(#[from] io::Error),
}
