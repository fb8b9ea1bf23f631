//! `-m socket`: whether a socket of this host takes a packet (xt_socket.c, rev 3).

use crate::check::{IN, PRE, Place, Problem};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m socket`: whether a socket of this host takes a packet (xt_socket.c, rev 3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Socket {
    /// `--transparent`.
    pub transparent: bool,
    /// `--nowildcard`.
    pub no_wildcard: bool,
    /// `--restore-skmark`.
    pub restore_mark: bool,
}

impl Text for Socket {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let words = [
            (self.transparent, " --transparent"),
            (self.no_wildcard, " --nowildcard"),
            (self.restore_mark, " --restore-skmark"),
        ];
        words.iter().filter(|(given, _)| *given).try_for_each(|(_, word)| out.write_str(word))
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" socket")?;
        self.save(out)
    }
}

impl MatchKind for Socket {
    fn check(&self, place: Place) -> Result<(), Problem> {
        place.only_hooks(PRE | IN, "socket belongs in PREROUTING and INPUT")
    }
}
