//! A table of the live ruleset of which only what an edit asks for is read, and how it is committed: what changes is compiled and
//! serialized, all else stays in the image as it is.

use crate::chains::{self, Entry, Found, Stored, View};
use crate::counters::FewCounters;
use crate::error::{EngineError, Result};
use crate::image::{Live, Prepared, merged};
use crate::index::{self, Changed, Row};
use crate::segment::{self, Zeroed};
use crate::slots::{self, SlotSet};
use crate::state::{Meta, StateAt, Step, lines};
use crate::sys::bpf::Map;
use crate::sys::mmap::Mapping;
use bpftables_abi::image::{FLAG_ACCT, FLAG_IFACE, FLAG_NAT, Header, LINE};
use bpftables_compiler::patch::{Base, Before, Directory, Patch, patch};
use bpftables_compiler::{ChainPlace, Options, Region, chain_flag};
use bpftables_ruleset::edit::Source;
use bpftables_ruleset::{Chain, ChainName, CounterView, Counters, LineId, Slot, Table, TableKind};
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use zerocopy::IntoBytes;

/// An image that grew by this part since it was made as a whole, and by so many lines, is made as a whole again.
const GROWTH: (u32, u32) = (4, 8192);
/// Steps that an image knows of: the next slot is two behind.
const STEPS: usize = 2;

/// A line of the index, and its number.
type Place = (u32, Entry);

/// What was there of a chain that was read.
#[derive(Debug)]
struct Taken {
    at: u32,
    entry: Entry,
    place: ChainPlace,
    segment: Region,
    before: Before,
}

/// A table as it is live, read chain by chain.
#[derive(Debug)]
pub struct Part {
    pub(crate) live: Arc<Live>,
    pub(crate) kind: TableKind,
    found: RefCell<FxHashMap<Box<str>, Option<Place>>>,
    taken: RefCell<BTreeMap<ChainName, Taken>>,
    /// Something could not be read.
    failed: Cell<bool>,
    counters: FewCounters<Map<u32, u32>>,
}

impl Part {
    /// None if there is no such table.
    pub(crate) fn open(live: &Arc<Live>, kind: TableKind, counters: Map<u32, u32>) -> Result<Option<Self>> {
        if live.meta.table(kind).is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            live: Arc::clone(live),
            kind,
            found: RefCell::default(),
            taken: RefCell::default(),
            failed: Cell::new(false),
            counters: FewCounters::new(counters)?,
        }))
    }

    fn view(&self) -> Result<View<'_, Mapping>> {
        self.live.table(self.kind).ok_or_else(|| EngineError::Internal("a table vanished".to_owned()))
    }

    fn or_failed<T: Default>(&self, result: Result<T>) -> T {
        result.unwrap_or_else(|error| {
            tracing::debug!(%error, "a part of the state cannot be read");
            self.failed.set(true);
            T::default()
        })
    }

    fn find(&self, chain: &str) -> Option<Place> {
        if let Some(found) = self.found.borrow().get(chain) {
            return *found;
        }
        let found = match self.view().and_then(|view| view.find(chain)) {
            Ok(Found::There(line, entry)) => Some((line, entry)),
            found => self.or_failed(found.map(|_| None)),
        };
        self.found.borrow_mut().insert(chain.into(), found);
        found
    }

    fn stored(&self, entry: &Entry) -> Option<Stored> {
        self.or_failed(self.view().and_then(|view| view.stored(entry)).map(Some))
    }
}

impl Source for Part {
    fn has(&self, chain: &str) -> bool {
        self.find(chain).is_some()
    }

    fn take(&self, chain: &str) -> Option<Chain> {
        let (at, entry) = self.find(chain)?;
        let Stored { place, segment, chain } = self.stored(&entry)?;
        let taken = Taken { at, entry, place, segment, before: Before::of(&chain) };
        self.taken.borrow_mut().insert(chain.name.clone(), taken);
        Some(chain)
    }

    fn references(&self, chain: &str) -> u32 {
        self.find(chain).map_or(0, |(_, entry)| entry.place().refs)
    }

    fn lines(&self, chain: &str) -> Option<Vec<LineId>> {
        let (_, entry) = self.find(chain)?;
        self.or_failed(self.view().and_then(|view| view.made_by(&entry)).map(Some))
    }

    fn counted(&self, slot: Slot) -> Counters {
        self.counters.get(slot)
    }

    fn is_sound(&self) -> bool {
        !self.failed.get() && self.counters.is_sound() && self.live.is_unwritten()
    }
}

