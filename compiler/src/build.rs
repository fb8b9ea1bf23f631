//! From the IR to bytes.
//!
//! Order of lines: header, bases, chains (one line each), rules (each chain's in a row), then everything that they refer to.

use crate::error::CompileError;
use crate::iface::Ifaces;
use crate::image::{ChainPlace, Image, chain_flag};
use crate::ir::{ChainId, Ir, IrChain, jump_of};
use crate::lines::Lines;
use crate::record;
use crate::residual::Leftovers;
use crate::{Options, graph, guard, strategy};
use bpftables_abi::ABI_VERSION;
use bpftables_abi::image::{
    BASES_LINE, Chain, FIRST_FREE_LINE, FLAG_ACCT, FLAG_CLAMP, FLAG_CONNTRACK, FLAG_DEFRAG, FLAG_DNPT, FLAG_EVENTS,
    FLAG_GROUPS, FLAG_GUARD, FLAG_HEADERS, FLAG_LABELS, FLAG_MAC, FLAG_NAT, FLAG_NFLOG, FLAG_NO_VRF, FLAG_RECENT,
    FLAG_SELDOM, FLAG_SET_CHANGES, FLAG_SETS, FLAG_TRACE, FLAG_ZONES, Header, MAGIC, MAX_CHAIN_RULES, Rule as Record,
    TABLES, policy, vecref,
};
use bpftables_ruleset::matches::Match;
use bpftables_ruleset::targets::TcpmssSet;
use bpftables_ruleset::targets::ct::Zone;
use bpftables_ruleset::{Chain as RuleChain, Family, Policy, Rule, Ruleset, TableKind, Target};
use rustc_hash::{FxHashMap, FxHashSet};

/// Where a chain stands in the image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Line of its first descriptor; its further parts follow.
    pub(crate) chain: u32,
    pub(crate) parts: u32,
    /// Line of its first rule.
    rules: u32,
}

/// Compiles, or says what is in the way: all rules that cannot be run, or the first thing of another kind.
pub(crate) fn build(ruleset: &Ruleset, options: &Options) -> Result<Image, Vec<CompileError>> {
    let mut refused = Vec::new();
    match try_build(ruleset, options, &mut refused) {
        Ok(image) if refused.is_empty() => Ok(image),
        Err(error) if refused.is_empty() => Err(vec![error]),
        _ => Err(refused),
    }
}

