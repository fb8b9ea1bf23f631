//! A change of some chains of one table, compiled into additions to an image that is there.
//!
//! Nothing in an image says where it stands, so lines stay where they are: a chain's descriptor is written again in its place, and what
//! it then refers to is put behind the image's end, with some room, into which it is put again when the chain changes again. A long chain keeps its tables where rules only went or were added at its ends: rules
//! that went are overwritten by records that never match, others stand in short segments before and after ([`Chain::next`]).
//!
//! What is checked here is what [`crate::compile`] and `ruleset::check` check, but by what is known of each chain: the hooks that lead to
//! it and how deep it is, which may be more than is true once ways to it are gone. So whatever is not as it should be is not refused here, but
//! left to them: [`Whole`].

use crate::build::{chain_flags, descriptor};
use crate::error::CompileError;
use crate::graph::MAX_DEPTH;
use crate::iface::Ifaces;
use crate::image::{ChainPlace, Line, Region, StateLine, chain_flag};
use crate::ir::{Ir, IrChain, jump_of};
use crate::lines::Lines;
use crate::residual::Leftovers;
use crate::{Options, record, strategy};
use bpftables_abi::image::{Chain, FLAG_TRACE, Header, Rule as Record, chain_kind, rule_flag, vecref};
use bpftables_ruleset::check::{ends_chain, may_stand};
use bpftables_ruleset::{Chain as RuleChain, ChainName, Family, Hook, Rule, Slot, TableKind};
use rustc_hash::{FxHashMap, FxHashSet};
use std::borrow::Cow;
use std::collections::BTreeMap;
use zerocopy::FromZeros;

/// Chains of fewer rules are always compiled anew.
const LONG: usize = 64;
/// Rules in a segment before or after a long chain's tables.
const SEGMENT: usize = 32;
/// Records of a chain's tables that never match any more.
const GONE: usize = 64;
/// A chain's lines have room to grow by this part, and at least by so many.
const SLACK: u32 = 8;
/// See [`SLACK`].
const LEAST: u32 = 4;
/// Chains that a change may reach beyond those that it names.
const REACH: usize = 4096;

/// The table as the image has it.
pub trait Directory {
    /// Where a chain stands; none if there is none.
    fn place(&self, chain: &str) -> Option<ChainPlace>;
    /// A chain with its rules.
    fn chain(&self, chain: &str) -> Option<RuleChain>;
    /// What a chain that is changed was before; none if it is new.
    fn before(&self, chain: &str) -> Option<&Before>;
}

/// A chain before it was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// Its rules by their slots, in order.
    pub slots: Vec<Slot>,
    /// Which of them (from 0) jump or go where.
    pub jumps: Vec<(u32, ChainName)>,
    /// Some of these stand behind a rule that no packet passes: they were not followed when the table was checked.
    pub hides: bool,
}

impl Before {
    /// Of a chain.
    #[must_use]
    pub fn of(chain: &RuleChain) -> Self {
        let jumps = (0..).zip(&chain.rules).filter_map(|(at, rule)| Some((at, jump_of(rule)?.0.into())));
        let behind = chain.rules.iter().skip_while(|rule| !ends_chain(rule));
        let hides = behind.skip(1).any(|rule| jump_of(rule).is_some());
        Self { slots: chain.rules.iter().map(|rule| rule.slot).collect(), jumps: jumps.collect(), hides }
    }
}

/// The image that is there.
#[derive(Clone, Copy)]
pub struct Base<'a> {
    /// Its family.
    pub family: Family,
    /// The table that is changed.
    pub table: TableKind,
    /// Its header.
    pub header: Header,
    /// Its interface patterns ([`crate::Image::ifaces`]).
    pub ifaces: &'a [(Box<str>, bool)],
    /// What it was compiled with.
    pub options: &'a Options,
    /// The first line that may be added.
    pub end: u32,
    /// Reads its lines.
    pub line: &'a dyn Fn(u32) -> Line,
    /// The table.
    pub directory: &'a dyn Directory,
}

/// What makes the new image of the old one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// Lines to be written, and the first one's number.
    pub blocks: Vec<(u32, Vec<Line>)>,
    /// Its lines then.
    pub end: u32,
    /// Where the changed chains, and others that they lead to now, stand. Their `refs` are as before.
    pub places: BTreeMap<ChainName, ChainPlace>,
    /// New lines that programs write.
    pub states: Vec<StateLine>,
    /// Rules whose records are no more; so are the lines that programs wrote for them.
    pub gone: FxHashSet<Slot>,
}

