//! Options that may be given once, and the commands as bits.

/// Options that may be given once, with what legacy knows of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Once {
    Numeric,
    Source,
    Destination,
    Protocol,
    Jump,
    Verbose,
    Exact,
    InInterface,
    OutInterface,
    LineNumbers,
    Counters,
    Fragments,
}

impl Once {
    pub(super) const ALL: [Self; 12] = [
        Self::Numeric,
        Self::Source,
        Self::Destination,
        Self::Protocol,
        Self::Jump,
        Self::Verbose,
        Self::Exact,
        Self::InInterface,
        Self::OutInterface,
        Self::LineNumbers,
        Self::Counters,
        Self::Fragments,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Numeric => "--numeric",
            Self::Source => "--source",
            Self::Destination => "--destination",
            Self::Protocol => "--protocol",
            Self::Jump => "--jump",
            Self::Verbose => "--verbose",
            Self::Exact => "--exact",
            Self::InInterface => "--in-interface",
            Self::OutInterface => "--out-interface",
            Self::LineNumbers => "--line-numbers",
            Self::Counters => "--set-counters",
            Self::Fragments => "--fragments",
        }
    }

    pub(super) const fn invertible(self) -> bool {
        matches!(
            self,
            Self::Source
                | Self::Destination
                | Self::Protocol
                | Self::InInterface
                | Self::OutInterface
                | Self::Fragments
        )
    }

    /// The commands with which it may stand.
    pub(super) const fn commands(self) -> u32 {
        const RULE: u32 = cmd::INSERT | cmd::DELETE | cmd::REPLACE | cmd::APPEND | cmd::CHECK;
        match self {
            Self::Numeric | Self::Exact | Self::LineNumbers => cmd::LIST,
            Self::Verbose => u32::MAX,
            Self::Counters => cmd::INSERT | cmd::REPLACE | cmd::APPEND | cmd::SET_POLICY,
            _ => RULE,
        }
    }
}

/// Which of them were given.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given(u16);

impl Given {
    pub(super) const fn has(self, option: Once) -> bool {
        self.0 >> option as u16 & 1 == 1
    }

    pub(super) const fn add(&mut self, option: Once) {
        self.0 |= 1 << option as u16;
    }
}

pub(super) mod cmd {
    pub(in crate::parse) const INSERT: u32 = 1;
    pub(in crate::parse) const DELETE: u32 = 1 << 1;
    pub(in crate::parse) const DELETE_NUM: u32 = 1 << 2;
    pub(in crate::parse) const REPLACE: u32 = 1 << 3;
    pub(in crate::parse) const APPEND: u32 = 1 << 4;
    pub(in crate::parse) const LIST: u32 = 1 << 5;
    pub(in crate::parse) const FLUSH: u32 = 1 << 6;
    pub(in crate::parse) const ZERO: u32 = 1 << 7;
    pub(in crate::parse) const NEW_CHAIN: u32 = 1 << 8;
    pub(in crate::parse) const DELETE_CHAIN: u32 = 1 << 9;
    pub(in crate::parse) const SET_POLICY: u32 = 1 << 10;
    pub(in crate::parse) const RENAME_CHAIN: u32 = 1 << 11;
    pub(in crate::parse) const LIST_RULES: u32 = 1 << 12;
    pub(in crate::parse) const ZERO_NUM: u32 = 1 << 13;
    pub(in crate::parse) const CHECK: u32 = 1 << 14;

    /// The letter of the highest command in a set.
    pub(in crate::parse) fn letter(command: u32) -> char {
        const LETTERS: &[u8] = b"IDDRALFZNXPESZC";
        char::from(LETTERS[(31 - (command | 1).leading_zeros()) as usize])
    }
}
