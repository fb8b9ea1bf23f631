//! The tables of a BITVEC chain: per field, value → vecref.
//!
//! A table may be a superset, so one that grows beyond its budget is built again coarser (long prefixes shortened, ports by 256), and
//! left out if that does not help: memory stays linear in the number of rules, whatever they are.

use crate::cuckoo;
use crate::cuckoo6;
use crate::error::CompileError;
use crate::facts::{AddrFact, Facts, RANGE_FIELDS, RangeTable, RangesId, normalize, prefix_mask};
use crate::lines::{Lines, lines_of};
use crate::sets::{ALL, EMPTY, RuleSet, tagged};
use crate::strategy::Scope;
use bpftables_abi::image::{Field, field, field_kind, prefix_key, vecref};
use bpftables_ruleset::Family;

/// Largest value of a DIRECT table; fields with larger ones are PAGE16.
const DIRECT_MAX: u16 = 1023;
/// Lengths to which prefixes are shortened when a table outgrows its budget, tried in turn.
const PREFIX_CAPS4: [u8; 6] = [32, 24, 20, 16, 12, 8];
/// Likewise.
const PREFIX_CAPS6: [u8; 6] = [128, 64, 56, 48, 32, 16];

/// Why a table was not built.
pub(crate) enum Skip {
    /// It would be too large.
    Budget,
    /// A bug.
    Internal(CompileError),
}

impl From<CompileError> for Skip {
    fn from(error: CompileError) -> Self {
        Self::Internal(error)
    }
}

/// Lines that one field's table of a chain of `rules` may take.
pub(crate) const fn budget(rules: usize) -> u32 {
    128 + 8 * rules as u32
}

/// Builds a field's table within its budget; `None`: it would not pay.
pub(crate) fn build(
    what: u8,
    facts: &[Facts],
    ranges: &RangeTable,
    scope: Scope,
    lines: &mut Lines,
) -> Result<Option<Field>, CompileError> {
    let mark = lines.len();
    let limit = mark + budget(facts.len());
    let attempts: &[u8] = match what {
        field::SADDR | field::DADDR if scope.family == Family::V4 => &PREFIX_CAPS4,
        field::SADDR | field::DADDR => &PREFIX_CAPS6,
        _ => &[16, 8],
    };
    for &cap in attempts {
        let built = match what {
            field::SADDR | field::DADDR => prefixes(what, facts, cap, scope.family, limit, lines),
            _ => spans(what, facts, ranges, cap, scope.iface_classes, limit, lines),
        };
        match built {
            Ok(built) => return Ok(built),
            Err(Skip::Internal(error)) => return Err(error),
            Err(Skip::Budget) => lines.rollback(mark),
        }
    }
    Ok(None)
}

fn within(lines: &Lines, limit: u32) -> Result<(), Skip> {
    if lines.len() > limit { Err(Skip::Budget) } else { Ok(()) }
}

/// A prefix that is in force while the sweep is inside it.
struct Open {
    addr: u128,
    len: u8,
    /// Its rules: `events[from..to]`.
    from: usize,
    to: usize,
    vecref: u32,
}

/// Longest-prefix table. Sorted by address, then length, prefixes are a preorder of their nesting, so one set serves the sweep: what a
/// prefix says is added where it begins and taken back where it ends.
fn prefixes(
    what: u8,
    facts: &[Facts],
    cap: u8,
    family: Family,
    limit: u32,
    lines: &mut Lines,
) -> Result<Option<Field>, Skip> {
    let mut set = RuleSet::new(facts.len());
    // (address, length, rule, negated)
    let mut events: Vec<(u128, u8, u32, bool)> = Vec::new();
    for (rule, fact) in (0u32..).zip(facts) {
        match if what == field::SADDR { fact.saddr } else { fact.daddr } {
            AddrFact::Any => set.insert(rule),
            AddrFact::In(addr, len) => {
                let len = len.min(cap);
                events.push((addr & prefix_mask(len), len, rule, false));
            }
            AddrFact::NotIn(addr, len) => {
                set.insert(rule);
                // A shortened negation would hide the rule from addresses that it matches.
                if len <= cap {
                    events.push((addr, len, rule, true));
                }
            }
            AddrFact::Never => {}
        }
    }
    events.sort_unstable();
    let dflt = set.vecref(lines);
    let mut entries: Vec<((u128, u8), u32)> = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while at < events.len() {
        let (addr, len, ..) = events[at];
        let to = at + events[at..].iter().take_while(|e| (e.0, e.1) == (addr, len)).count();
        while let Some(done) = open.pop_if(|top| addr & prefix_mask(top.len) != top.addr) {
            for &(_, _, rule, negated) in &events[done.from..done.to] {
                if negated { set.insert(rule) } else { set.remove(rule) }
            }
        }
        for &(_, _, rule, negated) in &events[at..to] {
            if negated { set.remove(rule) } else { set.insert(rule) }
        }
        let vecref = set.vecref(lines);
        within(lines, limit)?;
        if vecref != open.last().map_or(dflt, |top| top.vecref) {
            entries.push(((addr, len), vecref));
        }
        open.push(Open { addr, len, from: at, to, vecref });
        at = to;
    }
    if entries.is_empty() && dflt == ALL {
        return Ok(None);
    }
    let lens = entries.iter().fold(0u128, |lens, ((_, len), _)| lens | 1 << (len - 1));
    let (buckets, mask, seed, lens) = match family {
        Family::V4 => {
            let keyed = |&((addr, len), vecref): &((u128, u8), u32)| (prefix_key((addr >> 96) as u32, len), vecref);
            let table = cuckoo::build(&entries.iter().map(keyed).collect::<Vec<_>>())?;
            (table.buckets, table.mask, table.seed, lens as u32)
        }
        Family::V6 => {
            let (buckets, mask, seed) = cuckoo6::build(&entries)?;
            let words: [u32; 4] = std::array::from_fn(|word| (lens >> (word * 32)) as u32);
            (buckets, mask, seed, lines.intern_words(&words))
        }
    };
    let table = lines.push(&buckets);
    within(lines, limit)?;
    Ok(Some(Field { what, kind: field_kind::PREFIX, pad: 0, table, lens, mask, seed, dflt, absent: ALL }))
}