/// The whole ruleset has to be compiled (and checked), and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the whole ruleset is compiled: {0}")]
pub struct Whole(&'static str);

impl From<CompileError> for Whole {
    fn from(_: CompileError) -> Self {
        Self("a rule cannot be run")
    }
}

/// Compiles the chains of `touched`, all of whose rules have slots; the chains that `removed` names are gone.
///
/// # Errors
/// [`Whole`].
pub fn patch(base: &Base<'_>, touched: &[&RuleChain], removed: &[&str]) -> Result<Patch, Whole> {
    if base.header.flags & FLAG_TRACE != 0 {
        return Err(Whole("TRACE names rules by number"));
    }
    let shares = |name: &&str| base.directory.place(name).is_some_and(|place| place.flags & chain_flag::SHARES != 0);
    if removed.iter().any(shares) {
        return Err(Whole("it named what other chains share"));
    }
    let mut patcher = Patcher {
        base,
        ifaces: Ifaces::of_list(base.ifaces)?,
        nodes: BTreeMap::new(),
        lines: Lines::default(),
        end: base.end,
        left: Leftovers::of_chains(base.options),
        blocks: Vec::new(),
        gone: FxHashSet::default(),
    };
    for chain in touched {
        patcher.touch(chain)?;
    }
    patcher.spread()?;
    patcher.check()?;
    patcher.compile()?;
    let places = patcher.nodes.into_iter().map(|(name, node)| (name, node.place)).collect();
    let Patcher { blocks, end, left, gone, .. } = patcher;
    Ok(Patch { blocks, end, places, states: left.states, gone })
}

/// The record of a rule that is gone: it matches nothing, whatever the packet.
fn never() -> Record {
    Record { flags: rule_flag::NEVER, slot: Slot::UNASSIGNED.0, ..Record::new_zeroed() }
}

struct Node<'a> {
    chain: Cow<'a, RuleChain>,
    place: ChainPlace,
    /// It is changed itself, not only reached by another way.
    touched: bool,
    /// Hooks or level are more than they were.
    grew: bool,
    /// It was not in the image.
    new: bool,
}

struct Patcher<'a> {
    base: &'a Base<'a>,
    ifaces: Ifaces<'a>,
    nodes: BTreeMap<ChainName, Node<'a>>,
    /// Of the chain that is compiled now.
    lines: Lines,
    end: u32,
    left: Leftovers,
    blocks: Vec<(u32, Vec<Line>)>,
    gone: FxHashSet<Slot>,
}

impl<'a> Patcher<'a> {
    fn touch(&mut self, chain: &'a RuleChain) -> Result<(), Whole> {
        let old = self.base.directory.place(&chain.name.0).unwrap_or_default();
        let flags = chain_flags(chain);
        if (flags | old.flags) & chain_flag::SHARES != 0 {
            return Err(Whole("it names what other chains share"));
        }
        if flags & FLAG_TRACE != 0 {
            return Err(Whole("TRACE names chains"));
        }
        if chain.rules.len() > self.base.options.split {
            return Err(Whole("a chain too long for one descriptor"));
        }
        let place = ChainPlace { flags, ..old };
        if self.base.directory.before(&chain.name.0).is_some_and(|before| before.hides) {
            return Err(Whole("jumps that were not followed"));
        }
        let node = Node { chain: Cow::Borrowed(chain), place, touched: true, grew: false, new: false };
        self.nodes.insert(chain.name.clone(), node);
        Ok(())
    }

    /// Follows the jumps that are new.
    fn spread(&mut self) -> Result<(), Whole> {
        let mut todo: Vec<ChainName> = self.reached().map(|(name, _)| name.clone()).collect();
        while let Some(name) = todo.pop() {
            let Some(node) = self.nodes.get(&name) else { continue };
            let (way, grew) = (node.place, node.grew);
            let before = self.base.directory.before(&name.0).filter(|_| node.touched && !grew);
            let known: FxHashSet<&str> = before.into_iter().flat_map(|b| &b.jumps).map(|(_, to)| &*to.0).collect();
            let mut led: Vec<ChainName> = Vec::new();
            for to in node.chain.rules.iter().filter_map(|rule| Some(jump_of(rule)?.0)) {
                if !known.contains(to) && led.last().is_none_or(|last| &*last.0 != to) {
                    led.push(to.into());
                }
            }
            for to in led {
                if self.lead(&to, way)? {
                    todo.push(to);
                }
            }
        }
        Ok(())
    }

