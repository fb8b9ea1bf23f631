//! `-m cgroup`: the control group of the socket that sent a packet (xt_cgroup.c, rev 2).

use crate::check::{IN, OUT, POST, Place, Problem, need};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not, write_string};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m cgroup`: the control group of the socket that sent a packet (xt_cgroup.c, rev 2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cgroup {
    /// `--path`, and whether after `!`. At most 511 bytes. Whether there is such a group is for the commit to find out.
    pub path: Option<(Box<str>, bool)>,
    /// `--cgroup`, and whether after `!`.
    pub class: Option<(u32, bool)>,
}

impl Text for Cgroup {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if let Some((path, invert)) = &self.path {
            write!(out, "{} --path", not(*invert))?;
            write_string(path, out)?;
        }
        if let Some((class, invert)) = self.class {
            write!(out, "{} --cgroup {class}", not(invert))?;
        }
        Ok(())
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        let bang = |invert| if invert { "! " } else { "" };
        out.write_str(" cgroup")?;
        if let Some((path, invert)) = &self.path {
            write!(out, " {}{path}", bang(*invert))?;
        }
        if let Some((class, invert)) = self.class {
            write!(out, " {}{class}", bang(invert))?;
        }
        Ok(())
    }
}

impl MatchKind for Cgroup {
    fn check(&self, place: Place) -> Result<(), Problem> {
        place.only_hooks(IN | OUT | POST, "cgroup belongs in INPUT, OUTPUT and POSTROUTING")?;
        need(self.path.is_some() != self.class.is_some(), "cgroup takes a path or a class id")
    }
}
