//! The state: the ruleset, serialized, kept in the image itself among the lines that programs read. So the rules that run and the text
//! that `iptables-save` prints are swapped by the same store, and nothing lies on disk.
//!
//! It stands chain by chain, so that a change costs what changed: each chain has a *segment* ([`crate::chains`]), each table an *index* with
//! a line for each chain, and the *root* says where the indexes are. The header's `blob_line` is the root's: [`Prefix`], then the [`Meta`] by
//! postcard. Each of these carries a checksum; the root's is in the header too, and tells images of one generation apart.

use crate::error::{EngineError, Result};
use crate::sets::Named;
use crate::slots::SlotSet;
use bpftables_compiler::{Region, StateKind, StateLine};
use bpftables_ruleset::named::There;
use bpftables_ruleset::{Family, Slot, TableKind};
use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// "BTST".
const MAGIC: u32 = 0x5453_5442;
/// Grows when what is serialized changes its shape: the model of `ruleset`, or what stands here, in [`crate::chains`] and in [`crate::segment`].
pub(crate) const FORMAT: u32 = 9;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Prefix {
    magic: u32,
    format: u32,
    /// CRC-32 of `meta_len` and of all that follows the prefix.
    crc: u32,
    meta_len: u32,
}

/// A line that programs write, and the table of its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateAt {
    slot: u32,
    ordinal: u8,
    kind: u8,
    line: u32,
    pub(crate) table: TableKind,
}

impl StateAt {
    pub(crate) fn new(state: &StateLine, table: TableKind) -> Self {
        Self { slot: state.slot.0, ordinal: state.ordinal, kind: state.kind.code(), line: state.line, table }
    }

    pub(crate) fn get(&self) -> Option<StateLine> {
        let kind = StateKind::of(self.kind)?;
        Some(StateLine { slot: Slot(self.slot), ordinal: self.ordinal, kind, line: self.line })
    }
}

/// Where a table's index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableAt {
    pub(crate) kind: TableKind,
    /// Lines of its chains in order.
    pub(crate) chains: u32,
    /// Lines behind these, of chains that are newer.
    pub(crate) more: u32,
    /// The first line, and lines in all.
    pub(crate) index: (u32, u32),
}

/// How an image differs from the one before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    /// Generation of the one before, and the checksum of its root.
    pub(crate) from: (u32, u32),
    /// Lines that were written: first, and how many.
    pub(crate) written: Vec<(u32, u32)>,
}

/// A rate estimator: what rules call it, what programs call it, and how it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Estimator {
    pub(crate) name: Box<str>,
    pub(crate) id: u32,
    /// Interval and average, as powers of two.
    pub(crate) times: (u8, u8),
}

/// A table of hashlimit: what rules call it, what programs call it, and whether it was made to match rates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hashlimit {
    pub(crate) name: Box<str>,
    pub(crate) id: u32,
    pub(crate) rate_match: bool,
}

/// What the root says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) family: Family,
    /// Tables in order of initialisation.
    pub(crate) tables: Vec<TableAt>,
    /// Slots in use, as ranges.
    used: Vec<(u32, u32)>,
    /// Slots that this commit freed.
    retired: Vec<(u32, u32)>,
    /// Lines that programs write.
    pub(crate) states: Vec<StateAt>,
    /// Numbers of the lists of `-m recent` that rules name.
    pub(crate) recent: Vec<u32>,
    /// The tables of `-m hashlimit` that rules name.
    pub(crate) hashlimits: Vec<Hashlimit>,
    /// The rate estimators that rules name.
    pub(crate) estimators: Vec<Estimator>,
    /// The control groups that rules name: table, path, number.
    pub(crate) cgroups: Vec<(TableKind, Box<str>, u64)>,
    /// The kernel's sets that rules name.
    pub(crate) sets: Vec<Named>,
    /// Interface patterns in the order of their classes.
    pub(crate) ifaces: Vec<(Box<str>, bool)>,
    /// How many chains ask for each bit of the compiler's flags of chains.
    pub(crate) flags: Vec<u32>,
    /// Sum of the checks of all lines of all indexes.
    pub(crate) sum: u64,
    /// Lines of the image, with all that stands in it.
    pub(crate) end: u32,
    /// Lines that it had, but for the root, when it was last made as a whole.
    pub(crate) whole: u32,
    /// The last steps to it, the last one first; none behind one that made it as a whole.
    pub(crate) steps: Vec<Step>,
    /// Lines that the root may take.
    pub(crate) room: u32,
}

impl Meta {
    pub(crate) fn new(family: Family) -> Self {
        Self {
            family,
            tables: Vec::new(),
            used: Vec::new(),
            retired: Vec::new(),
            states: Vec::new(),
            recent: Vec::new(),
            hashlimits: Vec::new(),
            estimators: Vec::new(),
            cgroups: Vec::new(),
            sets: Vec::new(),
            ifaces: Vec::new(),
            flags: vec![0; 32],
            sum: 0,
            end: 0,
            whole: 0,
            steps: Vec::new(),
            room: 0,
        }
    }

    /// What rules made by name.
    pub(crate) fn there(&self) -> There {
        There {
            estimators: self.estimators.iter().map(|found| (found.name.clone(), found.times)).collect(),
            limits: self.hashlimits.iter().map(|found| (found.name.clone(), found.rate_match)).collect(),
        }
    }

    pub(crate) fn used(&self) -> SlotSet {
        SlotSet::from_ranges(&self.used)
    }

    pub(crate) fn retired(&self) -> SlotSet {
        SlotSet::from_ranges(&self.retired)
    }