    fn reached(&self) -> impl Iterator<Item = (&ChainName, &Node<'a>)> {
        self.nodes.iter().filter(|(_, node)| node.place.hooks != 0)
    }

    /// A chain is reached by a jump from another; whether that is news.
    fn lead(&mut self, to: &ChainName, from: ChainPlace) -> Result<bool, Whole> {
        let known = self.nodes.get(to).map(|node| node.place);
        let there = known.or_else(|| self.base.directory.place(&to.0)).ok_or(Whole("a jump to no chain"))?;
        let level = there.level.max(from.level.saturating_add(1));
        if u32::from(level) > MAX_DEPTH {
            return Err(Whole("a loop, or jumps nested too deep"));
        }
        let place = ChainPlace { hooks: there.hooks | from.hooks, level, ..there };
        let missing = known.is_none() && there.line == 0;
        if place == there && !missing {
            return Ok(false);
        }
        if known.is_none() {
            if self.nodes.len() > REACH {
                return Err(Whole("many chains are reached anew"));
            }
            let chain = self.base.directory.chain(&to.0).ok_or(Whole("a chain that cannot be read"))?;
            let node = Node { chain: Cow::Owned(chain), place: there, touched: false, grew: false, new: false };
            self.nodes.insert(to.clone(), node);
        }
        if let Some(node) = self.nodes.get_mut(to) {
            (node.place, node.grew) = (place, true);
        }
        Ok(true)
    }

    /// Rules stand where they may, and could be run if a hook led to them.
    fn check(&mut self) -> Result<(), Whole> {
        let (base, mut scratch, mut left) = (self.base, Lines::default(), Leftovers::of_chains(self.base.options));
        for node in self.nodes.values() {
            if !may_stand(&node.chain, base.family, base.table, node.place.hooks) {
                return Err(Whole("a rule may not stand where it does"));
            }
            if node.place.flags & chain_flag::SHARES != 0 {
                return Err(Whole("it names what other chains share"));
            }
            let input = node.place.hooks >> Hook::Input as u8 & 1 != 0;
            // Of those that are reached, what is not compiled below, and may be asked at INPUT now.
            if node.place.hooks != 0 && (node.touched || !node.grew || !input) {
                continue;
            }
            let chain = IrChain { table: base.table, chain: &node.chain, jumps: Vec::new(), input };
            let tried = Ir { chains: vec![chain], ..Ir::default() };
            let ifaces = Ifaces::new(&tried)?;
            for index in 0..node.chain.rules.len() {
                record::encode(&tried.chains[0], index, 0, &ifaces, base.family, &mut scratch, &mut left)?;
            }
        }
        Ok(())
    }

    fn compile(&mut self) -> Result<(), Whole> {
        // Jumps need to know where chains will be.
        let mut names = Vec::new();
        for (name, node) in &mut self.nodes {
            if node.place.hooks == 0 {
                continue;
            }
            if node.place.line == 0 {
                (node.place.line, node.new) = (self.end, true);
                self.end += 1;
            }
            if node.touched || node.new {
                names.push(name.clone());
            }
        }
        for name in names {
            let Some(node) = self.nodes.get(&name) else { continue };
            let (chain, place, new) = (node.chain.clone(), node.place, node.new);
            let before = self.base.directory.before(&name.0).filter(|_| !new);
            let parts = match before {
                Some(before) => Some(self.parts(place.line, before)?),
                None => None,
            };
            let mut changed = place;
            let keeps =
                parts.as_ref().filter(|_| chain.rules.len() >= LONG).and_then(|parts| keeps(&chain, parts, place.ends));
            if let Some(keeps) = keeps {
                changed.ends = self.region(place.ends, |patcher| patcher.keep(&chain, place, &keeps))?;
            } else {
                self.gone.extend(before.into_iter().flat_map(|before| &before.slots));
                let known = parts.as_ref().zip(before).map(|(parts, before)| parts.lines(before)).unwrap_or_default();
                changed.own = self.region(place.own, |patcher| {
                    let whole = patcher.segment(&chain, 0..chain.rules.len(), place, &known, false)?;
                    patcher.put(place.line, zerocopy::transmute!(whole));
                    Ok(())
                })?;
            }
            if let Some(node) = self.nodes.get_mut(&name) {
                node.place = changed;
            }
            if self.end > vecref::PAYLOAD / 2 {
                return Err(Whole("too many lines"));
            }
        }
        Ok(())
    }

