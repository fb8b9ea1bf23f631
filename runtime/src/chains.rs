//! A table's chains in the state: an index with a line for each, the built-in ones first, the others by name, and then newer ones by name; and
//! of each chain a [`segment`]. What a command does not touch is not read.

use crate::error::{EngineError, Result};
use crate::index;
use crate::segment::{self, Head, Zeroed};
use crate::slots::SlotSet;
use crate::state::{StateAt, TableAt};
use crate::sys::mmap::Mapping;
use bpftables_abi::image::LINE;
use bpftables_compiler::{ChainPlace, Region, StateLine};
use bpftables_ruleset::{Chain, Counters, Family, LineId, Rule, Slot, Table, TableKind, Target};
use std::cmp::Ordering;
use std::ops::Range;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Longest name.
const NAME: usize = 32;

/// Bytes of an image.
pub(crate) trait Bytes {
    /// A copy of some, from an offset of whole words; none beyond the end.
    fn bytes(&self, range: Range<usize>) -> Option<Vec<u8>>;
    /// Copies some whole words; none beyond the end.
    fn copy_to(&self, offset: usize, into: &mut [u8]) -> Option<()>;
}

impl Bytes for Mapping {
    fn bytes(&self, range: Range<usize>) -> Option<Vec<u8>> {
        (range.start <= range.end && range.end <= self.len()).then(|| self.copy(range))
    }

    fn copy_to(&self, offset: usize, into: &mut [u8]) -> Option<()> {
        (offset + into.len() <= self.len()).then(|| self.read(offset, into))
    }
}

impl Bytes for [u8] {
    fn bytes(&self, range: Range<usize>) -> Option<Vec<u8>> {
        self.get(range).map(<[u8]>::to_vec)
    }

    fn copy_to(&self, offset: usize, into: &mut [u8]) -> Option<()> {
        self.get(offset..offset + into.len()).map(|bytes| into.copy_from_slice(bytes))
    }
}

/// A line of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Entry {
    /// Zero padded.
    name: [u8; NAME],
    line: u32,
    flags: u32,
    refs: u32,
    segment: u32,
    segment_len: u32,
    /// CRC-32 of the name and the segment's head.
    segment_crc: u32,
    hooks: u8,
    level: u8,
    /// The chain is no more.
    gone: u16,
    /// CRC-32 of all before it.
    check: u32,
}

const _: () = assert!(size_of::<Entry>() == LINE);

fn corrupt(what: impl Into<String>) -> EngineError {
    EngineError::Corrupt { what: what.into() }
}

fn padded(name: &str) -> Option<[u8; NAME]> {
    let mut padded = [0; NAME];
    padded.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    Some(padded)
}

impl Entry {
    /// Of a chain whose segment is to be placed.
    pub(crate) fn new(name: &str, place: ChainPlace) -> Result<Self> {
        let name = padded(name).ok_or_else(|| EngineError::Internal(format!("a chain named {name}")))?;
        let mut entry = Self { name, ..Self::new_zeroed() };
        entry.set_place(place);
        Ok(entry)
    }

    /// All but the regions, which are in the segment.
    pub(crate) fn set_place(&mut self, place: ChainPlace) {
        (self.line, self.flags, self.refs) = (place.line, place.flags, place.refs);
        (self.hooks, self.level) = (place.hooks, place.level);
        self.seal();
    }

    /// The line of a chain that is no more.
    pub(crate) fn gone(&self) -> Self {
        let mut entry = Self { name: self.name, gone: 1, ..Self::new_zeroed() };
        entry.seal();
        entry
    }

    pub(crate) const fn is_gone(&self) -> bool {
        self.gone != 0
    }

    pub(crate) fn set_segment(&mut self, line: u32, bytes: &[u8]) {
        (self.segment, self.segment_len) = (line, bytes.len() as u32);
        self.segment_crc = self.sum_head(&bytes[..Head::SIZE]);
        self.seal();
    }

