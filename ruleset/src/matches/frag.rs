//! `-m frag`: a fragment header (ip6t_frag.c).

use crate::matches::MatchKind;
use crate::matches::esp::IdentifierRange;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m frag`: a fragment header (ip6t_frag.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frag {
    /// `--fragid`.
    pub id: IdentifierRange,
    /// `--fraglen`, and whether after `!`.
    pub length: Option<(u32, bool)>,
    /// `--fragres`.
    pub reserved: bool,
    /// `--fragfirst`.
    pub first: bool,
    /// `--fragmore`.
    pub more: bool,
    /// `--fraglast`.
    pub last: bool,
}

impl Frag {
    fn write_flags(&self, prefix: &str, reserved: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        let words = [(self.reserved, reserved), (self.first, "first"), (self.more, "more"), (self.last, "last")];
        words.iter().filter(|(given, _)| *given).try_for_each(|(_, word)| write!(out, " {prefix}{word}"))
    }
}

impl Text for Frag {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.id.save("fragid", out)?;
        if let Some((length, invert)) = self.length {
            write!(out, "{} --fraglen {length}", not(invert))?;
        }
        self.write_flags("--frag", "res", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" frag ")?;
        self.id.list("id", out)?;
        if let Some((length, invert)) = self.length {
            write!(out, " length:{}{length}", if invert { "!" } else { "" })?;
        }
        self.write_flags("", "reserved", out)
    }
}

impl MatchKind for Frag {}
