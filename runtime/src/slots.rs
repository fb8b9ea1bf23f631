//! Counter slots: which are in use, and who gets which.
//!
//! A slot that a commit frees is given out again only by the commit after the next one: packets may still count on the image
//! before, and its base (what the kernel has counted so far) must not move.

use crate::error::{EngineError, Result};
use bpftables_abi::maps::{COUNTER_CHUNK, COUNTER_CHUNKS};
use bpftables_ruleset::{Chain, Counters, Ruleset, Slot};

/// Slots at most.
pub(crate) const MAX_SLOTS: u32 = COUNTER_CHUNK * COUNTER_CHUNKS;

/// A set of slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotSet {
    words: Vec<u64>,
}

impl SlotSet {
    /// Adds a slot; whether it was new.
    pub(crate) fn insert(&mut self, slot: u32) -> bool {
        let (word, bit) = (slot as usize / 64, 1_u64 << (slot % 64));
        if word >= self.words.len() {
            self.words.resize((word + 1).next_power_of_two(), 0);
        }
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        new
    }

    /// Takes a slot out; whether it was there.
    pub(crate) fn remove(&mut self, slot: u32) -> bool {
        let there = self.contains(slot);
        if there {
            self.words[slot as usize / 64] &= !(1 << (slot % 64));
        }
        there
    }

    pub(crate) fn contains(&self, slot: u32) -> bool {
        self.words.get(slot as usize / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    /// Whether no slot is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Adds all of `other`.
    pub(crate) fn extend(&mut self, other: &Self) {
        if other.words.len() > self.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine |= theirs;
        }
    }

    /// What is here and not in `other`.
    pub(crate) fn without(&self, other: &Self) -> Self {
        let words = self.words.iter().enumerate().map(|(i, w)| w & !other.words.get(i).copied().unwrap_or(0)).collect();
        Self { words }
    }

    /// As (first, number) ranges in order.
    pub(crate) fn ranges(&self) -> Vec<(u32, u32)> {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for (index, word) in self.words.iter().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                let start = rest.trailing_zeros();
                let run = (rest >> start).trailing_ones();
                let first = index as u32 * 64 + start;
                match ranges.last_mut() {
                    Some((from, count)) if *from + *count == first => *count += run,
                    _ => ranges.push((first, run)),
                }
                rest &= if start + run == 64 { 0 } else { u64::MAX << (start + run) };
            }
        }
        ranges
    }

    /// From ranges.
    pub(crate) fn from_ranges(ranges: &[(u32, u32)]) -> Self {
        let mut set = Self::default();
        for (first, count) in ranges {
            for slot in *first..first.saturating_add(*count).min(MAX_SLOTS) {
                set.insert(slot);
            }
        }
        set
    }

    /// The first slot at or after `from` that is not here.
    fn first_free(&self, from: u32) -> u32 {
        let mut slot = from;
        loop {
            let Some(word) = self.words.get(slot as usize / 64) else { return slot };
            let free = !(word >> (slot % 64));
            // Bits shifted in from above read as free: they belong to the next word.
            let skip = free.trailing_zeros();
            if skip < 64 - slot % 64 {
                return slot + skip;
            }
            slot = (slot / 64 + 1) * 64;
        }
    }
}

/// All slots that a ruleset's rules and policies have; none twice.
pub(crate) fn used(ruleset: &Ruleset) -> Result<SlotSet> {
    let mut set = SlotSet::default();
    for table in &ruleset.tables {
        for chain in table.chains() {
            let policy = chain.policy.map(|_| chain.slot);
            for slot in policy.into_iter().chain(chain.rules.iter().map(|rule| rule.slot)) {
                if slot == Slot::UNASSIGNED {
                    continue;
                }
                if slot.0 >= MAX_SLOTS || !set.insert(slot.0) {
                    return Err(EngineError::Internal(format!(
                        "counter slot {} of table {}, chain {} is out of range or used twice",
                        slot.0,
                        table.kind.name(),
                        chain.name
                    )));
                }
            }
        }
    }
    Ok(set)
}