    /// Has lines made for a region that is there, or for a new one behind the end if they find no room in it.
    fn region(&mut self, known: Region, make: impl Fn(&mut Self) -> Result<(), Whole>) -> Result<Region, Whole> {
        let before = (self.left.states.len(), self.blocks.len());
        let new = Region { line: self.end, room: 0 };
        for region in [Some(known).filter(|known| known.room != 0), Some(new)].into_iter().flatten() {
            self.left.states.truncate(before.0);
            self.blocks.truncate(before.1);
            self.lines = Lines::behind(region.line);
            make(self)?;
            let used = self.lines.len() - region.line;
            if used == 0 {
                return Ok(known);
            }
            if used <= region.room {
                self.blocks.push((region.line, std::mem::take(&mut self.lines).into_lines()));
                return Ok(region);
            }
            if region == new {
                let room = used + used / SLACK + LEAST;
                self.lines.reserve((room - used) as usize);
                self.blocks.push((region.line, std::mem::take(&mut self.lines).into_lines()));
                self.end += room;
                return Ok(Region { room, ..region });
            }
        }
        Err(Whole("no place for a chain"))
    }

    fn put(&mut self, line: u32, bytes: [u8; 64]) {
        self.blocks.push((line, vec![Line(bytes)]));
    }

    /// The line of a chain that a rule goes to.
    fn line_of(&self, to: &str, known: &FxHashMap<&str, u32>) -> Result<u32, Whole> {
        let node = || self.nodes.get(to).map(|node| node.place.line);
        let elsewhere = || Some(self.base.directory.place(to)?.line);
        let line = node().or_else(|| known.get(to).copied()).or_else(elsewhere);
        line.filter(|line| *line != 0).ok_or(Whole("a jump to a chain that is not in the image"))
    }

    /// Compiles rules of a chain. `listed`: they are scanned.
    fn segment(
        &mut self,
        chain: &RuleChain,
        range: std::ops::Range<usize>,
        place: ChainPlace,
        known: &FxHashMap<&str, u32>,
        listed: bool,
    ) -> Result<Chain, Whole> {
        let base = self.base;
        let input = place.hooks >> Hook::Input as u8 & 1 != 0;
        let ir = IrChain { table: base.table, chain, jumps: Vec::new(), input };
        let first = self.lines.reserve(range.len());
        let mut records = Vec::with_capacity(range.len());
        for (line, index) in (first..).zip(range.clone()) {
            let jump = match jump_of(&chain.rules[index]) {
                Some((to, _)) => self.line_of(to, known)?,
                None => 0,
            };
            let record = record::encode(&ir, index, jump, &self.ifaces, base.family, &mut self.lines, &mut self.left)?;
            self.lines.set(line, zerocopy::transmute!(record));
            records.push(record);
        }
        let rules = if range.is_empty() { 0 } else { first };
        let mut of = Chain { rules, nrules: range.len() as u32, ..descriptor(chain) };
        if !listed {
            let scope = strategy::Scope { family: base.family, iface_classes: self.ifaces.count() };
            let rules = &chain.rules[range];
            strategy::choose(rules, &records, base.options, scope, &mut self.lines, &mut of)?;
        }
        Ok(of)
    }

    /// What the image has of a chain.
    fn parts(&self, line: u32, before: &Before) -> Result<Parts, Whole> {
        let mut parts = Parts { segments: Vec::new(), live: Vec::new() };
        let mut at = line;
        while at != 0 {
            let of: Chain = zerocopy::transmute!((self.base.line)(at).0);
            let mut records = Vec::with_capacity(of.nrules as usize);
            for index in 0..of.nrules {
                let record: Record = zerocopy::transmute!((self.base.line)(of.rules + index).0);
                let lives = record.slot != Slot::UNASSIGNED.0;
                if lives {
                    parts.live.push(record);
                }
                records.push(lives.then_some(Slot(record.slot)));
            }
            parts.segments.push((of, records));
            at = of.next;
            if parts.segments.len() > before.slots.len() + 3 {
                return Err(Whole("segments that do not end"));
            }
        }
        let agree = parts.live.iter().map(|record| Slot(record.slot)).eq(before.slots.iter().copied());
        if agree { Ok(parts) } else { Err(Whole("the image has other rules than its state")) }
    }

