//! The rate estimators that a ruleset names, reached from a hook or not: one lives while a rule names it.

use crate::error::CompileError;
use crate::image::Estimator;
use crate::lines::Lines;
use bpftables_abi::ops::{
    INVERT, Op, RATEEST_BYTES, RATEEST_DELTA, RATEEST_GREATER, RATEEST_LESS, RATEEST_OTHER, RATEEST_PACKETS, op,
};
use bpftables_ruleset::matches::rateest::RateComparison;
use bpftables_ruleset::matches::{Match, Rateest};
use bpftables_ruleset::{Ruleset, Target};
use std::collections::{BTreeMap, BTreeSet};

/// Estimators that the programs can hold.
const MAX_ESTIMATORS: usize = 256;

/// Estimators by name.
#[derive(Debug, Default)]
pub(crate) struct Estimators(BTreeMap<Box<str>, Estimator>);

impl Estimators {
    pub(crate) fn new(ruleset: &Ruleset) -> Result<Self, CompileError> {
        let mut named: BTreeMap<&str, Option<(u8, u8)>> = BTreeMap::new();
        let chains = ruleset.tables.iter().flat_map(|table| table.chains());
        for rule in chains.flat_map(|chain| &chain.rules) {
            for m in &rule.matches {
                if let Match::Rateest(m) = m {
                    for name in std::iter::once(&m.name).chain(&m.other) {
                        named.entry(name).or_default();
                    }
                }
            }
            if let Target::Rateest(made) = &rule.target {
                named.entry(&made.name).or_default().get_or_insert((made.interval, made.ewma));
            }
        }
        if named.len() > MAX_ESTIMATORS {
            let (max, got) = (MAX_ESTIMATORS as u64, named.len() as u64);
            return Err(CompileError::Limit { place: None, what: "rate estimators", max, got });
        }
        let mut taken = BTreeSet::new();
        let all = named.into_iter().map(|(name, times)| {
            let id = crate::recent::number(name, &mut taken);
            (name.into(), Estimator { id, name: name.into(), times })
        });
        Ok(Self(all.collect()))
    }

    pub(crate) fn id(&self, name: &str) -> Result<u32, CompileError> {
        let unknown = || CompileError::Internal("a rate estimator that was not collected".into());
        self.0.get(name).map(|found| found.id).ok_or_else(unknown)
    }

    pub(crate) fn into_vec(self) -> Vec<Estimator> {
        self.0.into_values().collect()
    }
}

/// `-m rateest`.
pub(crate) fn encode(m: &Rateest, estimators: &Estimators, lines: &mut Lines) -> Result<Op, CompileError> {
    let on = |asked: bool, bit: u16| if asked { bit } else { 0 };
    let comparison = match m.comparison {
        Some(RateComparison::Less) => RATEEST_LESS,
        Some(RateComparison::Greater) => RATEEST_GREATER,
        _ => 0,
    };
    let asked = on(m.delta, RATEEST_DELTA)
        | on(m.bps.is_some(), RATEEST_BYTES)
        | on(m.pps.is_some(), RATEEST_PACKETS)
        | on(m.other.is_some(), RATEEST_OTHER);
    let (bps, pps) = (m.bps.unwrap_or_default(), m.pps.unwrap_or_default());
    Ok(Op {
        op: op::RATEEST,
        flags: if m.invert { INVERT } else { 0 },
        a: asked | comparison << 8,
        b: estimators.id(&m.name)?,
        c: m.other.as_ref().map_or(Ok(0), |other| estimators.id(other))?,
        d: lines.intern_words(&[bps.0, bps.1, pps.0, pps.1]),
    })
}
