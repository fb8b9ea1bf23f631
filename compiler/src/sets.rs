//! The set of rules that one class of a field may match, changed rule by rule as a sweep goes on, stored as a vecref on demand.
//!
//! Blocks that did not change since they were last stored are not stored again, so that a sweep costs what changes.

use crate::image::Line;
use crate::lines::{Lines, lines_of};
use bpftables_abi::image::{BLOCK, vecref};
use roaring::RoaringBitmap;

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

/// A block of [`BLOCK`] rules.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    /// Line as last stored; 0: changed since.
    line: u32,
    /// How many of its rules are in the set.
    count: u32,
}

/// A set of rules of a chain of `size`.
///
/// The rules are a roaring bitmap, which stays small where a class has few rules or nearly all of them. The blocks are kept beside it,
/// one by one: a vector could be made of the bitmap alone, but then each of a sweep's many classes would cost the whole chain.
#[derive(Debug)]
pub(crate) struct RuleSet {
    rules: RoaringBitmap,
    blocks: Vec<Block>,
    size: usize,
}

impl RuleSet {
    pub(crate) fn new(size: usize) -> Self {
        Self { rules: RoaringBitmap::new(), blocks: vec![Block::default(); size.div_ceil(BLOCK)], size }
    }

    pub(crate) fn insert(&mut self, rule: u32) {
        if self.rules.insert(rule) {
            let block = &mut self.blocks[rule as usize / BLOCK];
            *block = Block { line: 0, count: block.count + 1 };
        }
    }

    pub(crate) fn remove(&mut self, rule: u32) {
        if self.rules.remove(rule) {
            let block = &mut self.blocks[rule as usize / BLOCK];
            *block = Block { line: 0, count: block.count - 1 };
        }
    }

    /// The bits of one block.
    fn bits(&self, block: usize) -> Line {
        let first = (block * BLOCK) as u32;
        let mut line = [0; 64];
        for rule in self.rules.range(first..first + BLOCK as u32) {
            let bit = rule - first;
            line[bit as usize / 8] |= 1 << (bit % 8);
        }
        Line(line)
    }

    /// Stores the set as it is now.
    pub(crate) fn vecref(&mut self, lines: &mut Lines) -> u32 {
        let count = self.rules.len() as usize;
        if count == self.size {
            return ALL;
        }
        if count <= vecref::LIST_MAX as usize {
            return list(&self.rules.iter().collect::<Vec<u32>>(), lines);
        }
        let mut head = [0u32; 32];
        let mut stored = Vec::with_capacity(self.blocks.len());
        for at in 0..self.blocks.len() {
            let Block { mut line, count } = self.blocks[at];
            if count == 0 {
                continue;
            }
            if line == 0 {
                line = lines.intern(&[self.bits(at)]);
                self.blocks[at].line = line;
            }
            stored.push(line);
            head[at / 32] |= 1 << (at % 32);
        }
        let mut before = 0u32;
        for word in 0..8 {
            head[16 + word / 2] |= before << (16 * (word % 2));
            before += head[word * 2].count_ones() + head[word * 2 + 1].count_ones();
        }
        let near = stored.len().min(NEAR_BLOCKS);
        head[20..20 + near].copy_from_slice(&stored[..near]);
        let mut content = lines_of(&head);
        content.extend(lines_of(&stored[near..]));
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
            let mut image = Image { lines: lines.into_lines(), ..Image::default() };
            let header = Header { lines: image.lines.len() as u32, ..Header::new_zeroed() };
            image.set_header(&header);
            assert_eq!(search::rules(&image, at).unwrap().unwrap(), want);
            let after: Vec<u32> = std::iter::once(0).chain(want[1..].iter().copied()).collect();
            assert_eq!(search::rules(&image, changed).unwrap().unwrap(), after);
        }
    }
}
