//! The finished image.

use bpftables_abi::image::{Header, LINE};
use bpftables_ruleset::matches::Hashlimit;
use bpftables_ruleset::{Family, Slot};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One line of the image, aligned as the map's elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub struct Line(pub [u8; LINE]);

impl Line {
    /// All zero.
    pub const ZERO: Self = Self([0; LINE]);

    /// A word (0 to 15) of it.
    #[must_use]
    pub fn word(&self, index: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[index * 4..index * 4 + 4]);
        u32::from_le_bytes(bytes)
    }
}

/// What a state line keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StateKind {
    /// [`bpftables_abi::ops::LimitState`], zero at first.
    Limit,
    /// Word 0: the count of `--mode nth`, zero at first.
    Nth,
    /// Bytes 0 to 7: what of a `--quota` is used up, zero at first.
    Quota,
    /// Word 0: the number of the rule's groups of `-m connlimit`, zero at first.
    Connlimit,
    /// Word 0: where the set of `-m set` was last, zero at first.
    Set,
}

impl StateKind {
    /// The number that stands for it where it is stored.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Limit => 0,
            Self::Nth => 1,
            Self::Quota => 2,
            Self::Connlimit => 3,
            Self::Set => 4,
        }
    }

    /// The kind that [`Self::code`] stands for.
    #[must_use]
    pub const fn of(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Limit),
            1 => Some(Self::Nth),
            2 => Some(Self::Quota),
            3 => Some(Self::Connlimit),
            4 => Some(Self::Set),
            _ => None,
        }
    }
}

/// A line that programs write. The runtime may copy it from one image to the next where slot, ordinal and kind are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateLine {
    /// The rule's counter slot.
    pub slot: Slot,
    /// Which of the rule's stateful matches, from 0.
    pub ordinal: u8,
    /// What it keeps.
    pub kind: StateKind,
    /// The line.
    pub line: u32,
}

/// A list of `-m recent` and its number in ops. The number depends on the name alone (barring a collision in one ruleset).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentList {
    /// `--name`.
    pub name: Box<str>,
    /// What ops call it.
    pub id: u32,
    /// Time stamps kept for each address, a power of two up to 256: the largest over all rules that name the list of their `--hitcount`
    /// (rounded up) or 32.
    pub stamps: u16,
}

/// A table of `-m hashlimit` and its number in ops. The number depends on the name alone (barring a collision in one ruleset).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashlimitTable {
    /// What ops call it.
    pub id: u32,
    /// The rule that makes it: its rate, its groups and its times are the table's.
    pub maker: Hashlimit,
}

/// A rate estimator and its number in ops and records. The number depends on the name alone (barring a collision in one ruleset).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimator {
    /// What ops call it.
    pub id: u32,
    /// Its name.
    pub name: Box<str>,
    /// Interval and average of the first rule that makes it, as powers of two; none: rules only ask it, and another ruleset made it.
    pub times: Option<(u8, u8)>,
}

/// Where a chain stands in an image, and what is known of it there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainPlace {
    /// Line of its descriptor; 0: it is not in the image, for no hook reaches it.
    pub line: u32,
    /// What its rules ask of the image: flags of the header, and [`chain_flag`].
    pub flags: u32,
    /// Rules that jump or go to it, reached or not.
    pub refs: u32,
    /// Bit N: it is reached from hook N. Changes chain by chain may leave bits of ways that are gone.
    pub hooks: u8,
    /// Jumps on the longest way to it from a hook, gotos counted; never less, and 255 if there are more.
    pub level: u8,
    /// Lines that are this chain's alone since it was changed: its rules and tables are there, and are put there again.
    pub own: Region,
    /// Likewise, for the segments before and after the tables of a long chain.
    pub ends: Region,
}

/// Lines in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// The first.
    pub line: u32,
    /// How many; 0: none.
    pub room: u32,
}

/// What [`ChainPlace::flags`] says besides the flags of the header, which do not use these bits.
pub mod chain_flag {
    /// Some rule has REJECT.
    pub const REJECTS: u32 = 1 << 30;
    /// Some rule names what is looked at for all chains at once (recent, hashlimit, rateest, idletimer, set, cgroup --path).
    pub const SHARES: u32 = 1 << 31;
    /// All of these.
    pub const ALL: u32 = REJECTS | SHARES;
}

/// A compiled ruleset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The lines. Line 0 is the [`Header`]; generation and blob are the caller's to set.
    pub lines: Vec<Line>,
    /// Lines that programs write, in the order of rules.
    pub states: Vec<StateLine>,
    /// The lists of `-m recent`, by name.
    pub recent: Vec<RecentList>,
    /// The tables of `-m hashlimit`, by name.
    pub hashlimits: Vec<HashlimitTable>,
    /// The rate estimators, by name.
    pub estimators: Vec<Estimator>,
    /// What the administrator should know, in words.
    pub warnings: Vec<Box<str>>,
    /// The chains of all tables, in the order of [`bpftables_ruleset::Table::chains`].
    pub chains: Vec<ChainPlace>,
    /// Interface patterns in the order of their classes: the name, and whether it is exact.
    pub ifaces: Vec<(Box<str>, bool)>,
}

impl Image {
    /// All bytes, as the map wants them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.lines.as_slice().as_bytes()
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> Header {
        zerocopy::transmute!(self.lines[0].0)
    }

    /// Whose addresses are in it.
    #[must_use]
    pub fn family(&self) -> Family {
        if self.header().family == 6 { Family::V6 } else { Family::V4 }
    }

    /// Changes the header.
    pub fn set_header(&mut self, header: &Header) {
        self.lines[0] = Line(zerocopy::transmute!(*header));
    }

    /// Adds flags to the header.
    pub fn add_flags(&mut self, flags: u32) {
        let header = self.header();
        self.set_header(&Header { flags: header.flags | flags, ..header });
    }

    /// Sets the generation that a commit gives it.
    pub fn set_generation(&mut self, generation: u32) {
        let header = Header { generation, ..self.header() };
        self.set_header(&header);
    }

    /// Appends the state blob after the lines that programs read.
    pub fn append_blob(&mut self, blob: &[u8]) {
        let at = self.lines.len();
        self.lines.resize(at + blob.len().div_ceil(LINE), Line::ZERO);
        self.lines[at..].as_mut_bytes()[..blob.len()].copy_from_slice(blob);
        let header = Header { blob_line: at as u32, blob_len: blob.len() as u32, ..self.header() };
        self.set_header(&header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_stands_after_the_lines_and_in_the_header() {
        let mut image = Image { lines: vec![Line::ZERO; 3], ..Image::default() };
        let blob: Vec<u8> = (0..100).collect();
        image.append_blob(&blob);
        image.set_generation(7);
        let header = image.header();
        assert_eq!((header.blob_line, header.blob_len, header.generation, image.lines.len()), (3, 100, 7, 5));
        assert_eq!(&image.bytes()[192..292], &blob[..]);
    }
}