impl CounterView for Part {
    fn get(&self, slot: Slot) -> Counters {
        self.counters.get(slot)
    }
}

/// The table before the change, for the compiler.
struct Was<'a> {
    part: &'a Part,
    taken: &'a BTreeMap<ChainName, Taken>,
}

impl Directory for Was<'_> {
    fn place(&self, chain: &str) -> Option<ChainPlace> {
        match self.taken.get(chain) {
            Some(taken) => Some(taken.place),
            None => self.part.find(chain).map(|(_, entry)| entry.place()),
        }
    }

    fn chain(&self, chain: &str) -> Option<Chain> {
        let (_, entry) = self.part.find(chain)?;
        Some(self.part.stored(&entry)?.chain)
    }

    fn before(&self, chain: &str) -> Option<&Before> {
        Some(&self.taken.get(chain)?.before)
    }
}

/// What is to be done, once it is known that it can be.
pub(crate) struct Planned {
    pub(crate) prepared: Prepared,
    pub(crate) used: SlotSet,
    pub(crate) retired: SlotSet,
}

/// Makes the step that `table` is, edited chain by chain, with the chains taken from `part`, and those of `refilled`, which count from
/// nothing again; none if the ruleset has to be looked at as a whole. Rules get slots.
pub(crate) fn plan(
    part: &Part,
    table: &mut Table,
    refilled: &[ChainName],
    kernel: &dyn Fn(Slot) -> Counters,
) -> Result<Option<Planned>> {
    let taken = part.taken.borrow();
    let live = &part.live;
    if part.failed.get() {
        return Ok(None);
    }
    if live.meta.cgroups.iter().any(|(kind, ..)| *kind == table.kind) {
        tracing::debug!("the table's control groups are looked up anew");
        return Ok(None);
    }
    let removed = taken.keys().filter(|name| table.chain(&name.0).is_none()).map(|name| &*name.0).collect::<Vec<_>>();
    let builtin = table.builtin.iter_mut().filter(|chain| taken.contains_key(&chain.name));
    let mut touched: Vec<&mut Chain> = builtin.chain(table.user.values_mut()).collect();

    let old_used = live.meta.used();
    let mut used = old_used.clone();
    for slot in taken.values().flat_map(|taken| &taken.before.slots) {
        used.remove(slot.0);
    }
    for rule in touched.iter().flat_map(|chain| &chain.rules).filter(|rule| rule.slot != Slot::UNASSIGNED) {
        if !used.insert(rule.slot.0) {
            return Err(EngineError::Internal(format!("counter slot {} is used twice", rule.slot.0)));
        }
    }
    let mut busy = live.meta.retired();
    busy.extend(&old_used);
    slots::assign(touched.iter_mut().map(|chain| &mut **chain), &mut used, &busy, kernel)?;
    let retired = old_used.without(&used);
    let touched: Vec<&Chain> = touched.into_iter().map(|chain| &*chain).collect();

    let base = Base {
        family: live.meta.family,
        table: part.kind,
        header: live.header,
        ifaces: &live.meta.ifaces,
        options: &Options::default(),
        end: live.meta.end,
        line: &|at| live.line(at),
        directory: &Was { part, taken: &taken },
    };
    let patch = match patch(&base, &touched, &removed) {
        Ok(patch) => patch,
        Err(whole) => {
            tracing::debug!(%whole);
            return Ok(None);
        }
    };
    if part.failed.get() {
        return Ok(None);
    }
    let mut step = Growing::new(live, &patch);
    let zeroed = Zeroing { chains: zeroed(part, refilled, kernel)?, kernel };
    step.chains(part, &taken, &touched, &patch, zeroed)?;
    step.meta
        .states
        .retain(|state| state.table != part.kind || state.get().is_some_and(|state| !patch.gone.contains(&state.slot)));
    step.meta.states.extend(patch.states.iter().map(|state| StateAt::new(state, part.kind)));
    step.meta.set_slots(&used, &retired);
    if step.meta.end - step.meta.whole.min(step.meta.end) > step.meta.whole / GROWTH.0 + GROWTH.1 {
        tracing::debug!(lines = step.meta.end, whole = step.meta.whole, "the image grew: it is made as a whole");
        return Ok(None);
    }
    Ok(Some(Planned { prepared: step.finish(live)?, used, retired }))
}

