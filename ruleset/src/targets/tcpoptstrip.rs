//! `-j TCPOPTSTRIP` (xt_TCPOPTSTRIP.c): options of TCP are overwritten with NOPs.

use super::TargetKind;
use crate::check::{Place, Problem};
use crate::rule::Rule;
use crate::table::TableKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j TCPOPTSTRIP`: a bit for each kind of option.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tcpoptstrip {
    /// Kinds 0 to 255, 32 a word, the lowest bit first.
    pub kinds: [u32; 8],
}

/// The options that have names.
pub const NAMES: &[(&str, u8)] =
    &[("wscale", 3), ("mss", 2), ("sack-permitted", 4), ("sack", 5), ("timestamp", 8), ("md5", 19)];

impl Tcpoptstrip {
    /// Whether options of this kind go.
    #[must_use]
    pub const fn has(&self, kind: u8) -> bool {
        self.kinds[kind as usize / 32] >> (kind % 32) & 1 != 0
    }

    /// Options of this kind go too.
    pub const fn insert(&mut self, kind: u8) {
        self.kinds[kind as usize / 32] |= 1 << (kind % 32);
    }

    fn write(&self, before: &str, names: bool, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut before = before;
        for kind in (0..=u8::MAX).filter(|kind| self.has(*kind)) {
            match NAMES.iter().find(|(_, named)| *named == kind).filter(|_| names) {
                Some((name, _)) => write!(out, "{before}{name}")?,
                None => write!(out, "{before}{kind}")?,
            }
            before = ",";
        }
        Ok(())
    }
}

impl TargetKind for Tcpoptstrip {
    fn check(&self, place: Place, _: &Rule) -> Result<(), Problem> {
        place.in_tables(&[TableKind::Mangle], "TCPOPTSTRIP belongs in the mangle table")?;
        place.needs_protocol(6, "TCPOPTSTRIP needs -p tcp")
    }
}

impl Text for Tcpoptstrip {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write(" --strip-options ", false, out)
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write(" TCPOPTSTRIP options ", !cx.numeric, out)
    }
}