/// Rules that cannot be run go to `refused`; the image of a ruleset with such rules is not to be used.
fn try_build(ruleset: &Ruleset, options: &Options, refused: &mut Vec<CompileError>) -> Result<Image, CompileError> {
    let ir = Ir::new(ruleset)?;
    let order = graph::check(&ir)?;
    let ifaces = Ifaces::new(&ir)?;
    let split = options.split.clamp(1, MAX_CHAIN_RULES);
    let places = places(&ir, split);
    let mut lines = Lines::default();
    let end = places.last().map_or(FIRST_FREE_LINE, |last| last.rules)
        + ir.chains.last().map_or(0, |chain| chain.chain.rules.len() as u32);
    lines.reserve(end as usize);
    let chains = chain_places(ruleset, &ir, &order, &places);
    let mut header = header(ruleset, &chains);
    ifaces.store(&mut lines, &mut header)?;
    let mut left = Leftovers::new(ruleset, options)?;
    let mut records = Vec::new();
    for (id, chain) in ir.chains.iter().enumerate() {
        let place = places[id];
        records.clear();
        let mut jumps = chain.jumps.iter().peekable();
        for index in 0..chain.chain.rules.len() {
            let jump = jumps.next_if(|(rule, _)| *rule as usize == index);
            let jump = jump.map_or(0, |(_, to)| places[to.index()].chain);
            let record: Record =
                match record::encode(chain, index, jump, &ifaces, ruleset.family, &mut lines, &mut left) {
                    Ok(record) => record,
                    Err(error @ CompileError::Unsupported { .. }) => {
                        refused.push(error);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
            lines.set(place.rules + index as u32, zerocopy::transmute!(record));
            records.push(record);
        }
        if !refused.is_empty() {
            continue;
        }
        for part in 0..place.parts {
            let first = part as usize * split;
            let last = (first + split).min(chain.chain.rules.len());
            let mut descriptor = Chain {
                rules: if first < last { place.rules + first as u32 } else { 0 },
                nrules: (last - first) as u32,
                name: if header.flags & FLAG_TRACE == 0 { 0 } else { crate::log::chain(chain.chain, &mut lines) },
                next: if part + 1 < place.parts { place.chain + part + 1 } else { 0 },
                ..descriptor(chain.chain)
            };
            strategy::choose(
                &chain.chain.rules[first..last],
                &records[first..last],
                options,
                strategy::Scope { family: ruleset.family, iface_classes: ifaces.count() },
                &mut lines,
                &mut descriptor,
            )?;
            lines.set(place.chain + part, zerocopy::transmute!(descriptor));
        }
        if u64::from(lines.len()) > u64::from(vecref::PAYLOAD) / 2 {
            let (max, got) = (u64::from(vecref::PAYLOAD) / 2, u64::from(lines.len()));
            return Err(CompileError::Limit { place: None, what: "lines of the image", max, got });
        }
    }
    refuse_unreached(ruleset, options, &ir, refused)?;
    if let Some(first) = refused.first() {
        return Err(first.clone());
    }
    header.present = bases(&ir, &places, &mut lines);
    header.lines = lines.len();
    lines.set(0, zerocopy::transmute!(header));
    let recent = left.lists.into_vec();
    let hashlimits = left.hashlimits.into_vec();
    let (lines, states, estimators) = (lines.into_lines(), left.states, left.estimators.into_vec());
    let image =
        Image { lines, states, recent, hashlimits, estimators, warnings: Vec::new(), chains, ifaces: ifaces.list() };
    #[cfg(debug_assertions)]
    crate::verify::verify(&image).map_err(|defect| CompileError::Internal(defect.to_string().into()))?;
    Ok(image)
}

/// Chains that no hook reaches are not in the image. What could not be run in them is refused all the same: clients try rules in such
/// chains to learn what there is.
fn refuse_unreached(
    ruleset: &Ruleset,
    options: &Options,
    ir: &Ir<'_>,
    refused: &mut Vec<CompileError>,
) -> Result<(), CompileError> {
    let reached: FxHashSet<*const RuleChain> = ir.chains.iter().map(|chain| std::ptr::from_ref(chain.chain)).collect();
    let chains = ruleset.tables.iter().flat_map(|table| table.chains().map(|chain| (table.kind, chain)));
    let unreached = chains.filter(|(_, chain)| !reached.contains(&std::ptr::from_ref(*chain)));
    let chains: Vec<IrChain<'_>> =
        unreached.map(|(table, chain)| IrChain { table, chain, jumps: Vec::new(), input: false }).collect();
    if chains.is_empty() {
        return Ok(());
    }
    let tried = Ir { chains, ..Ir::default() };
    let ifaces = Ifaces::new(&tried)?;
    let mut left = Leftovers::new(ruleset, options)?;
    let mut lines = Lines::default();
    for chain in &tried.chains {
        for index in 0..chain.chain.rules.len() {
            match record::encode(chain, index, 0, &ifaces, ruleset.family, &mut lines, &mut left) {
                Ok(_) => {}
                Err(error @ CompileError::Unsupported { .. }) => refused.push(error),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

const EMPTY_CHAIN: Chain = Chain {
    rules: 0,
    nrules: 0,
    kind: bpftables_abi::image::chain_kind::LIST,
    policy: policy::RETURN,
    nfields: 0,
    pad: 0,
    policy_slot: 0,
    hash_table: 0,
    hash_mask: 0,
    hash_seed: 0,
    residual: 0,
    fields: 0,
    next: 0,
    name: 0,
    reserved: [0; 4],
};

/// A chain's descriptor, but for its rules.
pub(crate) const fn descriptor(of: &RuleChain) -> Chain {
    Chain { policy: policy_code(of.policy), policy_slot: of.slot.0, ..EMPTY_CHAIN }
}

const fn policy_code(of: Option<Policy>) -> u8 {
    match of {
        None => policy::RETURN,
        Some(Policy::Accept) => policy::ACCEPT,
        Some(Policy::Drop) => policy::DROP,
    }
}

/// Where the ruleset's chains stand, those that no hook reaches included.
fn chain_places(ruleset: &Ruleset, ir: &Ir<'_>, order: &[ChainId], places: &[Place]) -> Vec<ChainPlace> {
    let mut ways = vec![ChainPlace::default(); ir.chains.len()];
    for (hook, tables) in ir.bases.iter().enumerate() {
        for base in tables.iter().flatten() {
            ways[base.index()].hooks = 1 << hook;
        }
    }
    for from in order {
        let way = ways[from.index()];
        for (_, to) in &ir.chains[from.index()].jumps {
            let there = &mut ways[to.index()];
            there.hooks |= way.hooks;
            there.level = there.level.max(way.level.saturating_add(1));
        }
    }
    for (_, to) in ir.chains.iter().flat_map(|chain| &chain.jumps) {
        ways[to.index()].refs += 1;
    }
    let reached: FxHashMap<*const RuleChain, usize> =
        ir.chains.iter().enumerate().map(|(id, chain)| (std::ptr::from_ref(chain.chain), id)).collect();
    let mut all = Vec::new();
    for table in &ruleset.tables {
        let first = all.len();
        all.extend(table.chains().map(|chain| {
            let way = reached.get(&std::ptr::from_ref(chain));
            let way = way.map_or_else(ChainPlace::default, |id| ChainPlace { line: places[*id].chain, ..ways[*id] });
            ChainPlace { flags: chain_flags(chain), ..way }
        }));
        // Those that no hook reaches refer to chains as well.
        let unreached = table.chains().zip(&all[first..]).filter(|(_, place)| place.line == 0).map(|(chain, _)| chain);
        let unreached: Vec<&str> =
            unreached.flat_map(|chain| &chain.rules).filter_map(|r| Some(jump_of(r)?.0)).collect();
        if !unreached.is_empty() {
            let names: FxHashMap<&str, usize> =
                (first..).zip(table.chains()).map(|(at, chain)| (&*chain.name.0, at)).collect();
            unreached.iter().filter_map(|name| names.get(name)).for_each(|at| all[*at].refs += 1);
        }
    }
    all
}

pub(crate) fn places(ir: &Ir<'_>, split: usize) -> Vec<Place> {
    let parts = |rules: usize| rules.div_ceil(split).max(1) as u32;
    let mut chain = FIRST_FREE_LINE;
    let mut rules = chain + ir.chains.iter().map(|c| parts(c.chain.rules.len())).sum::<u32>();
    ir.chains
        .iter()
        .map(|c| {
            let place = Place { chain, parts: parts(c.chain.rules.len()), rules };
            chain += place.parts;
            rules += c.chain.rules.len() as u32;
            place
        })
        .collect()
}

/// Stores the table of base chains; the header's `present` word.
fn bases(ir: &Ir<'_>, places: &[Place], lines: &mut Lines) -> u32 {
    let line_of = |id: &Option<ChainId>| id.map_or(0, |id| places[id.index()].chain);
    let mut words: Vec<u32> = ir.bases.iter().flatten().map(line_of).collect();
    words.resize(32, 0);
    debug_assert_eq!(ir.bases[0].len(), TABLES);
    let present = (0..).zip(&words).filter(|(_, line)| **line != 0).fold(0, |bits, (at, _): (u32, _)| bits | 1 << at);
    for (line, content) in (BASES_LINE..).zip(crate::lines::lines_of(&words)) {
        lines.set(line, content.0);
    }
    present
}

/// What a rule asks of the image by being there, reached or not; as legacy's asks for conntrack. The nat table alone does not, nor does
/// NOTRACK.
fn rule_flags(rule: &Rule) -> u32 {
    let mut flags = guard::rule_flag(rule);
    flags |= match rule.target {
        Target::Connmark(_)
        | Target::Dnat(_)
        | Target::Snat(_)
        | Target::Masquerade(_)
        | Target::Redirect(_)
        | Target::Netmap(_) => FLAG_CONNTRACK,
        Target::Log(_) => FLAG_EVENTS,
        Target::Nflog(_) => FLAG_NFLOG,
        Target::Trace(_) => FLAG_TRACE,
        Target::Dnpt(_) => FLAG_DNPT,
        Target::Tproxy(_) => FLAG_DEFRAG | FLAG_NO_VRF,
        Target::Rateest(_) => FLAG_SELDOM | chain_flag::SHARES,
        Target::Set(ref set) => {
            let changes = set.add.is_some() || set.del.is_some();
            FLAG_SETS | chain_flag::SHARES | if changes { FLAG_SET_CHANGES } else { 0 }
        }
        Target::Idletimer(_) => chain_flag::SHARES,
        Target::Tcpmss(TcpmssSet::Clamp) => FLAG_CLAMP,
        Target::Ct(ref ct) if !ct.notrack => FLAG_CONNTRACK | if ct.zone == Zone::default() { 0 } else { FLAG_ZONES },
        Target::Reject(_) => chain_flag::REJECTS,
        Target::Hmark(_) => FLAG_SELDOM,
        Target::Tee(_) => FLAG_SELDOM | FLAG_NO_VRF,
        _ => 0,
    };
    for m in &rule.matches {
        flags |= match m {
            Match::Conntrack(_)
            | Match::State(_)
            | Match::Connmark(_)
            | Match::Cluster(_)
            | Match::Connlimit(_)
            | Match::Helper(_) => FLAG_CONNTRACK,
            Match::Connbytes(_) => FLAG_CONNTRACK | FLAG_ACCT,
            Match::Connlabel(_) => FLAG_CONNTRACK | FLAG_LABELS,
            Match::Mac(_) | Match::Eui64(_) => FLAG_MAC,
            Match::Devgroup(_) => FLAG_GROUPS,
            Match::Socket(_) => FLAG_NO_VRF,
            // Which of a VRF's addresses are whose is not in the table that programs see.
            Match::Addrtype(types) if types.limit_in || types.limit_out => FLAG_NO_VRF,
            Match::Rpfilter(filter) if filter.accept_local => FLAG_NO_VRF,
            Match::Hashlimit(_) | Match::Rateest(_) | Match::Recent(_) | Match::Set(_) => chain_flag::SHARES,
            // The path is looked up anew whenever the table is committed.
            Match::Cgroup(cgroup) if cgroup.path.is_some() => chain_flag::SHARES,
            _ => 0,
        };
        flags |= part(m);
    }
    flags
}

/// The part of the programs that runs a match ([`bpftables_abi::parts`]), but for that with connections.
fn part(m: &Match) -> u32 {
    match m {
        Match::Set(_) => FLAG_SETS,
        Match::Recent(_) => FLAG_RECENT,
        Match::Socket(_) => FLAG_DEFRAG,
        Match::Ah6(_)
        | Match::Dst(_)
        | Match::Eui64(_)
        | Match::Frag(_)
        | Match::Hbh(_)
        | Match::Ipv6header(_)
        | Match::Mh(_)
        | Match::Rt(_)
        | Match::Srh(_) => FLAG_HEADERS,
        Match::Ah(_)
        | Match::Bpf(_)
        | Match::Cgroup(_)
        | Match::Cluster(_)
        | Match::Connbytes(_)
        | Match::Connlabel(_)
        | Match::Connlimit(_)
        | Match::Dccp(_)
        | Match::Devgroup(_)
        | Match::Esp(_)
        | Match::Hashlimit(_)
        | Match::Ipcomp(_)
        | Match::Physdev(_)
        | Match::Quota(_)
        | Match::Rateest(_)
        | Match::Rpfilter(_)
        | Match::Sctp(_)
        | Match::String(_)
        | Match::Tcpmss(_)
        | Match::Time(_)
        | Match::U32(_) => FLAG_SELDOM,
        _ => 0,
    }
}

const _: () = assert!(
    (FLAG_LABELS | FLAG_ACCT | FLAG_NFLOG | FLAG_CLAMP | FLAG_ZONES | FLAG_NO_VRF | bpftables_abi::parts::ALL)
        & chain_flag::ALL
        == 0
);

/// What a chain asks of the image.
pub(crate) fn chain_flags(chain: &RuleChain) -> u32 {
    let own = if chain.policy.is_some_and(|policy| policy != Policy::Accept) { FLAG_GUARD } else { 0 };
    chain.rules.iter().fold(own, |flags, rule| flags | rule_flags(rule))
}

fn header(ruleset: &Ruleset, chains: &[ChainPlace]) -> Header {
    let mut flags = chains.iter().fold(0, |flags, chain| flags | chain.flags) & !chain_flag::ALL;
    if ruleset.table(TableKind::Nat).is_some() {
        flags |= FLAG_NAT;
    }
    Header {
        magic: MAGIC,
        abi: ABI_VERSION,
        generation: 0,
        family: if ruleset.family == Family::V4 { 4 } else { 6 },
        lines: 0,
        flags,
        blob_line: 0,
        blob_len: 0,
        iface_table: 0,
        iface_mask: 0,
        iface_seed: 0,
        iface_lens: 0,
        iface_classes: 0,
        present: 0,
        blob_crc: 0,
    }
}