    /// The segment has another head now.
    pub(crate) fn set_head(&mut self, head: &Head) {
        self.segment_len = head.len() as u32;
        self.segment_crc = self.sum_head(head.as_bytes());
        self.seal();
    }

    pub(crate) const fn segment(&self) -> u32 {
        self.segment
    }

    fn sum_head(&self, head: &[u8]) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&self.name);
        sum.update(head);
        sum.finalize()
    }

    fn chain(&self) -> Result<&str> {
        let name = std::str::from_utf8(&self.name).map_err(|_| corrupt("the name of a chain"))?;
        Ok(name.trim_end_matches('\0'))
    }

    fn seal(&mut self) {
        self.check = self.summed();
    }

    fn summed(&self) -> u32 {
        crc32fast::hash(&self.as_bytes()[..LINE - 4])
    }

    pub(crate) fn check(&self) -> u64 {
        self.check.into()
    }

    pub(crate) const fn name(&self) -> [u8; NAME] {
        self.name
    }

    /// But for the regions.
    pub(crate) fn place(&self) -> ChainPlace {
        ChainPlace {
            line: self.line,
            flags: self.flags,
            refs: self.refs,
            hooks: self.hooks,
            level: self.level,
            ..ChainPlace::default()
        }
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        let entry = Self::read_from_bytes(bytes).map_err(|_| corrupt("a line of an index is cut off"))?;
        if entry.check == entry.summed() { Ok(entry) } else { Err(corrupt("a line of an index has another checksum")) }
    }
}

/// A chain out of its segment: where it stands, the lines of the segment, and the chain.
pub(crate) struct Stored {
    pub(crate) place: ChainPlace,
    pub(crate) segment: Region,
    pub(crate) chain: Chain,
}

/// What an index has of a name.
pub(crate) enum Found {
    /// A chain's line, and its number.
    There(u32, Entry),
    /// The line of one that was there.
    Gone(u32, Entry),
    Nowhere,
}

/// A table in an image.
pub(crate) struct View<'a, B: Bytes + ?Sized> {
    bytes: &'a B,
    at: TableAt,
}

impl<'a, B: Bytes + ?Sized> View<'a, B> {
    pub(crate) const fn new(bytes: &'a B, at: TableAt) -> Self {
        Self { bytes, at }
    }

    /// Some lines of the index.
    pub(crate) fn lines(&self, first: u32, count: u32) -> Result<Vec<Entry>> {
        let start = first as usize * LINE;
        let bytes = self.bytes.bytes(start..start + count as usize * LINE);
        let bytes = bytes.ok_or_else(|| corrupt("an index beyond the end of the image"))?;
        bytes.chunks_exact(LINE).map(Entry::read).collect()
    }

    /// The lines of all chains in order, and the sum of all lines of the index.
    fn all(&self) -> Result<(Vec<Entry>, u64)> {
        let mut entries = self.lines(self.at.index.0, self.at.chains + self.at.more)?;
        let sum = entries.iter().fold(0_u64, |sum, entry| sum.wrapping_add(entry.check()));
        entries.retain(|entry| !entry.is_gone());
        let user = entries.get_mut(self.at.kind.hooks().len()..);
        user.ok_or_else(|| corrupt("an index without the built-in chains"))?.sort_by_key(Entry::name);
        Ok((entries, sum))
    }

