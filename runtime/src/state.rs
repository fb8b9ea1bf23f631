//! The state blob: the ruleset, serialized, kept in the image itself behind the lines that programs read. So the rules that run
//! and the text that `iptables-save` prints are swapped by the same store, and nothing lies on disk.
//!
//! Layout: [`Prefix`], then the [`Meta`] by postcard, then each table by postcard. Tables are apart so that a table that a commit
//! left alone is known by its bytes.

use crate::cgroups::Found;
use crate::error::{EngineError, Result};
use crate::slots::SlotSet;
use bpftables_compiler::{Image, StateKind, StateLine};
use bpftables_ruleset::{Family, Ruleset, Slot, Table, TableKind};
use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// "BTST".
const MAGIC: u32 = 0x5453_5442;
/// Grows when what is serialized changes its shape: the model of `ruleset`, or [`Meta`].
pub(crate) const FORMAT: u32 = 7;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Prefix {
    magic: u32,
    format: u32,
    /// CRC-32 of `meta_len` and of all that follows the prefix.
    crc: u32,
    meta_len: u32,
}

/// What the blob says besides the rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) family: Family,
    /// Tables in order of initialisation, and how many bytes each has.
    tables: Vec<(TableKind, u32)>,
    /// Slots in use, as ranges.
    used: Vec<(u32, u32)>,
    /// Slots that this commit freed.
    retired: Vec<(u32, u32)>,
    /// Lines that programs write: slot, ordinal, kind, line.
    states: Vec<(u32, u8, u8, u32)>,
    /// Numbers of the lists of `-m recent` that rules name.
    pub(crate) recent: Vec<u32>,
    /// Numbers of the tables of `-m hashlimit` that rules name.
    pub(crate) hashlimits: Vec<u32>,
    /// The rate estimators that rules name.
    pub(crate) estimators: Vec<Estimator>,
    /// The control groups that rules name: table, path, number.
    pub(crate) cgroups: Vec<(TableKind, Box<str>, u64)>,
}

/// A rate estimator: what rules call it, what programs call it, and how it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Estimator {
    pub(crate) name: Box<str>,
    pub(crate) id: u32,
    /// Interval and average, as powers of two.
    pub(crate) times: (u8, u8),
}

impl Meta {
    pub(crate) fn used(&self) -> SlotSet {
        SlotSet::from_ranges(&self.used)
    }

    pub(crate) fn retired(&self) -> SlotSet {
        SlotSet::from_ranges(&self.retired)
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = StateLine> {
        self.states.iter().filter_map(|&(slot, ordinal, kind, line)| {
            Some(StateLine { slot: Slot(slot), ordinal, kind: StateKind::of(kind)?, line })
        })
    }
}

/// A ruleset's serialized tables, before the rest of the blob is known.
pub(crate) struct Tables {
    kinds: Vec<(TableKind, u32)>,
    bytes: Vec<u8>,
}

impl Tables {
    /// Serializes them, but for those whose bytes are known.
    pub(crate) fn encode<'a>(ruleset: &Ruleset, known: impl Fn(TableKind) -> Option<&'a [u8]>) -> Result<Self> {
        let mut tables = Self { kinds: Vec::new(), bytes: Vec::new() };
        let serialize = |table: &Table, onto: Vec<u8>| {
            postcard::to_extend(table, onto)
                .map_err(|e| EngineError::Internal(format!("serializing table {}: {e}", table.kind.name())))
        };
        for table in &ruleset.tables {
            let before = tables.bytes.len();
            match known(table.kind) {
                Some(bytes) => {
                    debug_assert_eq!(serialize(table, Vec::new())?, bytes, "table {} was changed", table.kind.name());
                    tables.bytes.extend_from_slice(bytes);
                }
                None => tables.bytes = serialize(table, tables.bytes)?,
            }
            let len = u32::try_from(tables.bytes.len() - before);
            let len = len.map_err(|_| EngineError::Limit {
                what: "bytes of serialized rules",
                got: tables.bytes.len() as u64,
                max: u64::from(u32::MAX),
            })?;
            tables.kinds.push((table.kind, len));
        }
        Ok(tables)
    }

    /// Each table's bytes.
    pub(crate) fn each(&self) -> impl Iterator<Item = (TableKind, &[u8])> {
        split(&self.kinds, &self.bytes)
    }
}

fn split<'a>(kinds: &'a [(TableKind, u32)], bytes: &'a [u8]) -> impl Iterator<Item = (TableKind, &'a [u8])> {
    let mut at = 0;
    kinds.iter().map(move |(kind, len)| {
        let start = at;
        at += *len as usize;
        (*kind, bytes.get(start..at).unwrap_or(&[]))
    })
}

