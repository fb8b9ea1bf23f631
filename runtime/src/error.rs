//! What can go wrong between a ruleset and the kernel.

use crate::rights::lacking;
use bpftables_compiler::CompileError;
use bpftables_ruleset::CheckError;
use std::io;
use thiserror::Error;

/// Why the engine could not do what was asked. Whatever it is, the live ruleset is as it was.
#[derive(Debug, Error)]
pub enum EngineError {
    /// A right is missing.
    #[error("cannot {what}: permission denied ({})", lacking())]
    Permission {
        /// What was to be done.
        what: String,
    },
    /// There is no BPF file system and none could be mounted.
    #[error(
        "no BPF file system at /sys/fs/bpf, and mounting one failed: {source} (expected CONFIG_BPF_SYSCALL and a mounted /sys)"
    )]
    NoBpffs {
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel misses something that the programs need.
    #[error(
        "this kernel is too old: {what} failed ({source}); expected Linux 6.6 or later with BTF (CONFIG_DEBUG_INFO_BTF)"
    )]
    OldKernel {
        /// What needs a newer one.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused something.
    #[error("cannot {what}: {source}")]
    Kernel {
        /// What was to be done.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The programs could not be loaded.
    #[error("cannot {what}: {reason}")]
    Load {
        /// What was to be done.
        what: String,
        /// What the loader or the verifier said.
        reason: String,
    },
    /// What is pinned was made by another version whose layouts differ.
    #[error(
        "the rules of this network namespace were loaded by another version of bpftables (layouts {found}, expected {expected}): \
         save them with that version's iptables-save, run `bpftables uninstall-hooks`, and restore them"
    )]
    AbiMismatch {
        /// Version that is pinned.
        found: String,
        /// Our version.
        expected: u32,
    },
    /// What is pinned was made by another build whose maps differ.
    #[error(
        "the rules of this network namespace were loaded by another build of bpftables, whose map {map} differs: save them with \
         iptables-save, run `bpftables uninstall-hooks`, and restore them"
    )]
    UpgradeRefused {
        /// The first map that differs.
        map: String,
    },
    /// The saved state in the kernel cannot be read.
    #[error("the ruleset kept in the kernel cannot be read: {what} (run `bpftables uninstall-hooks` to begin anew)")]
    Corrupt {
        /// What was expected and what came.
        what: String,
    },
    /// A part of what is pinned was removed, by whom ever.
    #[error(
        "the state of this network namespace in {dir} is not whole: {what} is not there (run `bpftables uninstall-hooks` to begin anew)"
    )]
    Incomplete {
        /// The namespace's directory.
        dir: String,
        /// What is missing.
        what: String,
    },
    /// The state of this network namespace lives where this process cannot see it.
    #[error(
        "programs of bpftables are attached to lo, but their state is not under {expected}: it is in the BPF file system of another \
         mount namespace; run the command there"
    )]
    StateElsewhere {
        /// The directory that was searched.
        expected: String,
    },
    /// Somebody else committed since this engine read.
    #[error("another process changed the ruleset meanwhile (generation {found}, expected {expected}): try again")]
    Raced {
        /// What was read.
        expected: u32,
        /// What is live.
        found: u32,
    },
    /// Others committed again and again while this engine read.
    #[error("the ruleset changes too fast to be read: try again")]
    Overtaken,
    /// The namespace has a device whose packets cannot meet rules as they would in netfilter.
    #[error("rules can't be run beside device {name}: {reason}")]
    Device {
        /// Its name.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// The kernel would refuse it, for what is there already.
    #[error(transparent)]
    Refused(#[from] CheckError),
    /// The ruleset cannot be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// More than the maps hold.
    #[error("too many {what}: {got}, expected at most {max}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How many.
        got: u64,
        /// Most.
        max: u64,
    },
    /// A bug of ours.
    #[error("internal error (a bug): {0}")]
    Internal(String),
}

/// What the engine's functions give.
pub type Result<T> = std::result::Result<T, EngineError>;

/// Says what was being done when the kernel refused.
pub(crate) trait Doing<T> {
    /// `what` completes "cannot ...".
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => EngineError::Permission { what: what() },
            _ => EngineError::Kernel { what: what(), source },
        })
    }
}
