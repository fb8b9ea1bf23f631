//! How each chain is searched.

use crate::Options;
use crate::cuckoo;
use crate::error::CompileError;
use crate::facts::{AddrFact, Facts, RANGE_FIELDS, RangeTable, read};
use crate::fields;
use crate::image::Line;
use crate::lines::Lines;
use crate::sets;
use bpftables_abi::image::{Chain, Field, Rule as Record, chain_kind, dispatch_key, field, vecref};
use bpftables_ruleset::{Family, Rule, Target};
use rustc_hash::FxHashMap;

/// Most fields of a chain.
const MAX_FIELDS: usize = 8;
/// A field that fewer than this part of the rules ask for is left out if a stronger one is there.
const WEAK: usize = 8;

/// What a chain's strategy depends on besides its rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) family: Family,
    /// Number of interface classes of the image.
    pub(crate) iface_classes: u16,
}

/// Chooses for one chain descriptor and stores the tables it needs.
pub(crate) fn choose(
    rules: &[Rule],
    records: &[Record],
    options: &Options,
    scope: Scope,
    lines: &mut Lines,
    chain: &mut Chain,
) -> Result<(), CompileError> {
    chain.kind = chain_kind::LIST;
    if rules.len() <= options.list_max {
        return Ok(());
    }
    let mut table = RangeTable::default();
    let facts: Vec<Facts> = rules.iter().zip(records).map(|(rule, record)| read(rule, record, &mut table)).collect();
    // IPv6 has no exact dispatch: prefixes serve.
    if options.hash && scope.family == Family::V4 && dispatch(&facts, &table, lines, chain)? {
        return Ok(());
    }
    vectors(&facts, changed(rules), &table, scope, lines, chain)
}

/// The fields that targets of these rules change: candidates are found when a chain is entered, and stay what they are behind that. (After
/// a jump they are found again.)
fn changed(rules: &[Rule]) -> &'static [u8] {
    let has = |is: fn(&Target) -> bool| rules.iter().any(|rule| is(&rule.target));
    if has(|target| matches!(target, Target::Notrack | Target::Ct(_))) {
        return &[field::CTSTATE];
    }
    if has(|target| matches!(target, Target::Snpt(_) | Target::Dnpt(_))) {
        return &[field::SADDR, field::DADDR];
    }
    if has(|target| matches!(target, Target::Ecn(_))) { &[field::TCP_FLAGS] } else { &[] }
}

/// Exact dispatch, if all rules but a few name one address, protocol and port.
fn dispatch(facts: &[Facts], table: &RangeTable, lines: &mut Lines, chain: &mut Chain) -> Result<bool, CompileError> {
    let mut residual = Vec::new();
    let mut order: Vec<u64> = Vec::new();
    let mut groups: FxHashMap<u64, Vec<u32>> = FxHashMap::default();
    let max = vecref::LIST_MAX as usize;
    for (rule, fact) in (0u32..).zip(facts) {
        let key = match fact.daddr {
            AddrFact::In(addr, 32) => fact
                .single(field::PROTO, table)
                .zip(fact.single(field::DPORT, table))
                .map(|(proto, port)| dispatch_key((addr >> 96) as u32, proto as u8, port)),
            _ => None,
        };
        match key {
            None => residual.push(rule),
            Some(key) => {
                let group = groups.entry(key).or_insert_with(|| {
                    order.push(key);
                    Vec::new()
                });
                group.push(rule);
                if group.len() > max {
                    return Ok(false);
                }
            }
        }
        if residual.len() > max {
            return Ok(false);
        }
    }
    if residual.len() * 2 > facts.len() {
        return Ok(false);
    }
    let entries: Vec<(u64, u32)> = order.iter().map(|key| (*key, sets::list(&groups[key], lines))).collect();
    let built = cuckoo::build(&entries)?;
    chain.kind = chain_kind::HASH;
    chain.hash_table = lines.push(&built.buckets);
    (chain.hash_mask, chain.hash_seed) = (built.mask, built.seed);
    chain.residual = sets::list(&residual, lines);
    Ok(true)
}

/// Bit vectors, if some field tells the rules apart.
fn vectors(
    facts: &[Facts],
    changed: &[u8],
    table: &RangeTable,
    scope: Scope,
    lines: &mut Lines,
    chain: &mut Chain,
) -> Result<(), CompileError> {
    let mut tables: Vec<Field> = Vec::new();
    for (what, asking) in ranked(facts) {
        if tables.len() == MAX_FIELDS || (!tables.is_empty() && asking * WEAK < facts.len()) {
            continue;
        }
        if changed.contains(&what) {
            continue;
        }
        tables.extend(fields::build(what, facts, table, scope, lines)?);
    }
    if tables.is_empty() {
        return Ok(());
    }
    chain.kind = chain_kind::BITVEC;
    chain.nfields = tables.len() as u8;
    let content: Vec<Line> = tables
        .chunks(2)
        .map(|pair| {
            let mut line = [0; 64];
            for (place, field) in line.chunks_exact_mut(32).zip(pair) {
                let bytes: [u8; 32] = zerocopy::transmute!(*field);
                place.copy_from_slice(&bytes);
            }
            Line(line)
        })
        .collect();
    chain.fields = lines.intern(&content);
    Ok(())
}

/// Fields that some rule asks for and how many do, the most telling first: by distinct values, then by askers. Programs stop at the
/// first field that leaves a list, so it should come first.
fn ranked(facts: &[Facts]) -> Vec<(u8, usize)> {
    let mut found: Vec<(usize, usize, u8)> = Vec::new();
    for what in [field::SADDR, field::DADDR] {
        let mut values: Vec<(u128, u8)> = Vec::new();
        let mut asking = 0;
        for fact in facts {
            match if what == field::SADDR { fact.saddr } else { fact.daddr } {
                AddrFact::Any => {}
                AddrFact::In(addr, len) => {
                    values.push((addr, len));
                    asking += 1;
                }
                AddrFact::NotIn(..) | AddrFact::Never => asking += 1,
            }
        }
        values.sort_unstable();
        values.dedup();
        found.push((values.len(), asking, what));
    }
    for (at, what) in RANGE_FIELDS.iter().enumerate() {
        let mut values: Vec<_> = facts.iter().filter_map(|fact| fact.ranges[at]).collect();
        let asking = values.len();
        values.sort_unstable();
        values.dedup();
        found.push((values.len(), asking, *what));
    }
    found.retain(|(_, asking, _)| *asking > 0);
    found.sort_by_key(|&(values, asking, what)| (std::cmp::Reverse(values * asking), what));
    found.into_iter().map(|(_, asking, what)| (what, asking)).collect()
}