/// Makes the blob.
pub(crate) fn encode(
    family: Family,
    tables: &Tables,
    used: &SlotSet,
    retired: &SlotSet,
    image: &Image,
    cgroups: &Found,
) -> Result<Blob> {
    let states = image.states.iter().map(|s| (s.slot.0, s.ordinal, s.kind.code(), s.line)).collect();
    let recent = image.recent.iter().map(|list| list.id).collect();
    let hashlimits = image.hashlimits.iter().map(|table| table.id).collect();
    let known = |e: &bpftables_compiler::Estimator| Some(Estimator { name: e.name.clone(), id: e.id, times: e.times? });
    let estimators = image.estimators.iter().filter_map(known).collect();
    let cgroups = cgroups.iter().map(|((table, path), id)| (*table, path.clone(), *id)).collect();
    let (used, retired) = (used.ranges(), retired.ranges());
    let meta =
        Meta { family, tables: tables.kinds.clone(), used, retired, states, recent, hashlimits, estimators, cgroups };
    let mut blob = vec![0; size_of::<Prefix>()];
    blob.reserve(tables.bytes.len() + 4096);
    let mut blob =
        postcard::to_extend(&meta, blob).map_err(|e| EngineError::Internal(format!("serializing the state: {e}")))?;
    let meta_len = (blob.len() - size_of::<Prefix>()) as u32;
    blob.extend_from_slice(&tables.bytes);
    let crc = checksum(meta_len, &blob[size_of::<Prefix>()..]);
    let prefix = Prefix { magic: MAGIC, format: FORMAT, crc, meta_len };
    blob[..size_of::<Prefix>()].copy_from_slice(prefix.as_bytes());
    Ok(Blob { meta, bytes: blob, tables: size_of::<Prefix>() + meta_len as usize })
}

fn checksum(meta_len: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&meta_len.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// A blob, checked against its checksum.
#[derive(Debug)]
pub(crate) struct Blob {
    pub(crate) meta: Meta,
    bytes: Vec<u8>,
    /// Where the tables begin.
    tables: usize,
}

impl Blob {
    /// Takes a blob apart.
    pub(crate) fn new(bytes: Vec<u8>) -> Result<Self> {
        let corrupt = |what: String| EngineError::Corrupt { what };
        let (prefix, body) = Prefix::read_from_prefix(&bytes)
            .map_err(|_| corrupt(format!("expected at least 16 bytes of state, got {}", bytes.len())))?;
        if prefix.magic != MAGIC || prefix.format != FORMAT {
            let (magic, format) = (prefix.magic, prefix.format);
            return Err(corrupt(format!("expected state {MAGIC:#x} of format {FORMAT}, got {magic:#x} of {format}")));
        }
        let crc = checksum(prefix.meta_len, body);
        if crc != prefix.crc {
            return Err(corrupt(format!("expected checksum {:#010x}, got {crc:#010x}", prefix.crc)));
        }
        let (meta, _) = body
            .split_at_checked(prefix.meta_len as usize)
            .ok_or_else(|| corrupt(format!("{} bytes of head in {} bytes", prefix.meta_len, body.len())))?;
        let meta = postcard::from_bytes(meta).map_err(|e| corrupt(format!("its head: {e}")))?;
        let tables = size_of::<Prefix>() + prefix.meta_len as usize;
        Ok(Self { meta, bytes, tables })
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The checksum that it carries.
    pub(crate) fn crc(&self) -> u32 {
        Prefix::read_from_prefix(&self.bytes).map_or(0, |(prefix, _)| prefix.crc)
    }

    fn tables(&self) -> impl Iterator<Item = (TableKind, &[u8])> {
        split(&self.meta.tables, &self.bytes[self.tables..])
    }

    /// A table's bytes.
    pub(crate) fn table(&self, kind: TableKind) -> Option<&[u8]> {
        self.tables().find(|(k, _)| *k == kind).map(|(_, bytes)| bytes)
    }

    /// The whole ruleset.
    pub(crate) fn ruleset(&self) -> Result<Ruleset> {
        let mut ruleset = Ruleset::new(self.meta.family);
        for (kind, bytes) in self.tables() {
            let table: Table = postcard::from_bytes(bytes)
                .map_err(|e| EngineError::Corrupt { what: format!("table {}: {e}", kind.name()) })?;
            ruleset.tables.push(table);
        }
        Ok(ruleset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Ruleset, Vec<u8>) {
        let mut ruleset = Ruleset::new(Family::V4);
        ruleset.table_mut(TableKind::Nat).builtin[0].slot = Slot(9);
        ruleset.table_mut(TableKind::Filter);
        let tables = Tables::encode(&ruleset, |_| None).unwrap();
        let kinds = [StateKind::Limit, StateKind::Nth, StateKind::Quota, StateKind::Connlimit, StateKind::Set];
        let states = kinds.map(|kind| StateLine { slot: Slot(1), ordinal: 2, kind, line: 3 });
        let used = SlotSet::from_ranges(&[(3, 4)]);
        let image = Image { states: states.to_vec(), ..Image::default() };
        let blob = encode(Family::V4, &tables, &used, &SlotSet::default(), &image, &Found::new()).unwrap();
        assert_eq!(blob.meta.states().collect::<Vec<_>>(), states);
        (ruleset, blob.bytes)
    }

    #[test]
    fn what_goes_in_comes_out() {
        let (ruleset, blob) = sample();
        let decoded = Blob::new(blob).unwrap();
        assert_eq!(decoded.ruleset().unwrap(), ruleset);
        assert_eq!(decoded.ruleset().unwrap().tables[0].builtin[0].slot, Slot(9));
        assert_eq!(decoded.meta.used().ranges(), [(3, 4)]);
        // What is known is taken as it is.
        let tables = Tables::encode(&ruleset, |kind| decoded.table(kind)).unwrap();
        for (kind, bytes) in tables.each() {
            assert_eq!(decoded.table(kind), Some(bytes));
        }
        assert_eq!(decoded.table(TableKind::Raw), None);
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let (_, blob) = sample();
        for at in 0..blob.len() {
            let mut bad = blob.clone();
            bad[at] ^= 0x41;
            assert!(Blob::new(bad).is_err(), "byte {at}");
        }
        for len in 0..blob.len() {
            assert!(Blob::new(blob[..len].to_vec()).is_err(), "length {len}");
        }
    }
}