    pub(crate) fn set_slots(&mut self, used: &SlotSet, retired: &SlotSet) {
        (self.used, self.retired) = (used.ranges(), retired.ranges());
    }

    pub(crate) fn table(&self, kind: TableKind) -> Option<&TableAt> {
        self.tables.iter().find(|table| table.kind == kind)
    }

    /// Counts what a chain asks for: `by` 1 when it comes, -1 when it goes.
    pub(crate) fn count_flags(&mut self, flags: u32, by: i32) {
        for (bit, count) in self.flags.iter_mut().enumerate().filter(|(bit, _)| flags >> bit & 1 != 0) {
            debug_assert!(by > 0 || *count > 0, "flag {bit}");
            *count = count.saturating_add_signed(by);
        }
    }

    /// What all chains ask for.
    pub(crate) fn all_flags(&self) -> u32 {
        (0..).zip(&self.flags).filter(|(_, count)| **count > 0).fold(0, |flags, (bit, _)| flags | 1 << bit)
    }

    /// Its bytes, and their checksum.
    fn encode(&self) -> Result<(Vec<u8>, u32)> {
        let bytes = postcard::to_extend(self, vec![0; size_of::<Prefix>()])
            .map_err(|e| EngineError::Internal(format!("serializing the state: {e}")))?;
        let meta_len = (bytes.len() - size_of::<Prefix>()) as u32;
        let mut bytes = bytes;
        let crc = checksum(meta_len, &bytes[size_of::<Prefix>()..]);
        let prefix = Prefix { magic: MAGIC, format: FORMAT, crc, meta_len };
        bytes[..size_of::<Prefix>()].copy_from_slice(prefix.as_bytes());
        Ok((bytes, crc))
    }

    /// Finds a place for the root: `known`, if it has room enough, or behind the end. Its place, bytes and checksum.
    pub(crate) fn place(&mut self, known: Region) -> Result<(Region, Vec<u8>, u32)> {
        self.room = known.room;
        let (bytes, crc) = self.encode()?;
        if lines(bytes.len()) <= known.room {
            return Ok((known, bytes, crc));
        }
        // Numbers of other lengths may make it longer by some bytes.
        let at = Region { line: self.end, room: lines(bytes.len() + bytes.len() / 4) + 4 };
        (self.room, self.end) = (at.room, at.line + at.room);
        let (bytes, crc) = self.encode()?;
        Ok((at, bytes, crc))
    }

    /// The root, checked; and its checksum.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, u32)> {
        let corrupt = |what: String| EngineError::Corrupt { what };
        let (prefix, body) = Prefix::read_from_prefix(bytes)
            .map_err(|_| corrupt(format!("expected at least 16 bytes of state, got {}", bytes.len())))?;
        if prefix.magic != MAGIC || prefix.format != FORMAT {
            let (magic, format) = (prefix.magic, prefix.format);
            return Err(corrupt(format!("expected state {MAGIC:#x} of format {FORMAT}, got {magic:#x} of {format}")));
        }
        let crc = checksum(prefix.meta_len, body);
        if crc != prefix.crc {
            return Err(corrupt(format!("expected checksum {:#010x}, got {crc:#010x}", prefix.crc)));
        }
        let meta = body
            .get(..prefix.meta_len as usize)
            .ok_or_else(|| corrupt(format!("{} bytes of root in {} bytes", prefix.meta_len, body.len())))?;
        let meta = postcard::from_bytes(meta).map_err(|e| corrupt(format!("its root: {e}")))?;
        Ok((meta, crc))
    }
}

/// Lines that so many bytes take.
pub(crate) fn lines(bytes: usize) -> u32 {
    bytes.div_ceil(bpftables_abi::image::LINE) as u32
}

fn checksum(meta_len: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&meta_len.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_and_every_flipped_byte_is_noticed() {
        let mut meta = Meta::new(Family::V6);
        meta.set_slots(&SlotSet::from_ranges(&[(3, 4)]), &SlotSet::from_ranges(&[(9, 1)]));
        meta.tables.push(TableAt { kind: TableKind::Nat, chains: 4, more: 1, index: (7, 8) });
        let kinds = [StateKind::Limit, StateKind::Nth, StateKind::Quota, StateKind::Connlimit, StateKind::Set];
        let states = kinds.map(|kind| StateLine { slot: Slot(1), ordinal: 2, kind, line: 3 });
        meta.states = states.iter().map(|state| StateAt::new(state, TableKind::Nat)).collect();
        meta.end = 100;
        let (at, bytes, crc) = meta.place(Region::default()).unwrap();
        assert_eq!((at.line, meta.end), (100, 100 + at.room));
        let (decoded, found) = Meta::decode(&bytes).unwrap();
        assert_eq!((&decoded, found), (&meta, crc));
        assert_eq!(decoded.states.iter().filter_map(StateAt::get).collect::<Vec<_>>(), states);
        assert_eq!(meta.place(at).unwrap(), (at, bytes.clone(), crc), "it finds room where it is");
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x41;
            assert!(Meta::decode(&bad).is_err(), "byte {at}");
            assert!(Meta::decode(&bytes[..at]).is_err(), "length {at}");
        }
    }

    #[test]
    fn flags_are_those_that_some_chain_asks_for() {
        let mut meta = Meta::new(Family::V4);
        meta.count_flags(5, 1);
        meta.count_flags(4, 1);
        meta.count_flags(5, -1);
        assert_eq!(meta.all_flags(), 4);
    }
}
