//! `-m realm`: the realm of a packet's route (xt_realm.c).

use crate::check::{FWD, IN, OUT, POST, Place, Problem};
use crate::matches::MatchKind;
use crate::matches::devgroup::NamedValue;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m realm`: the realm of a packet's route (xt_realm.c).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Realm {
    /// `--realm`.
    pub realm: NamedValue,
}

impl Text for Realm {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --realm", not(self.realm.invert))?;
        self.realm.write(false, out)
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} realm", not(self.realm.invert))?;
        self.realm.write(cx.numeric, out)
    }
}

impl MatchKind for Realm {
    fn check(&self, place: Place) -> Result<(), Problem> {
        place.only_hooks(IN | FWD | OUT | POST, "realm belongs where packets have a route")
    }
}
