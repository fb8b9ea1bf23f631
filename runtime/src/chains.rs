//! A table's chains in the state: an index with a line for each, the built-in ones first, the others by name; and of each chain a segment,
//! its rules by postcard. What a command does not touch is not read.

use crate::error::{EngineError, Result};
use crate::slots::SlotSet;
use crate::state::{StateAt, TableAt, lines};
use crate::sys::mmap::Mapping;
use bpftables_abi::image::LINE;
use bpftables_compiler::{ChainPlace, Region, StateLine};
use bpftables_ruleset::{Chain, Family, Rule, Table, TableKind, Target};
use std::cmp::Ordering;
use std::ops::Range;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Longest name.
const NAME: usize = 32;
/// A segment has room to grow by this part.
const SLACK: usize = 8;

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
    segment_crc: u32,
    hooks: u8,
    level: u8,
    pad: u16,
    /// CRC-32 of all before it.
    check: u32,
}

const _: () = assert!(size_of::<Entry>() == LINE);

/// What stands before a chain's rules in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Head {
    /// Lines of the segment.
    room: u32,
    own: [u32; 2],
    ends: [u32; 2],
    pad: u32,
}

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

    pub(crate) fn set_segment(&mut self, line: u32, bytes: &[u8]) {
        (self.segment, self.segment_len) = (line, bytes.len() as u32);
        self.segment_crc = crc32fast::hash(bytes);
        self.seal();
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

/// A chain's segment, of which the first [`Head`] is to be filled in by [`seal_segment`].
pub(crate) fn encode(chain: &Chain) -> Result<Vec<u8>> {
    encode_onto(chain, Vec::new())
}

fn encode_onto(chain: &Chain, mut onto: Vec<u8>) -> Result<Vec<u8>> {
    onto.resize(onto.len() + size_of::<Head>(), 0);
    postcard::to_extend(chain, onto)
        .map_err(|e| EngineError::Internal(format!("serializing chain {}: {e}", chain.name)))
}

/// Says in a segment how many lines it may take and what is the chain's own.
pub(crate) fn seal_segment(segment: &mut [u8], room: u32, place: ChainPlace) {
    let (own, ends) = (place.own, place.ends);
    let head = Head { room, own: [own.line, own.room], ends: [ends.line, ends.room], pad: 0 };
    segment[..size_of::<Head>()].copy_from_slice(head.as_bytes());
}

/// Lines for a segment of `rules` rules.
pub(crate) fn room(segment: &[u8], rules: usize) -> u32 {
    // Most chains are short, never change, and are many.
    lines(segment.len() + if rules < 32 { 0 } else { segment.len() / SLACK })
}

/// A chain out of its segment: where it stands, the lines of the segment, and the chain.
pub(crate) struct Stored {
    pub(crate) place: ChainPlace,
    pub(crate) segment: Region,
    pub(crate) chain: Chain,
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

    /// Lines of the index, in order.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>> {
        let start = self.at.index.0 as usize * LINE;
        let bytes = self.bytes.bytes(start..start + self.at.chains as usize * LINE);
        let bytes = bytes.ok_or_else(|| corrupt("an index beyond the end of the image"))?;
        bytes.chunks_exact(LINE).map(Entry::read).collect()
    }

    fn entry(&self, at: u32) -> Result<Entry> {
        let start = (self.at.index.0 + at) as usize * LINE;
        let mut bytes = [0; LINE];
        self.bytes.copy_to(start, &mut bytes).ok_or_else(|| corrupt("an index beyond the end of the image"))?;
        Entry::read(&bytes)
    }

    /// A chain's line of the index, and its number; or the number that it would have.
    pub(crate) fn find(&self, name: &str) -> Result<std::result::Result<(u32, Entry), u32>> {
        let hooks = self.at.kind.hooks();
        if let Some(at) = hooks.iter().position(|hook| hook.chain_name() == name) {
            return Ok(Ok((at as u32, self.entry(at as u32)?)));
        }
        let Some(wanted) = padded(name) else { return Ok(Err(self.at.chains)) };
        let (mut low, mut high) = (hooks.len() as u32, self.at.chains);
        while low < high {
            let middle = low + (high - low) / 2;
            let start = (self.at.index.0 + middle) as usize * LINE;
            let mut name = [0; NAME];
            self.bytes.copy_to(start, &mut name).ok_or_else(|| corrupt("an index beyond the end of the image"))?;
            match name.cmp(&wanted) {
                Ordering::Equal => return Ok(Ok((middle, self.entry(middle)?))),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        Ok(Err(low))
    }

    /// A chain's segment as it is stored.
    pub(crate) fn segment(&self, entry: &Entry) -> Result<Vec<u8>> {
        let start = entry.segment as usize * LINE;
        let bytes = self.bytes.bytes(start..start + entry.segment_len as usize);
        let bytes = bytes.filter(|bytes| bytes.len() > size_of::<Head>());
        let bytes = bytes.ok_or_else(|| corrupt("a chain beyond the end of the image"))?;
        let crc = crc32fast::hash(&bytes);
        if crc == entry.segment_crc {
            return Ok(bytes);
        }
        let (name, expected) = (String::from_utf8_lossy(&entry.name), entry.segment_crc);
        let name = name.trim_end_matches('\0');
        Err(corrupt(format!("chain {name}: expected checksum {expected:#010x}, got {crc:#010x}")))
    }

    pub(crate) fn stored(&self, entry: &Entry) -> Result<Stored> {
        let bytes = self.segment(entry)?;
        let (head, rules) = Head::read_from_prefix(&bytes).map_err(|_| corrupt("a chain without its head"))?;
        let chain: Chain = postcard::from_bytes(rules).map_err(|e| corrupt(format!("a chain: {e}")))?;
        if padded(&chain.name.0) != Some(entry.name) {
            return Err(corrupt(format!("chain {} under another name", chain.name)));
        }
        let region = |[line, room]: [u32; 2]| Region { line, room };
        let place = ChainPlace { own: region(head.own), ends: region(head.ends), ..entry.place() };
        Ok(Stored { place, segment: Region { line: entry.segment, room: head.room }, chain })
    }

    /// Whether it is exactly this table: the same rules in the same slots, with the same counters.
    pub(crate) fn holds(&self, table: &Table) -> Result<bool> {
        let entries = self.entries()?;
        if entries.len() != table.builtin.len() + table.user.len() {
            return Ok(false);
        }
        for (entry, chain) in entries.iter().zip(table.chains()) {
            if !same(&self.segment(entry)?, &encode(chain)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The whole table, and the sum of its index.
    pub(crate) fn table(&self, family: Family) -> Result<(Table, u64)> {
        let mut table = Table { family, kind: self.at.kind, builtin: Vec::new(), user: Default::default() };
        let entries = self.entries()?;
        let builtin = self.at.kind.hooks().len();
        let mut user = Vec::with_capacity(entries.len());
        let mut sum = 0_u64;
        for (at, entry) in entries.iter().enumerate() {
            sum = sum.wrapping_add(entry.check());
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
                    debug_assert!(same(&segment, &encode(chain)?), "chain {} was changed", chain.name);
                    self.bytes.extend_from_slice(&segment);
                }
                None => self.bytes = encode_onto(chain, std::mem::take(&mut self.bytes))?,
            }
            let room = room(&self.bytes[start..], chain.rules.len());
            seal_segment(&mut self.bytes[start..], room, *place);
            entry.set_segment(line, &self.bytes[start..]);
            self.bytes.resize(start + room as usize * LINE, 0);
            self.sum = self.sum.wrapping_add(entry.check());
            entries.extend_from_slice(entry.as_bytes());
        }
        let chains = places.len() as u32;
        let (line, start, room) = (self.end(), self.bytes.len(), index_room(chains));
        self.bytes.extend_from_slice(&entries);
        self.bytes.resize(start + room as usize * LINE, 0);
        self.tables.push(TableAt { kind: table.kind, chains, index: (line, room) });
        Ok(())
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Lines for an index.
pub(crate) const fn index_room(chains: u32) -> u32 {
    chains + chains / 16 + 4
}

/// Whether two segments are of the same chain, rules and counters.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.get(size_of::<Head>()..) == b.get(size_of::<Head>()..)
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
