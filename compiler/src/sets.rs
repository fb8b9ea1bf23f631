//! The set of rules that one class of a field may match, changed rule by rule as a sweep goes on, stored as a vecref on demand.
//!
//! Blocks that did not change since they were last stored are not stored again, so that a sweep costs what changes.

use crate::image::Line;
use crate::lines::{Lines, lines_of};
use bpftables_abi::image::{BLOCK, vecref};

/// Words of 64 rules in a block.
const BLOCK_WORDS: usize = BLOCK / 64;
/// Block lines that stand in the second line of a vector.
const NEAR_BLOCKS: usize = 12;

/// A vecref.
pub(crate) const fn tagged(tag: u32, payload: u32) -> u32 {
    tag << vecref::TAG_SHIFT | payload
}

/// [`vecref::ALL`].
pub(crate) const ALL: u32 = tagged(vecref::ALL, 0);
/// [`vecref::EMPTY`].
pub(crate) const EMPTY: u32 = tagged(vecref::EMPTY, 0);

/// A sorted list of at most [`vecref::LIST_MAX`] rules.
pub(crate) fn list(rules: &[u32], lines: &mut Lines) -> u32 {
    match rules {
        [] => EMPTY,
        [one] => tagged(vecref::ONE, *one),
        _ => {
            let mut words = vec![rules.len() as u32];
            words.extend_from_slice(rules);
            tagged(vecref::LIST, lines.intern_words(&words))
        }
    }
}

/// A set of rules of a chain of `size`.
#[derive(Debug)]
pub(crate) struct RuleSet {
    words: Vec<u64>,
    /// Line of each block as last stored; 0: changed since.
    stored: Vec<u32>,
    count: usize,
    size: usize,
}

impl RuleSet {
    pub(crate) fn new(size: usize) -> Self {
        let blocks = size.div_ceil(BLOCK);
        Self { words: vec![0; blocks * BLOCK_WORDS], stored: vec![0; blocks], count: 0, size }
    }

    pub(crate) fn insert(&mut self, rule: u32) {
        let (word, bit) = (rule as usize / 64, 1u64 << (rule % 64));
        if self.words[word] & bit == 0 {
            self.words[word] |= bit;
            self.count += 1;
            self.stored[rule as usize / BLOCK] = 0;
        }
    }

    pub(crate) fn remove(&mut self, rule: u32) {
        let (word, bit) = (rule as usize / 64, 1u64 << (rule % 64));
        if self.words[word] & bit != 0 {
            self.words[word] &= !bit;
            self.count -= 1;
            self.stored[rule as usize / BLOCK] = 0;
        }
    }

    fn rules(&self) -> Vec<u32> {
        let mut rules = Vec::with_capacity(self.count);
        for (at, word) in self.words.iter().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                rules.push((at * 64) as u32 + rest.trailing_zeros());
                rest &= rest - 1;
            }
        }
        rules
    }

    /// Stores the set as it is now.
    pub(crate) fn vecref(&mut self, lines: &mut Lines) -> u32 {
        if self.count == self.size {
            return ALL;
        }
        if self.count <= vecref::LIST_MAX as usize {
            return list(&self.rules(), lines);
        }
        let mut head = [0u32; 32];
        let mut blocks = Vec::with_capacity(self.stored.len());
        for block in 0..self.stored.len() {
            let words = &self.words[block * BLOCK_WORDS..(block + 1) * BLOCK_WORDS];
            if words.iter().all(|word| *word == 0) {
                continue;
            }
            if self.stored[block] == 0 {
                let mut line = [0; 64];
                for (place, word) in line.chunks_exact_mut(8).zip(words) {
                    place.copy_from_slice(&word.to_le_bytes());
                }
                self.stored[block] = lines.intern(&[Line(line)]);
            }
            blocks.push(self.stored[block]);
            head[block / 32] |= 1 << (block % 32);
        }
        let mut before = 0u32;
        for word in 0..8 {
            head[16 + word / 2] |= before << (16 * (word % 2));
            before += head[word * 2].count_ones() + head[word * 2 + 1].count_ones();
        }
        let near = blocks.len().min(NEAR_BLOCKS);
        head[20..20 + near].copy_from_slice(&blocks[..near]);
        let mut content = lines_of(&head);
        content.extend(lines_of(&blocks[near..]));
        tagged(vecref::VEC, lines.intern(&content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Image;
    use crate::interp::search;
    use bpftables_abi::image::{Header, MAX_CHAIN_RULES};
    use zerocopy::FromZeros;

    #[test]
    fn vectors_of_every_length_read_back_as_they_were() {
        for (size, step) in [(40usize, 1usize), (513, 7), (9_000, 3), (MAX_CHAIN_RULES, 1), (MAX_CHAIN_RULES, 1_531)] {
            let mut lines = Lines::default();
            lines.reserve(3);
            let mut set = RuleSet::new(size);
            // A hole in the middle leaves empty blocks and empty summary words.
            let want: Vec<u32> = (1..size as u32).step_by(step).filter(|r| !(30_000..70_000).contains(r)).collect();
            want.iter().for_each(|rule| set.insert(*rule));
            let at = set.vecref(&mut lines);
            set.insert(0);
            set.remove(want[0]);
            let changed = set.vecref(&mut lines);
            let mut image = Image { lines: lines.into_lines(), states: vec![], recent: vec![], warnings: vec![] };
            let header = Header { lines: image.lines.len() as u32, ..Header::new_zeroed() };
            image.set_header(&header);
            assert_eq!(search::rules(&image, at).unwrap().unwrap(), want);
            let after: Vec<u32> = std::iter::once(0).chain(want[1..].iter().copied()).collect();
            assert_eq!(search::rules(&image, changed).unwrap().unwrap(), after);
        }
    }
}
