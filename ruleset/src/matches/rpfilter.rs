//! `-m rpfilter`: whether a packet came in by the device that an answer would leave by (ipt_rpfilter.c, ip6t_rpfilter.c).

use crate::check::{PRE, Place, Problem, need};
use crate::matches::MatchKind;
use crate::table::TableKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m rpfilter`: whether a packet came in by the device that an answer would leave by (ipt_rpfilter.c, ip6t_rpfilter.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rpfilter {
    /// `--loose`.
    pub loose: bool,
    /// `--validmark`.
    pub valid_mark: bool,
    /// `--accept-local`.
    pub accept_local: bool,
    /// `--invert`.
    pub invert: bool,
}

impl Rpfilter {
    fn write(&self, prefix: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        let words = [
            (self.loose, "loose"),
            (self.valid_mark, "validmark"),
            (self.accept_local, "accept-local"),
            (self.invert, "invert"),
        ];
        words.iter().filter(|(given, _)| *given).try_for_each(|(_, word)| write!(out, " {prefix}{word}"))
    }
}

impl Text for Rpfilter {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("--", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" rpfilter")?;
        self.write("", out)
    }
}

impl MatchKind for Rpfilter {
    fn check(&self, place: Place) -> Result<(), Problem> {
        place.only_hooks(PRE, "rpfilter belongs in PREROUTING")?;
        need(matches!(place.table, TableKind::Mangle | TableKind::Raw), "rpfilter belongs in mangle or raw")
    }
}
