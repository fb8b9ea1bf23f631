//! `-m string`: bytes that a packet contains (xt_string.c, rev 1).

use crate::check::{Place, Problem, need};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m string`: bytes that a packet contains (xt_string.c, rev 1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StringMatch {
    /// What is looked for, at most 128 bytes.
    pub pattern: Box<[u8]>,
    /// `--algo`: the kernel has `bm`, `kmp` and `fsm`. At most 15 bytes.
    pub algorithm: Box<str>,
    /// `--from`.
    pub from: u16,
    /// `--to`.
    pub to: u16,
    /// `--icase`.
    pub ignore_case: bool,
    /// `!`.
    pub invert: bool,
}

impl Default for StringMatch {
    fn default() -> Self {
        let to = u16::MAX;
        Self { pattern: Box::default(), algorithm: Box::default(), from: 0, to, ignore_case: false, invert: false }
    }
}

impl StringMatch {
    /// It has bytes that cannot be printed as they are.
    fn is_hex(&self) -> bool {
        !self.pattern.iter().all(|byte| (b' '..=b'~').contains(byte)) || self.pattern.last() == Some(&b'\\')
    }

    fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if self.is_hex() {
            out.write_str(" \"|")?;
            self.pattern.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
            return out.write_str("|\"");
        }
        out.write_str(" \"")?;
        for byte in &self.pattern {
            if matches!(byte, b'"' | b'\\') {
                out.write_char('\\')?;
            }
            out.write_char(char::from(*byte))?;
        }
        out.write_char('"')
    }

    fn write_rest(&self, words: [&str; 4], out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " {} {}", words[0], self.algorithm)?;
        if self.from != 0 {
            write!(out, " {} {}", words[1], self.from)?;
        }
        if self.to != u16::MAX {
            write!(out, " {} {}", words[2], self.to)?;
        }
        if self.ignore_case { write!(out, " {}", words[3]) } else { Ok(()) }
    }
}

impl Text for StringMatch {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --{}", not(self.invert), if self.is_hex() { "hex-string" } else { "string" })?;
        self.write(out)?;
        self.write_rest(["--algo", "--from", "--to", "--icase"], out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " STRING match {}", if self.invert { "!" } else { "" })?;
        self.write(out)?;
        self.write_rest(["ALGO name", "FROM", "TO", "ICASE"], out)
    }
}

impl MatchKind for StringMatch {
    fn check(&self, _: Place) -> Result<(), Problem> {
        need(self.from <= self.to, "--from is behind --to")?;
        need(!self.pattern.is_empty(), "nothing to look for")?;
        match &*self.algorithm {
            "bm" | "kmp" => Ok(()),
            // Its pattern is a list of binary tokens.
            "fsm" => need(self.pattern.len().is_multiple_of(8) && !self.ignore_case, "no pattern of a state machine"),
            _ => Err(Problem::Missing("no such algorithm")),
        }
    }
}
