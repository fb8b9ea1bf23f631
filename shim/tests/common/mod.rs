//! A datapath in memory, and commands run against it in this process.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod names;

use bpftables::backend::{Backend, BackendError, Snapshot};
use bpftables::context::Context;
use bpftables::multicall::Program;
use bpftables_ruleset::{CounterView, Counters, Family, Ruleset, Slot, TableKind};
use names::WithSets;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

type Counted = Rc<RefCell<BTreeMap<u32, Counters>>>;

/// Keeps what is committed; counts what it is told to.
pub(crate) struct Memory {
    /// IPv4's and IPv6's.
    rulesets: [Ruleset; 2],
    counted: Counted,
    next_slot: u32,
    pub(crate) commits: usize,
    pub(crate) reads: usize,
}

struct View(Counted);

impl CounterView for View {
    fn get(&self, slot: Slot) -> Counters {
        self.0.borrow().get(&slot.0).copied().unwrap_or_default()
    }
}

impl Default for Memory {
    fn default() -> Self {
        let rulesets = Family::ALL.map(Ruleset::new);
        Self { rulesets, counted: Counted::default(), next_slot: 0, commits: 0, reads: 0 }
    }
}

impl Memory {
    fn keep(&mut self, ruleset: &mut Ruleset) {
        let mut next = self.next_slot;
        let mut assign = |slot: &mut Slot| {
            if *slot == Slot::UNASSIGNED {
                *slot = Slot(next);
                next += 1;
            }
        };
        for table in &mut ruleset.tables {
            for chain in table.builtin.iter_mut().chain(table.user.values_mut()) {
                if chain.policy.is_some() {
                    assign(&mut chain.slot);
                }
                for rule in &mut chain.rules {
                    assign(&mut rule.slot);
                }
            }
        }
        self.next_slot = next;
        self.rulesets[ruleset.family as usize] = ruleset.clone();
    }

    /// Lets every rule and policy that is in force count `packets` packets of 100 bytes.
    pub(crate) fn count(&mut self, packets: u64) {
        let mut counted = self.counted.borrow_mut();
        for slot in 0..self.next_slot {
            let counters = counted.entry(slot).or_default();
            *counters = counters.plus(Counters { packets, bytes: packets * 100 });
        }
    }
}

impl Backend for Memory {
    fn read(&mut self, family: Family) -> Result<Snapshot, BackendError> {
        self.reads += 1;
        let ruleset = self.rulesets[family as usize].clone();
        Ok(Snapshot { ruleset, counters: Box::new(View(Rc::clone(&self.counted))) })
    }

    fn commit(&mut self, ruleset: &mut Ruleset, _kind: TableKind) -> Result<(), BackendError> {
        self.commits += 1;
        self.keep(ruleset);
        Ok(())
    }

    fn touch(&mut self, family: Family, kind: TableKind) -> Result<(), BackendError> {
        let mut ruleset = self.rulesets[family as usize].clone();
        ruleset.table_mut(kind);
        self.keep(&mut ruleset);
        Ok(())
    }

    fn refresh(&mut self, _family: Family, _snapshot: &mut Snapshot) -> bool {
        true
    }
}

/// What a command left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) code: u8,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A host with a datapath in memory and a lock file of its own.
pub(crate) struct Host {
    pub(crate) memory: Memory,
    names: WithSets,
    pub(crate) lock_path: PathBuf,
    /// Its commands take the lock.
    pub(crate) locks: bool,
}

impl Default for Host {
    fn default() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let lock_path = std::env::temp_dir().join(format!("bpftables-test-{}-{number}.lock", std::process::id()));
        Self { memory: Memory::default(), names: WithSets::default(), lock_path, locks: true }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.lock_path);
    }
}

impl Host {
    /// Runs `argv` (the first word names the program) with `stdin`.
    pub(crate) fn run_with(&mut self, argv: &[&str], stdin: &[u8]) -> Outcome {
        let words: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let (program, arguments) = Program::select(&words).expect("a name of the binary");
        let (mut stdin, mut stdout, mut stderr) = (stdin, Vec::new(), Vec::new());
        let mut context = Context {
            backend: &mut self.memory,
            names: &self.names,
            stdin: &mut stdin,
            stdout: &mut stdout,
            stderr: &mut stderr,
            lock_path: self.locks.then(|| self.lock_path.clone()),
            now: || "Sat Nov 21 23:27:09 2026".to_owned(),
            argv0: words[0].clone(),
        };
        let code = bpftables::run(program, arguments, &mut context);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Outcome { code, stdout: text(stdout), stderr: text(stderr) }
    }

    /// Runs a command line of words without spaces.
    pub(crate) fn run(&mut self, line: &str) -> Outcome {
        self.run_with(&line.split_whitespace().collect::<Vec<_>>(), b"")
    }

    /// Runs a command line that must succeed without a word on standard error; its output.
    pub(crate) fn ok(&mut self, line: &str) -> String {
        let outcome = self.run(line);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{line}");
        outcome.stdout
    }

    /// Runs a command line that must fail; exit code and standard error.
    pub(crate) fn fails(&mut self, line: &str) -> (u8, String) {
        let outcome = self.run(line);
        assert_ne!(outcome.code, 0, "{line}");
        (outcome.code, outcome.stderr)
    }
}