/// What becomes of the segments of chains that count from nothing again, where that is not what they are.
fn zeroed<'a>(
    part: &Part,
    refilled: &'a [ChainName],
    kernel: &dyn Fn(Slot) -> Counters,
) -> Result<FxHashMap<&'a str, Zeroed>> {
    let view = part.view()?;
    let mut zeroed = FxHashMap::default();
    for name in refilled {
        let (_, entry) = part.find(&name.0).ok_or_else(|| EngineError::Internal(format!("chain {name} vanished")))?;
        if let Some(segment) = view.zero(&entry, kernel)? {
            zeroed.insert(&*name.0, segment);
        }
    }
    Ok(zeroed)
}

/// Chains that count from nothing again.
struct Zeroing<'a> {
    chains: FxHashMap<&'a str, Zeroed>,
    kernel: &'a dyn Fn(Slot) -> Counters,
}

/// How the references to chains change: by name.
fn references<'a>(taken: &'a BTreeMap<ChainName, Taken>, touched: &[&'a Chain]) -> FxHashMap<&'a str, i64> {
    let mut by = FxHashMap::default();
    let mut count = |names: &[&'a str], change: i64| {
        for name in names {
            *by.entry(*name).or_insert(0) += change;
        }
    };
    let now: FxHashMap<&str, Vec<&str>> =
        touched.iter().map(|chain| (&*chain.name.0, chain.rules.iter().filter_map(chains::jump).collect())).collect();
    for (name, taken) in taken {
        let old: Vec<&str> = taken.before.jumps.iter().map(|(_, to)| &*to.0).collect();
        let new = now.get(&*name.0).map_or(&[][..], Vec::as_slice);
        // What is the same at the beginning and at the end need not be counted.
        let same = old.iter().zip(new).take_while(|(a, b)| a == b).count();
        let (old, new) = (&old[same..], &new[same..]);
        let same = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
        count(&old[..old.len() - same], -1);
        count(&new[..new.len() - same], 1);
    }
    for (name, new) in &now {
        if !taken.contains_key(*name) {
            count(new, 1);
        }
    }
    by.retain(|_, change| *change != 0);
    by
}

/// The next image, as it differs from the live one.
struct Growing {
    blocks: Vec<(u32, Vec<u8>)>,
    meta: Meta,
}

impl Growing {
    fn new(live: &Live, patch: &Patch) -> Self {
        let mut meta = live.meta.clone();
        meta.end = patch.end;
        let blocks = patch.blocks.iter().map(|(first, lines)| (*first, lines.as_bytes().to_vec()));
        Self { blocks: blocks.collect(), meta }
    }

    /// Lines that nobody has yet.
    fn reserve(&mut self, room: u32) -> Region {
        let region = Region { line: self.meta.end, room };
        self.meta.end += room;
        region
    }

    /// Puts a chain's segment where the old one is, or behind the end if it is too long for that.
    fn segment(&mut self, chain: &Chain, known: Region, place: ChainPlace, entry: &mut Entry) -> Result<()> {
        let mut bytes = segment::encode_onto(chain, Vec::new())?;
        let mut region = known;
        let new = lines(bytes.len()) > known.room;
        if new {
            region = self.reserve(segment::room(&bytes, chain.rules.len()));
        }
        segment::seal(&mut bytes, region.room, place)?;
        entry.set_segment(region.line, &bytes);
        if new {
            bytes.resize(region.room as usize * LINE, 0);
        }
        self.blocks.push((region.line, bytes));
        Ok(())
    }

    /// Writes what a segment becomes of which only the counters change.
    fn zeroed(&mut self, zeroed: Zeroed, entry: &mut Entry) -> Result<()> {
        match zeroed {
            Zeroed::InPlace { head, blocks } => {
                entry.set_head(&head);
                self.blocks.extend(blocks.into_iter().map(|(line, bytes)| (entry.segment() + line, bytes)));
            }
            Zeroed::Moved { mut segment, room } => {
                let region = self.reserve(room);
                segment::set_room(&mut segment, room)?;
                entry.set_segment(region.line, &segment);
                segment.resize(room as usize * LINE, 0);
                self.blocks.push((region.line, segment));
            }
        }
        Ok(())
    }

    fn chains(
        &mut self,
        part: &Part,
        taken: &BTreeMap<ChainName, Taken>,
        touched: &[&Chain],
        patch: &Patch,
        mut zeroing: Zeroing<'_>,
    ) -> Result<()> {
        let by = references(taken, touched);
        let chains: FxHashMap<&str, &Chain> = touched.iter().map(|chain| (&*chain.name.0, *chain)).collect();
        let mut names: BTreeSet<&str> = by.keys().copied().collect();
        names.extend(taken.keys().chain(patch.places.keys()).map(|name| &*name.0));
        names.extend(zeroing.chains.keys().copied());
        let mut rows: BTreeMap<&str, (Option<u32>, Row)> = BTreeMap::new();
        for name in names {
            let old = match taken.get(name) {
                Some(taken) => Some((taken.at, taken.entry)),
                None => part.find(name),
            };
            if let Some((_, entry)) = &old {
                self.meta.sum = self.meta.sum.wrapping_sub(entry.check());
                self.meta.count_flags(entry.place().flags, -1);
            }
            let at = old.map(|(at, _)| at);
            if taken.contains_key(name) && !chains.contains_key(name) {
                rows.extend(old.map(|(at, entry)| (name, (Some(at), Row::Remove(entry)))));
                continue;
            }
            let known = old.map(|(_, entry)| entry.place());
            let place = patch.places.get(name).copied().or(known);
            let mut place = place.ok_or_else(|| EngineError::Internal(format!("chain {name} is nowhere")))?;
            let refs = i64::from(known.map_or(0, |known| known.refs)) + by.get(name).copied().unwrap_or(0);
            place.refs = u32::try_from(refs)
                .map_err(|_| EngineError::Internal(format!("chain {name} has {refs} references")))?;
            let mut entry = match old {
                Some((_, entry)) => entry,
                None => Entry::new(name, place)?,
            };
            entry.set_place(place);
            if let Some(chain) = chains.get(name) {
                let segment = taken.get(name).map_or_else(Region::default, |taken| taken.segment);
                self.segment(chain, segment, place, &mut entry)?;
            } else if place.own != Region::default() {
                // It was not in the image, and is now.
                let stored = part.stored(&entry);
                let mut stored = stored.ok_or_else(|| EngineError::Corrupt { what: format!("chain {name}") })?;
                if zeroing.chains.contains_key(name) {
                    let rules = stored.chain.rules.iter_mut();
                    rules.for_each(|rule| rule.offset = Counters::default().minus((zeroing.kernel)(rule.slot)));
                }
                self.segment(&stored.chain, stored.segment, place, &mut entry)?;
            } else if let Some(zeroed) = zeroing.chains.remove(name) {
                self.zeroed(zeroed, &mut entry)?;
            }
            self.meta.sum = self.meta.sum.wrapping_add(entry.check());
            self.meta.count_flags(place.flags, 1);
            rows.insert(name, (at, Row::Put(entry)));
        }
        self.index(part, rows)
    }

    fn index(&mut self, part: &Part, rows: BTreeMap<&str, (Option<u32>, Row)>) -> Result<()> {
        let table = self.meta.tables.iter_mut().find(|table| table.kind == part.kind);
        let table = table.ok_or_else(|| EngineError::Internal("a table vanished".to_owned()))?;
        let Changed { at, sum, blocks } = index::change(&part.view()?, *table, self.meta.end, rows)?;
        if at.index != table.index {
            self.meta.end += at.index.1;
        }
        *table = at;
        self.meta.sum = self.meta.sum.wrapping_add(sum);
        self.blocks.extend(blocks);
        Ok(())
    }

    fn finish(mut self, live: &Live) -> Result<Prepared> {
        let written = self.blocks.iter().map(|(first, bytes)| (*first, lines(bytes.len())));
        let root = Region { line: live.header.blob_line, room: live.meta.room };
        let written = merged(written.chain([(root.line, root.room)]).collect());
        self.meta.steps.insert(0, Step { from: (live.header.generation, live.header.blob_crc), written });
        self.meta.steps.truncate(STEPS);
        let (mut at, mut bytes, mut crc) = self.meta.place(root)?;
        if at != root {
            self.meta.steps[0].written.push((at.line, at.room));
            (at, bytes, crc) = self.meta.place(at)?;
        }
        let flags = self.meta.all_flags();
        let kept = live.header.flags & (FLAG_NAT | FLAG_IFACE | FLAG_ACCT);
        let header = Header {
            generation: live.header.generation.wrapping_add(1).max(1),
            lines: self.meta.end,
            flags: flags & !chain_flag::ALL | kept,
            blob_line: at.line,
            blob_len: bytes.len() as u32,
            blob_crc: crc,
            ..live.header
        };
        self.blocks.push((at.line, bytes));
        Ok(Prepared::step(self.blocks, header, self.meta))
    }
}