    /// The lines of all chains, in order.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>> {
        Ok(self.all()?.0)
    }

    fn line<const N: usize>(&self, line: u32) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        let read = self.bytes.copy_to(line as usize * LINE, &mut bytes);
        read.map(|()| bytes).ok_or_else(|| corrupt("an index beyond the end of the image"))
    }

    /// A chain's line of the index.
    pub(crate) fn find(&self, name: &str) -> Result<Found> {
        let (hooks, first) = (self.at.kind.hooks(), self.at.index.0);
        if let Some(at) = (first..).zip(hooks).find(|(_, hook)| hook.chain_name() == name).map(|(line, _)| line) {
            return Ok(Found::There(at, Entry::read(&self.line::<LINE>(at)?)?));
        }
        let Some(wanted) = padded(name) else { return Ok(Found::Nowhere) };
        let more = first + self.at.chains;
        for (mut low, mut high) in [(first + hooks.len() as u32, more), (more, more + self.at.more)] {
            while low < high {
                let middle = low + (high - low) / 2;
                match self.line::<NAME>(middle)?.cmp(&wanted) {
                    Ordering::Equal => {
                        let entry = Entry::read(&self.line::<LINE>(middle)?)?;
                        let found = if entry.is_gone() { Found::Gone } else { Found::There };
                        return Ok(found(middle, entry));
                    }
                    Ordering::Less => low = middle + 1,
                    Ordering::Greater => high = middle,
                }
            }
        }
        Ok(Found::Nowhere)
    }

    /// Bytes of a chain's segment, from an offset of whole words.
    fn part(&self, entry: &Entry, range: Range<usize>) -> Result<Vec<u8>> {
        let start = entry.segment as usize * LINE;
        let bytes = self.bytes.bytes(start + range.start..start + range.end);
        let bytes = bytes.filter(|_| range.end <= entry.segment_len as usize);
        bytes.ok_or_else(|| corrupt("a chain beyond the end of the image"))
    }

    fn head(&self, entry: &Entry) -> Result<Head> {
        let bytes = self.part(entry, 0..Head::SIZE)?;
        let (crc, head) = (entry.sum_head(&bytes), Head::read(&bytes)?);
        if crc == entry.segment_crc && head.len() == entry.segment_len as usize {
            return Ok(head);
        }
        let expected = entry.segment_crc;
        Err(corrupt(format!("chain {}: expected checksum {expected:#010x}, got {crc:#010x}", entry.chain()?)))
    }

    /// A chain's segment as it is stored, of which the head alone is looked at.
    fn segment(&self, entry: &Entry) -> Result<Vec<u8>> {
        self.part(entry, 0..self.head(entry)?.len())
    }

    /// By which lines a chain's rules were made.
    pub(crate) fn made_by(&self, entry: &Entry) -> Result<Vec<LineId>> {
        let front = self.part(entry, 0..self.head(entry)?.front())?;
        Ok(segment::rows(&front)?.into_iter().map(|(line, _)| line).collect())
    }

    /// What a chain's segment becomes when its rules count from nothing again; none if it is that already.
    pub(crate) fn zero(&self, entry: &Entry, kernel: &dyn Fn(Slot) -> Counters) -> Result<Option<Zeroed>> {
        self.head(entry)?;
        segment::zero(|range| self.part(entry, range), kernel)
    }

    pub(crate) fn stored(&self, entry: &Entry) -> Result<Stored> {
        let bytes = self.segment(entry)?;
        let head = Head::read(&bytes)?;
        let chain = segment::decode(entry.chain()?.into(), &bytes)?;
        Ok(Stored { place: head.place(entry.place()), segment: head.region(entry.segment), chain })
    }

    /// Whether it is exactly this table: the same rules in the same slots, with the same counters.
    pub(crate) fn holds(&self, table: &Table) -> Result<bool> {
        let entries = self.entries()?;
        if entries.len() != table.builtin.len() + table.user.len() {
            return Ok(false);
        }
        for (entry, chain) in entries.iter().zip(table.chains()) {
            let named = padded(&chain.name.0) == Some(entry.name);
            if !named || !segment::same(&self.segment(entry)?, &segment::encode_onto(chain, Vec::new())?)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The whole table, and the sum of its index.
    pub(crate) fn table(&self, family: Family) -> Result<(Table, u64)> {
        let mut table = Table { family, kind: self.at.kind, builtin: Vec::new(), user: Default::default() };
        let (entries, sum) = self.all()?;
        let builtin = self.at.kind.hooks().len();
        let mut user = Vec::with_capacity(entries.len());
        for (at, entry) in entries.iter().enumerate() {
            let chain = self.stored(entry)?.chain;
            if at < builtin { table.builtin.push(chain) } else { user.push((chain.name.clone(), chain)) }
        }
        if table.builtin.len() != builtin || !user.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(corrupt(format!("the index of table {}", self.at.kind.name())));
        }
        table.user = user.into_iter().collect();
        Ok((table, sum))
    }
}

