//! `-m owner`: who owns the socket that sent a packet (xt_owner.c, rev 1).

use crate::check::{OUT, POST, Place, Problem, need};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Lowest and highest id, and whether after `!`.
pub type IdRange = (u32, u32, bool);

/// `-m owner`: who owns the socket that sent a packet (xt_owner.c, rev 1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// `--socket-exists`, and whether after `!`.
    pub socket: Option<bool>,
    /// `--uid-owner`.
    pub uid: Option<IdRange>,
    /// `--gid-owner`.
    pub gid: Option<IdRange>,
    /// `--suppl-groups`.
    pub supplementary: bool,
}

fn write_ids(
    label: &str,
    ids: Option<IdRange>,
    name: impl Fn(u32) -> Option<String>,
    out: &mut dyn fmt::Write,
) -> fmt::Result {
    let Some((lo, hi, invert)) = ids else { return Ok(()) };
    write!(out, "{} {label} ", not(invert))?;
    if lo != hi {
        return write!(out, "{lo}-{hi}");
    }
    match name(lo) {
        Some(name) => out.write_str(&name),
        None => write!(out, "{lo}"),
    }
}

impl Text for Owner {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if let Some(invert) = self.socket {
            write!(out, "{} --socket-exists", not(invert))?;
        }
        write_ids("--uid-owner", self.uid, |_| None, out)?;
        write_ids("--gid-owner", self.gid, |_| None, out)?;
        out.write_str(if self.supplementary { " --suppl-groups" } else { "" })
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        if let Some(invert) = self.socket {
            write!(out, "{} owner socket exists", not(invert))?;
        }
        let named = !cx.numeric;
        write_ids("owner UID match", self.uid, |id| cx.names.user_name(id).filter(|_| named), out)?;
        write_ids("owner GID match", self.gid, |id| cx.names.group_name(id).filter(|_| named), out)?;
        out.write_str(if self.supplementary { " incl. suppl. groups" } else { "" })
    }
}

impl MatchKind for Owner {
    fn check(&self, place: Place) -> Result<(), Problem> {
        place.only_hooks(OUT | POST, "owner belongs in OUTPUT and POSTROUTING")?;
        let ascends = |ids: Option<IdRange>| ids.is_none_or(|(lo, hi, _)| lo <= hi);
        need(ascends(self.uid) && ascends(self.gid), "a range of ids that ends before it begins")
    }
}
