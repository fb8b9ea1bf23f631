//! The growing image: lines, and a store that keeps equal content once.

use crate::image::Line;
use bpftables_abi::ops::Op;
use rustc_hash::{FxHashMap, FxHasher};
use std::hash::Hasher;

/// Lines of an image under construction.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Number of the first of them: what is added to an image begins behind it.
    first: u32,
    lines: Vec<Line>,
    /// Hash of interned content → its first line. Content whose hash is taken by other content is simply stored again.
    index: FxHashMap<u64, u32>,
    /// What entered the index, in order, for [`Self::rollback`].
    journal: Vec<(u32, u64)>,
}

impl Lines {
    /// Lines to be added to an image of `first` lines.
    pub(crate) fn behind(first: u32) -> Self {
        Self { first, ..Self::default() }
    }

    pub(crate) fn len(&self) -> u32 {
        // Bounded by the caller (`build` refuses larger images), far below 2^32.
        self.first + self.lines.len() as u32
    }

    fn at(&self, line: u32) -> usize {
        (line - self.first) as usize
    }

    /// Appends `count` zero lines; the first one's number.
    pub(crate) fn reserve(&mut self, count: usize) -> u32 {
        let first = self.len();
        self.lines.resize(self.lines.len() + count, Line::ZERO);
        first
    }

    pub(crate) fn set(&mut self, line: u32, bytes: [u8; 64]) {
        let at = self.at(line);
        self.lines[at] = Line(bytes);
    }

    /// Appends lines as they are: for content that is never equal, or that programs write.
    pub(crate) fn push(&mut self, bytes: &[Line]) -> u32 {
        let first = self.len();
        self.lines.extend_from_slice(bytes);
        first
    }

    /// The number of the first of lines equal to `content`, stored now if they were not.
    pub(crate) fn intern(&mut self, content: &[Line]) -> u32 {
        let mut hasher = FxHasher::default();
        hasher.write_usize(content.len());
        for line in content {
            hasher.write(&line.0);
        }
        let hash = hasher.finish();
        if let Some(&at) = self.index.get(&hash) {
            let from = self.at(at);
            if self.lines.get(from..from + content.len()) == Some(content) {
                return at;
            }
            return self.push(content);
        }
        let at = self.push(content);
        self.index.insert(hash, at);
        self.journal.push((at, hash));
        at
    }

    /// Stores words, sixteen in a line, the rest zero.
    pub(crate) fn intern_words(&mut self, words: &[u32]) -> u32 {
        self.intern(&lines_of(words))
    }

    /// Forgets everything from line `mark` on.
    pub(crate) fn rollback(&mut self, mark: u32) {
        self.lines.truncate(self.at(mark));
        while let Some((_, hash)) = self.journal.pop_if(|(at, _)| *at >= mark) {
            self.index.remove(&hash);
        }
    }

    pub(crate) fn into_lines(self) -> Vec<Line> {
        self.lines
    }
}

/// Words as lines, sixteen in each, the rest zero.
pub(crate) fn lines_of(words: &[u32]) -> Vec<Line> {
    words
        .chunks(16)
        .map(|chunk| {
            let mut line = [0u8; 64];
            for (place, word) in line.chunks_exact_mut(4).zip(chunk) {
                place.copy_from_slice(&word.to_le_bytes());
            }
            Line(line)
        })
        .collect()
}

/// Ops as lines, four in each, the rest zero.
pub(crate) fn lines_of_ops(ops: &[Op]) -> Vec<Line> {
    ops.chunks(4)
        .map(|four| {
            let mut line = [0; 64];
            for (place, op) in line.chunks_exact_mut(16).zip(four) {
                let bytes: [u8; 16] = zerocopy::transmute!(*op);
                place.copy_from_slice(&bytes);
            }
            Line(line)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_content_is_stored_once_and_rollback_forgets_it() {
        let mut lines = Lines::default();
        let a = lines.intern_words(&[1, 2, 3]);
        let mark = lines.len();
        let b = lines.intern_words(&[1; 17]);
        assert_eq!((lines.intern_words(&[1, 2, 3]), lines.intern_words(&[1; 17])), (a, b));
        lines.rollback(mark);
        assert_eq!(lines.len(), mark);
        assert_eq!(lines.intern_words(&[1; 17]), b);
        assert_eq!(lines.len(), mark + 2);
    }
}
