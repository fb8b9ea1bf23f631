//! How lines of a table's index change. A chain that goes leaves its line, marked, which waits for it to come back; one that is new stands
//! behind all others, in order among its like, until these are many and all are put in order. So few lines move.

use crate::chains::{Bytes, Entry, Found, View};
use crate::error::{EngineError, Result};
use crate::state::{TableAt, lines};
use bpftables_abi::image::LINE;
use std::collections::BTreeMap;
use zerocopy::IntoBytes;

/// Chains that may stand behind the others.
const MORE: usize = 512;

/// What becomes of a line of the index.
pub(crate) enum Row {
    Put(Entry),
    Remove(Entry),
}

/// Lines for an index.
pub(crate) const fn room(chains: u32) -> u32 {
    chains + chains / 16 + 4
}

/// What an index becomes.
pub(crate) struct Changed {
    pub(crate) at: TableAt,
    /// What its sum grows by, besides the lines of chains that were there or are there then.
    pub(crate) sum: u64,
    /// What is written.
    pub(crate) blocks: Vec<(u32, Vec<u8>)>,
}

/// Changes an index: by name, the line of each that was there, and what becomes of it. `end` is the first line behind everything.
pub(crate) fn change<B: Bytes + ?Sized>(
    view: &View<'_, B>,
    mut at: TableAt,
    end: u32,
    rows: BTreeMap<&str, (Option<u32>, Row)>,
) -> Result<Changed> {
    let bug = |name: &str| EngineError::Internal(format!("chain {name} is in the index, or is not"));
    let (mut sum, mut put, mut new) = (0_u64, BTreeMap::new(), Vec::new());
    for (name, (line, row)) in rows {
        match (line, row) {
            (Some(line), Row::Put(entry)) => drop(put.insert(line, entry)),
            (Some(line), Row::Remove(entry)) => {
                let gone = entry.gone();
                sum = sum.wrapping_add(gone.check());
                put.insert(line, gone);
            }
            (None, Row::Put(entry)) => match view.find(name)? {
                Found::There(..) => return Err(bug(name)),
                Found::Gone(line, gone) => {
                    sum = sum.wrapping_sub(gone.check());
                    put.insert(line, entry);
                }
                Found::Nowhere => new.push(entry),
            },
            (None, Row::Remove(_)) => return Err(bug(name)),
        }
    }
    let mut blocks = Vec::new();
    if !new.is_empty() {
        let (first, more) = (at.index.0, at.index.0 + at.chains);
        // Those of some lines as they will be, without what is gone.
        let mut living = |from: u32, count: u32| -> Result<Vec<Entry>> {
            let there = (from..).zip(view.lines(from, count)?);
            let mut entries: Vec<Entry> = there.map(|(line, entry)| put.remove(&line).unwrap_or(entry)).collect();
            entries.retain(|entry| {
                if entry.is_gone() {
                    sum = sum.wrapping_sub(entry.check());
                }
                !entry.is_gone()
            });
            Ok(entries)
        };
        let mut behind = living(more, at.more)?;
        behind.extend(new);
        behind.sort_unstable_by_key(Entry::name);
        if behind.len() <= MORE && at.chains as usize + behind.len() <= at.index.1 as usize {
            at.more = behind.len() as u32;
            blocks.push((more, bytes(&behind)));
        } else {
            let mut all = living(first, at.chains)?;
            all.extend(behind);
            all[at.kind.hooks().len()..].sort_by_key(Entry::name);
            (at.chains, at.more) = (all.len() as u32, 0);
            let mut bytes = bytes(&all);
            if at.chains > at.index.1 {
                at.index = (end, room(at.chains));
                bytes.resize(at.index.1 as usize * LINE, 0);
            }
            blocks.push((at.index.0, bytes));
        }
    }
    blocks.extend(put.into_iter().map(|(line, entry)| (line, entry.as_bytes().to_vec())));
    debug_assert!(blocks.iter().all(|(line, bytes)| line + lines(bytes.len()) <= at.index.0 + at.index.1));
    Ok(Changed { at, sum, blocks })
}

fn bytes(entries: &[Entry]) -> Vec<u8> {
    entries.as_bytes().to_vec()
}
