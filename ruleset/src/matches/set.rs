//! `-m set`: whether a set of ipset has a packet (xt_set.c, rev 4).

use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m set`: whether a set of ipset has a packet (xt_set.c, rev 4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Set {
    /// The set's name, at most 31 bytes.
    pub name: Box<str>,
    /// For each dimension, at most six: the source's side rather than the destination's.
    pub sources: Vec<bool>,
    /// `!`.
    pub invert: bool,
    /// `--return-nomatch`.
    pub return_nomatch: bool,
    /// `! --update-counters`.
    pub keep_counters: bool,
    /// `! --update-subcounters`.
    pub keep_subcounters: bool,
    /// `--packets-eq`, `--packets-lt`, `--packets-gt`.
    pub packets: Option<(SetComparison, u64)>,
    /// `--bytes-eq`, `--bytes-lt`, `--bytes-gt`.
    pub bytes: Option<(SetComparison, u64)>,
}

/// How an element's counter is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SetComparison {
    /// Equal.
    Equal,
    /// `!` equal.
    NotEqual,
    /// Less.
    Less,
    /// Greater.
    Greater,
}

/// ` src,dst`: the side of each dimension.
pub(crate) fn write_sides(sources: &[bool], out: &mut dyn fmt::Write) -> fmt::Result {
    for (index, source) in sources.iter().enumerate() {
        write!(out, "{}{}", if index == 0 { ' ' } else { ',' }, if *source { "src" } else { "dst" })?;
    }
    Ok(())
}

impl Set {
    fn write(&self, prefix: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} {prefix}match-set {}", not(self.invert), self.name)?;
        write_sides(&self.sources, out)?;
        if self.return_nomatch {
            write!(out, " {prefix}return-nomatch")?;
        }
        if self.keep_counters {
            write!(out, " ! {prefix}update-counters")?;
        }
        if self.keep_subcounters {
            write!(out, " ! {prefix}update-subcounters")?;
        }
        for (counter, what) in [(self.packets, "packets"), (self.bytes, "bytes")] {
            let Some((comparison, value)) = counter else { continue };
            let (not, sign) = match comparison {
                SetComparison::Equal => ("", "eq"),
                SetComparison::NotEqual => (" !", "eq"),
                SetComparison::Less => ("", "lt"),
                SetComparison::Greater => ("", "gt"),
            };
            write!(out, "{not} {prefix}{what}-{sign} {value}")?;
        }
        Ok(())
    }
}

impl Text for Set {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("--", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        // Legacy's label does not have the dashes, but begins as an option's.
        self.write("", out)
    }
}

impl MatchKind for Set {}
