//! `-m osf`: the operating system that sent a TCP SYN, by its fingerprint (xt_osf.c).

use crate::check::{FWD, IN, PRE, Place, Problem};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m osf`: the operating system that sent a TCP SYN, by its fingerprint (xt_osf.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Osf {
    /// `--genre`, at most 31 bytes.
    pub genre: Box<str>,
    /// `!`.
    pub invert: bool,
    /// `--ttl`, 0 to 2.
    pub ttl: Option<u8>,
    /// `--log`, 0 to 2.
    pub log: Option<u8>,
}

impl Text for Osf {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --genre {}", not(self.invert), self.genre)?;
        for (value, option) in [(self.ttl, "ttl"), (self.log, "log")] {
            if let Some(value) = value {
                write!(out, " --{option} {value}")?;
            }
        }
        Ok(())
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " OS fingerprint match {}{}", if self.invert { "! " } else { "" }, self.genre)
    }
}

impl MatchKind for Osf {
    fn check(&self, place: Place) -> Result<(), Problem> {
        place.needs_protocol(6, "the osf match needs -p tcp")?;
        place.only_hooks(PRE | IN | FWD, "osf belongs where packets have come in")
    }
}