/// Gives a slot to every rule and policy that has none, and adjusts its offset by what the kernel has counted there. `used`
/// grows by them; none of `busy` is given.
pub(crate) fn assign<'a>(
    chains: impl IntoIterator<Item = &'a mut Chain>,
    used: &mut SlotSet,
    busy: &SlotSet,
    kernel: &dyn Fn(Slot) -> Counters,
) -> Result<()> {
    let mut taken = used.clone();
    taken.extend(busy);
    let mut next = 0;
    let mut give = |slot: &mut Slot, offset: &mut Counters| -> Result<()> {
        if *slot != Slot::UNASSIGNED {
            return Ok(());
        }
        next = taken.first_free(next);
        if next >= MAX_SLOTS {
            return Err(EngineError::Limit { what: "rules", got: u64::from(next) + 1, max: u64::from(MAX_SLOTS) });
        }
        *slot = Slot(next);
        *offset = offset.minus(kernel(*slot));
        used.insert(next);
        next += 1;
        Ok(())
    };
    for chain in chains {
        if chain.policy.is_some() {
            give(&mut chain.slot, &mut chain.offset)?;
        }
        for rule in &mut chain.rules {
            give(&mut rule.slot, &mut rule.offset)?;
        }
    }
    Ok(())
}

/// All chains of a ruleset, to be given slots.
pub(crate) fn chains(ruleset: &mut Ruleset) -> impl Iterator<Item = &mut Chain> {
    ruleset.tables.iter_mut().flat_map(|table| table.builtin.iter_mut().chain(table.user.values_mut()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpftables_ruleset::{CounterView, Family, NoCounters, TableKind};

    #[test]
    fn ranges_and_sets_are_the_same_thing() {
        let mut set = SlotSet::default();
        for slot in [0, 1, 2, 63, 64, 65, 127, 128, 200, 4096] {
            assert!(set.insert(slot));
            assert!(!set.insert(slot));
            assert!(set.remove(slot) && !set.remove(slot) && set.insert(slot));
        }
        let ranges = set.ranges();
        assert_eq!(ranges, [(0, 3), (63, 3), (127, 2), (200, 1), (4096, 1)]);
        let again = SlotSet::from_ranges(&ranges);
        assert_eq!(again.ranges(), ranges);
        assert!(again.contains(64) && !again.contains(66) && !again.contains(1 << 20));
    }

    #[test]
    fn the_first_free_slot_is_found_across_words() {
        let set = SlotSet::from_ranges(&[(0, 64), (65, 70)]);
        assert_eq!(set.first_free(0), 64);
        assert_eq!(set.first_free(65), 135);
        assert_eq!(set.first_free(9000), 9000);
    }

    #[test]
    fn what_is_freed_is_left_alone_for_a_generation() {
        let mut ruleset = Ruleset::new(Family::V4);
        ruleset.table_mut(TableKind::Filter);
        let mut slots = used(&ruleset).unwrap();
        let busy = SlotSet::from_ranges(&[(0, 2)]);
        assign(chains(&mut ruleset), &mut slots, &busy, &|slot| NoCounters.get(slot)).unwrap();
        assert_eq!(slots.ranges(), [(2, 3)]);
        assert_eq!(used(&ruleset).unwrap(), slots);
    }

    #[test]
    fn a_new_slot_begins_at_what_was_asked() {
        let mut ruleset = Ruleset::new(Family::V4);
        ruleset.table_mut(TableKind::Raw).builtin[0].offset = Counters { packets: 5, bytes: 50 };
        let kernel = |slot: Slot| Counters { packets: u64::from(slot.0) + 7, bytes: 1000 };
        let mut slots = SlotSet::default();
        assign(chains(&mut ruleset), &mut slots, &SlotSet::default(), &kernel).unwrap();
        let chain = &ruleset.tables[0].builtin[0];
        assert_eq!(kernel(chain.slot).plus(chain.offset), Counters { packets: 5, bytes: 50 });
    }

    #[test]
    fn a_slot_used_twice_is_a_bug_that_is_told() {
        let mut ruleset = Ruleset::new(Family::V4);
        for chain in &mut ruleset.table_mut(TableKind::Raw).builtin {
            chain.slot = Slot(3);
        }
        assert!(matches!(used(&ruleset), Err(EngineError::Internal(_))));
    }
}
