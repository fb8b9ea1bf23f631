//! `-m nfacct`: counts in an accounting object; always true (xt_nfacct.c).

use crate::matches::MatchKind;
use crate::text::{ListContext, Text, write_string};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m nfacct`: counts in an accounting object; always true (xt_nfacct.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Nfacct {
    /// The object's name, at most 31 bytes. Whether there is one is for the commit to find out.
    pub name: Box<str>,
}

impl Text for Nfacct {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" --nfacct-name ")?;
        write_string(&self.name, out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" nfacct-name ")?;
        write_string(&self.name, out)
    }
}

impl MatchKind for Nfacct {}
