//! Compiles a ruleset into the image that the kernel programs search.
//!
//! The way: ruleset → [`ir`] (jumps resolved, unreachable chains left out) → [`graph`] (no loops, bounded depth) → one strategy per
//! chain → lines of 64 bytes. Between the steps invariants are checked; [`verify`] walks every reference of a finished image.
//!
//! Architecture Invariant: no IO, no clock, no randomness: equal rulesets give equal bytes.
//! Architecture Invariant: classification is only a prefilter. A table may name too many rules, never too few; each rule's
//! record holds its complete match.

mod build;
mod cuckoo;
mod cuckoo6;
#[cfg(test)]
mod equivalence;
mod error;
pub mod explain;
mod facts;
mod fields;
mod graph;
mod guard;
mod hashlimit;
mod header;
mod hmark;
mod iface;
mod image;
mod ir;
mod lines;
mod log;
mod nat;
pub mod patch;
mod rateest;
mod recent;
mod record;
mod refused;
mod residual;
mod sets;
mod strategy;
#[cfg(test)]
mod tests;
pub mod verify;

pub mod interp;
#[cfg(any(test, feature = "testgen"))]
pub mod testgen;

pub use error::{CompileError, RulePlace};
pub use image::{
    ChainPlace, Estimator, HashlimitTable, Image, Line, RecentList, Region, StateKind, StateLine, chain_flag,
};

use bpftables_ruleset::{Ruleset, TableKind};
use std::collections::BTreeMap;

/// What the caller may choose. The default is what the runtime uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Chains of up to so many rules are scanned.
    pub list_max: usize,
    /// Whether chains may be dispatched by an exact hash.
    pub hash: bool,
    /// Longest chain in one descriptor: longer ones are split. At most [`bpftables_abi::image::MAX_CHAIN_RULES`].
    pub split: usize,
    /// Numbers of the control groups that rules name, by table and path. One that is not here matches nothing.
    pub cgroups: BTreeMap<(TableKind, Box<str>), u64>,
}

impl Default for Options {
    fn default() -> Self {
        let split = bpftables_abi::image::MAX_CHAIN_RULES;
        Self { list_max: 8, hash: true, split, cgroups: BTreeMap::new() }
    }
}

/// Compiles `ruleset`, whose counter slots are assigned already.
///
/// # Errors
/// [`CompileError::Unsupported`] names a rule that the programs can't run exactly, [`CompileError::Limit`] what is too large,
/// [`CompileError::Internal`] a bug of ours.
pub fn compile(ruleset: &Ruleset, options: &Options) -> Result<Image, CompileError> {
    build::build(ruleset, options).map_err(|mut errors| errors.swap_remove(0))
}

/// As [`compile`], but with every rule that the programs can't run, in the order of the ruleset.
///
/// # Errors
/// All [`CompileError::Unsupported`], or one error of another kind.
pub fn compile_or_list(ruleset: &Ruleset, options: &Options) -> Result<Image, Vec<CompileError>> {
    build::build(ruleset, options)
}