/// Tables laid out anew, behind the lines that programs read.
#[derive(Default)]
pub(crate) struct Layout {
    /// Line of its first byte.
    first: u32,
    bytes: Vec<u8>,
    pub(crate) tables: Vec<TableAt>,
    pub(crate) sum: u64,
}

impl Layout {
    pub(crate) fn behind(first: u32) -> Self {
        Self { first, ..Self::default() }
    }

    /// Its first line that is free.
    pub(crate) fn end(&self) -> u32 {
        self.first + (self.bytes.len() / LINE) as u32
    }

    /// Adds a table, whose chains stand at `places`. `known`: it is in another image already, the same.
    pub(crate) fn add<B: Bytes + ?Sized>(
        &mut self,
        table: &Table,
        places: &[ChainPlace],
        known: Option<&View<'_, B>>,
    ) -> Result<()> {
        let known = match known {
            Some(view) => Some((view, view.entries()?)),
            None => None,
        };
        let mut entries = Vec::with_capacity(places.len() * LINE);
        for (at, (chain, place)) in table.chains().zip(places).enumerate() {
            let mut entry = Entry::new(&chain.name.0, *place)?;
            let (line, start) = (self.end(), self.bytes.len());
            match &known {
                Some((view, known)) => {
                    let stored = known.get(at).filter(|stored| stored.name == entry.name);
                    let stored = stored.ok_or_else(|| EngineError::Internal(format!("chain {} is new", chain.name)))?;
                    let segment = view.segment(stored)?;
                    #[cfg(debug_assertions)]
                    {
                        let encoded = segment::encode_onto(chain, Vec::new())?;
                        debug_assert!(segment::same(&segment, &encoded)?, "chain {} was changed", chain.name);
                    }
                    self.bytes.extend_from_slice(&segment);
                }
                None => self.bytes = segment::encode_onto(chain, std::mem::take(&mut self.bytes))?,
            }
            let room = segment::room(&self.bytes[start..], chain.rules.len());
            segment::seal(&mut self.bytes[start..], room, *place)?;
            entry.set_segment(line, &self.bytes[start..]);
            self.bytes.resize(start + room as usize * LINE, 0);
            self.sum = self.sum.wrapping_add(entry.check());
            entries.extend_from_slice(entry.as_bytes());
        }
        let chains = places.len() as u32;
        let (line, start, room) = (self.end(), self.bytes.len(), index::room(chains));
        self.bytes.extend_from_slice(&entries);
        self.bytes.resize(start + room as usize * LINE, 0);
        self.tables.push(TableAt { kind: table.kind, chains, more: 0, index: (line, room) });
        Ok(())
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Lines that programs write, with their tables.
pub(crate) fn states(found: &[StateLine], tables: &[Table]) -> Vec<StateAt> {
    if found.is_empty() {
        return Vec::new();
    }
    let slots = |table: &Table| {
        let mut set = SlotSet::default();
        for rule in table.chains().flat_map(|chain| &chain.rules) {
            set.insert(rule.slot.0);
        }
        (table.kind, set)
    };
    let owners: Vec<(TableKind, SlotSet)> = tables.iter().map(slots).collect();
    let owner = |state: &StateLine| owners.iter().find(|(_, set)| set.contains(state.slot.0)).map(|(kind, _)| *kind);
    found.iter().filter_map(|state| Some(StateAt::new(state, owner(state)?))).collect()
}

/// Where a rule goes.
pub(crate) fn jump(rule: &Rule) -> Option<&str> {
    match &rule.target {
        Target::Jump(to) | Target::Goto(to) => Some(&to.0),
        _ => None,
    }
}
