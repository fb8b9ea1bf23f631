//! The kernel as a [`Backend`]: the runtime's engine, opened when it is first needed.

use crate::backend::{self, Backend, BackendError, Snapshot};
use bpftables_ruleset::{ChainName, CounterView, Family, Ruleset, Table, TableKind};
use bpftables_runtime::sys::ns::{self, may_administer_the_network};
use bpftables_runtime::{Committed, Engine, EngineError, Part};
use std::io::Write as _;
use std::rc::Rc;

/// The datapath of the calling process's network namespace.
#[derive(Default)]
pub struct Kernel {
    engine: Option<Engine>,
    /// The table that is edited chain by chain.
    part: Option<Rc<Part>>,
}

impl Kernel {
    /// The engine.
    pub fn engine(&mut self) -> Result<&mut Engine, EngineError> {
        let engine = match self.engine.take() {
            Some(engine) => engine,
            None => Engine::open()?,
        };
        Ok(self.engine.insert(engine))
    }
}

impl From<EngineError> for BackendError {
    fn from(error: EngineError) -> Self {
        match error {
            // Legacy's words for whom they are meant; who is root already is told what it lacks.
            EngineError::Permission { .. } if ns::effective_uid() != 0 => {
                tracing::debug!(%error, "not permitted");
                Self::NotPermitted
            }
            EngineError::Permission { .. } | EngineError::Corrupt { .. } | EngineError::Incomplete { .. } => {
                Self::Obstacle(error.to_string())
            }
            EngineError::Refused(error) => Self::Refused(error),
            EngineError::Compile(error) => error.into(),
            EngineError::Device { .. } => Self::Unsupported(error.to_string()),
            EngineError::Limit { .. } => Self::Limit(error.to_string()),
            EngineError::Raced { .. } => Self::Raced(error.to_string()),
            _ => Self::Kernel(error.to_string()),
        }
    }
}

/// Legacy's kernel asks for CAP_NET_ADMIN also of those that only look.
fn may_look() -> Result<(), EngineError> {
    match may_administer_the_network() {
        true => Ok(()),
        false => Err(EngineError::Permission { what: "look at the rules".to_owned() }),
    }
}

/// Says what a commit has to say.
fn tell(committed: &Committed) {
    for warning in &committed.warnings {
        tracing::warn!("{warning}");
        // Nobody but their maker knows of a log that stays empty, and of packets that are not asked, or dropped for that.
        if warning.ends_with(" until bpftablesd runs") || warning.contains(" of IPsec ") {
            let _ = writeln!(std::io::stderr(), "bpftables: {warning}");
        }
    }
    for device in &committed.uncovered {
        tracing::warn!(device, "its link header is of no known kind: its packets meet no rules");
    }
}

impl Backend for Kernel {
    fn read(&mut self, family: Family) -> Result<Snapshot, BackendError> {
        may_look()?;
        let snapshot = self.engine()?.read(family)?;
        Ok(Snapshot { ruleset: snapshot.ruleset, counters: Box::new(snapshot.counters) })
    }

    fn commit(&mut self, ruleset: &mut Ruleset, kind: TableKind) -> Result<(), BackendError> {
        tell(&self.engine()?.commit_table(ruleset, kind)?);
        Ok(())
    }

    fn part(&mut self, family: Family, kind: TableKind) -> Result<Option<backend::Part>, BackendError> {
        may_look()?;
        let Some(part) = self.engine()?.part(family, kind)? else { return Ok(None) };
        let part = Rc::new(part);
        self.part = Some(Rc::clone(&part));
        let counters: Rc<dyn CounterView> = part.clone();
        Ok(Some(backend::Part { source: part, counters }))
    }

    fn commit_part(&mut self, table: &mut Table, refilled: &[ChainName]) -> Result<bool, BackendError> {
        let Some(part) = self.part.take() else { return Ok(false) };
        let committed = self.engine()?.commit_part(&part, table, refilled)?;
        committed.iter().for_each(tell);
        Ok(committed.is_some())
    }

    fn settle(&mut self, family: Family) {
        let done = self.engine.as_mut().map_or(Ok(()), |engine| engine.settle(family));
        if let Err(error) = done {
            tracing::debug!(%error, "the next changes take longer");
        }
    }

    fn keep(&mut self, ruleset: Ruleset) {
        if let Some(engine) = &mut self.engine {
            engine.keep(ruleset);
        }
    }

    fn touch(&mut self, family: Family, kind: TableKind) -> Result<(), BackendError> {
        self.engine()?.record_initialised(family, kind)?;
        Ok(())
    }

    fn refresh(&mut self, family: Family, snapshot: &mut Snapshot) -> bool {
        match self.engine().and_then(|engine| engine.counters_if_current(family)) {
            Ok(Some(counters)) => {
                snapshot.counters = Box::new(counters);
                true
            }
            // Whatever it is, reading anew tells.
            _ => false,
        }
    }
}
