//! `-m mac`: the link layer's source address (xt_mac.c).

use crate::check::{FWD, IN, PRE, Place, Problem};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m mac`: the link layer's source address (xt_mac.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mac {
    /// `--mac-source`.
    pub source: [u8; 6],
    /// `!`.
    pub invert: bool,
}

impl Mac {
    fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let [a, b, c, d, e, f] = self.source;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl Text for Mac {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --mac-source ", not(self.invert))?;
        self.write(out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(if self.invert { " MAC ! " } else { " MAC " })?;
        self.write(out)
    }
}

impl MatchKind for Mac {
    fn check(&self, place: Place) -> Result<(), Problem> {
        place.only_hooks(PRE | IN | FWD, "mac belongs where packets have come in")
    }
}
