//! A datapath that only compiles: what `bpftables check` loads a file into.

use crate::backend::{Backend, BackendError, Snapshot};
use bpftables_compiler::{CompileError, Options, compile_or_list};
use bpftables_ruleset::{Family, NoCounters, Ruleset, Slot, TableKind};

/// Starts empty, compiles what is committed, and keeps it for the next table. Rules that the programs cannot run are kept too, and listed.
pub struct Dry {
    /// IPv4's and IPv6's.
    rulesets: [Ruleset; 2],
    lines: usize,
    refused: Vec<CompileError>,
}

impl Default for Dry {
    fn default() -> Self {
        Self { rulesets: Family::ALL.map(Ruleset::new), lines: 0, refused: Vec::new() }
    }
}

impl Dry {
    /// What was committed.
    #[must_use]
    pub const fn ruleset(&self, family: Family) -> &Ruleset {
        &self.rulesets[family as usize]
    }

    /// The rules of what was committed that the programs cannot run.
    #[must_use]
    pub fn refused(&self) -> &[CompileError] {
        &self.refused
    }

    /// The size of the last image, in lines of 64 bytes.
    #[must_use]
    pub const fn lines(&self) -> usize {
        self.lines
    }
}

impl From<CompileError> for BackendError {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Unsupported { .. } => Self::Unsupported(error.to_string()),
            CompileError::Limit { .. } => Self::Limit(error.to_string()),
            CompileError::Internal { .. } => Self::Kernel(error.to_string()),
        }
    }
}

impl Backend for Dry {
    fn read(&mut self, family: Family) -> Result<Snapshot, BackendError> {
        Ok(Snapshot { ruleset: self.ruleset(family).clone(), counters: Box::new(NoCounters) })
    }

    fn commit(&mut self, ruleset: &mut Ruleset, _kind: TableKind) -> Result<(), BackendError> {
        let mut next = 0;
        let mut assign = |slot: &mut Slot| {
            *slot = Slot(next);
            next += 1;
        };
        for table in &mut ruleset.tables {
            for chain in table.builtin.iter_mut().chain(table.user.values_mut()) {
                assign(&mut chain.slot);
                chain.rules.iter_mut().for_each(|rule| assign(&mut rule.slot));
            }
        }
        (self.lines, self.refused) = match compile_or_list(ruleset, &Options::default()) {
            Ok(image) => (image.lines.len(), Vec::new()),
            Err(mut errors) => {
                if errors.iter().any(|error| !matches!(error, CompileError::Unsupported { .. })) {
                    return Err(errors.swap_remove(0).into());
                }
                (0, errors)
            }
        };
        self.rulesets[ruleset.family as usize] = ruleset.clone();
        Ok(())
    }

    fn touch(&mut self, family: Family, kind: TableKind) -> Result<(), BackendError> {
        self.rulesets[family as usize].table_mut(kind);
        Ok(())
    }

    fn refresh(&mut self, _family: Family, _snapshot: &mut Snapshot) -> bool {
        true
    }
}