    /// Keeps a long chain's tables.
    fn keep(&mut self, chain: &RuleChain, place: ChainPlace, keeps: &Keeps) -> Result<(), Whole> {
        for index in &keeps.dead {
            self.put(keeps.main.rules + index, zerocopy::transmute!(never()));
        }
        self.gone.extend(&keeps.gone);
        let known = FxHashMap::default();
        let mut next = 0;
        if keeps.tail < chain.rules.len() {
            next = self.lines.reserve(1);
            let of = self.segment(chain, keeps.tail..chain.rules.len(), place, &known, true)?;
            self.lines.set(next, zerocopy::transmute!(of));
        }
        let own = descriptor(chain);
        let main = Chain { policy: own.policy, policy_slot: own.policy_slot, next, ..keeps.main };
        if keeps.head == 0 {
            self.put(place.line, zerocopy::transmute!(main));
        } else {
            let moved = self.lines.reserve(1);
            self.lines.set(moved, zerocopy::transmute!(main));
            let of = Chain { next: moved, ..self.segment(chain, 0..keeps.head, place, &known, true)? };
            self.put(place.line, zerocopy::transmute!(of));
        }
        Ok(())
    }
}

/// How a long chain's tables can be kept.
struct Keeps {
    main: Chain,
    /// Records of it that are gone now.
    dead: Vec<u32>,
    /// Rules whose records are no more, or are made anew.
    gone: Vec<Slot>,
    /// Rules before those of the tables.
    head: usize,
    /// The first rule behind them.
    tail: usize,
}

/// Whether a chain's tables can be kept: its rules are those of the tables but for some that are gone, and few before and behind them.
fn keeps(chain: &RuleChain, parts: &Parts, ends: Region) -> Option<Keeps> {
    if parts.segments.len() > 3 {
        return None;
    }
    // The ends' segments are written anew, however long they are.
    let in_ends = |of: &Chain| (ends.line..ends.line + ends.room).contains(&of.rules);
    let (main, records) = parts.segments.iter().find(|(of, _)| !in_ends(of))?;
    let at: FxHashMap<Slot, usize> =
        records.iter().enumerate().filter_map(|(index, slot)| Some(((*slot)?, index))).collect();
    let in_main = |rule: &Rule| at.get(&rule.slot).copied();
    let head = chain.rules.iter().position(|rule| in_main(rule).is_some())?;
    let tail = chain.rules.iter().rposition(|rule| in_main(rule).is_some())? + 1;
    let kept: Vec<usize> = chain.rules[head..tail].iter().map(in_main).collect::<Option<_>>()?;
    let dead = records.len() - kept.len();
    let short = head <= SEGMENT && chain.rules.len() - tail <= SEGMENT && dead <= GONE.min(records.len() / 2);
    if !short || !kept.is_sorted() {
        return None;
    }
    let stay: FxHashSet<Slot> = chain.rules[head..tail].iter().map(|rule| rule.slot).collect();
    let dead = (0..).zip(records).filter(|(_, slot)| slot.is_some_and(|slot| !stay.contains(&slot)));
    let gone = parts.live.iter().map(|record| Slot(record.slot)).filter(|slot| !stay.contains(slot));
    Some(Keeps { main: *main, dead: dead.map(|(index, _)| index).collect(), gone: gone.collect(), head, tail })
}

/// A chain as the image has it.
struct Parts {
    /// Its descriptors, and the slots of their records; none of those that are gone.
    segments: Vec<(Chain, Vec<Option<Slot>>)>,
    /// The records of its rules.
    live: Vec<Record>,
}

impl Parts {
    /// Lines of the chains that its rules go to.
    fn lines<'b>(&self, before: &'b Before) -> FxHashMap<&'b str, u32> {
        let line = |at: u32| Some(self.live.get(at as usize)?.arg);
        before.jumps.iter().filter_map(|(at, to)| Some((&*to.0, line(*at)?))).collect()
    }
}

const _: () = assert!(chain_kind::LIST == 0);

#[cfg(test)]
mod tests;