/// Largest value of a range field.
const fn max_value(what: u8, iface_classes: u16) -> u16 {
    match what {
        field::PROTO | field::TCP_FLAGS => 255,
        field::CTSTATE => 127,
        field::IIF | field::OIF => iface_classes,
        _ => u16::MAX,
    }
}

/// Table of a range field. `bits` 16: exact; 8: by the high byte of the value alone (fields of 16 bits only).
fn spans(
    what: u8,
    facts: &[Facts],
    table: &RangeTable,
    bits: u8,
    iface_classes: u16,
    limit: u32,
    lines: &mut Lines,
) -> Result<Option<Field>, Skip> {
    let max = max_value(what, iface_classes);
    let at = RANGE_FIELDS.iter().position(|f| *f == what).unwrap_or(0);
    let mut set = RuleSet::new(facts.len());
    let mut asked: Vec<(RangesId, u32)> = Vec::new();
    for (rule, fact) in (0u32..).zip(facts) {
        match fact.ranges[at] {
            None => set.insert(rule),
            Some(id) => asked.push((id, rule)),
        }
    }
    let absent = if matches!(what, field::SPORT | field::DPORT | field::ICMP | field::TCP_FLAGS) {
        set.vecref(lines)
    } else {
        ALL
    };
    let spans = sweep(&mut set, asked, table, bits, max, limit, lines)?;
    if spans.iter().all(|(_, v)| *v == ALL) {
        return Ok(None);
    }
    let mut out =
        Field { what, kind: field_kind::DIRECT, pad: 0, table: 0, lens: 0, mask: 0, seed: 0, dflt: ALL, absent };
    if max <= DIRECT_MAX {
        // The last span goes on for ever: it is what stands beyond the table.
        let (end, dflt) = spans.last().copied().unwrap_or((0, ALL));
        let mut words = Vec::with_capacity(usize::from(end) + 1);
        for (index, &(start, vecref)) in spans.iter().enumerate() {
            let next = spans.get(index + 1).map_or(end.max(1), |span| span.0);
            words.resize(words.len() + usize::from(next.saturating_sub(start)), vecref);
        }
        out.table = lines.intern_words(&words);
        (out.mask, out.dflt) = (words.len() as u32 - 1, dflt);
    } else {
        out.kind = field_kind::PAGE16;
        out.dflt = EMPTY;
        let mut top = Vec::with_capacity(256);
        let mut index = 0;
        for page in 0..=255u16 {
            let (first, last) = (page << 8, page << 8 | 255);
            while spans.get(index + 1).is_some_and(|next| next.0 <= first) {
                index += 1;
            }
            if spans.get(index + 1).is_none_or(|next| next.0 > last) {
                top.push(spans[index].1);
                continue;
            }
            let mut words = Vec::with_capacity(256);
            for value in first..=last {
                while spans.get(index + 1).is_some_and(|next| next.0 <= value) {
                    index += 1;
                }
                words.push(spans[index].1);
            }
            top.push(tagged(vecref::PAGE, lines.intern(&lines_of(&words))));
            within(lines, limit)?;
        }
        out.table = lines.intern_words(&top);
    }
    within(lines, limit)?;
    Ok(Some(out))
}

/// The vecrefs of 0..=max: (first value, vecref), ascending, neighbours different.
fn sweep(
    set: &mut RuleSet,
    mut asked: Vec<(RangesId, u32)>,
    table: &RangeTable,
    bits: u8,
    max: u16,
    limit: u32,
    lines: &mut Lines,
) -> Result<Vec<(u16, u32)>, Skip> {
    asked.sort_unstable();
    // (value, end of a range?, group): at a value, ranges end before others begin.
    let mut events: Vec<(u32, bool, usize)> = Vec::new();
    let groups: Vec<&[(RangesId, u32)]> = asked.chunk_by(|a, b| a.0 == b.0).collect();
    for (group, members) in groups.iter().enumerate() {
        let ranges = table.get(members[0].0);
        let coarse = |&(lo, hi): &(u16, u16)| if bits == 8 { (lo & 0xff00, hi | 0xff) } else { (lo, hi) };
        for (lo, hi) in normalize(ranges.iter().map(coarse).collect()) {
            events.push((u32::from(lo), true, group));
            events.push((u32::from(hi) + 1, false, group));
        }
    }
    events.sort_unstable();
    let mut spans: Vec<(u16, u32)> = Vec::new();
    let mut at = 0;
    let mut value = 0u32;
    while value <= u32::from(max) {
        while let Some(&(_, begins, group)) = events.get(at).filter(|e| e.0 <= value) {
            for (_, rule) in groups[group] {
                if begins { set.insert(*rule) } else { set.remove(*rule) }
            }
            at += 1;
        }
        let vecref = set.vecref(lines);
        within(lines, limit)?;
        if spans.last().is_none_or(|last| last.1 != vecref) {
            spans.push((value as u16, vecref));
        }
        value = events.get(at).map_or(u32::MAX, |e| e.0);
    }
    Ok(spans)
}
