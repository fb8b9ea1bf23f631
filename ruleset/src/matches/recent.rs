//! `-m recent` (xt_recent.c, rev 1).

use crate::Ruleset;
use crate::check::{Place, Problem, need};
use crate::matches::{Match, MatchKind};
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// `-m recent`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Recent {
    /// What it does.
    pub op: RecentOp,
    /// `!`.
    pub invert: bool,
    /// `--name`, `DEFAULT` when not given.
    pub name: Box<str>,
    /// `--rdest` rather than `--rsource`.
    pub dest: bool,
    /// `--mask`.
    pub mask: IpAddr,
    /// `--seconds`; 0: not asked.
    pub seconds: u32,
    /// `--reap`.
    pub reap: bool,
    /// `--hitcount`; 0: not asked.
    pub hitcount: u32,
    /// `--rttl`.
    pub ttl: bool,
}

/// `--set`, `--rcheck`, `--update`, `--remove`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RecentOp {
    /// Add the address or refresh it; always true.
    Set,
    /// Is it listed?
    Check,
    /// Is it listed? Refresh it if so.
    Update,
    /// Is it listed? Remove it if so.
    Remove,
}

impl RecentOp {
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Set => ("set", "SET"),
            Self::Check => ("rcheck", "CHECK"),
            Self::Update => ("update", "UPDATE"),
            Self::Remove => ("remove", "REMOVE"),
        }
    }
}

/// The mask of each list: that of the first rule that names it, for every rule that does. (xt_recent keeps it with the list, and does not look
/// at those of later rules.)
#[must_use]
pub fn list_masks(ruleset: &Ruleset) -> BTreeMap<Box<str>, IpAddr> {
    let mut masks = BTreeMap::new();
    let chains = ruleset.tables.iter().flat_map(|table| table.chains());
    for m in chains.flat_map(|chain| &chain.rules).flat_map(|rule| &rule.matches) {
        if let Match::Recent(recent) = m {
            masks.entry(recent.name.clone()).or_insert(recent.mask);
        }
    }
    masks
}

impl Text for Recent {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --{}", if self.invert { " !" } else { "" }, self.op.words().0)?;
        if self.seconds != 0 {
            write!(out, " --seconds {}", self.seconds)?;
        }
        if self.reap {
            out.write_str(" --reap")?;
        }
        if self.hitcount != 0 {
            write!(out, " --hitcount {}", self.hitcount)?;
        }
        if self.ttl {
            out.write_str(" --rttl")?;
        }
        let side = if self.dest { "rdest" } else { "rsource" };
        write!(out, " --name {} --mask ", self.name)?;
        crate::text::write_ip(self.mask, out)?;
        write!(out, " --{side}")
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} recent: {}", if self.invert { " !" } else { "" }, self.op.words().1)?;
        if self.seconds != 0 {
            write!(out, " seconds: {}", self.seconds)?;
        }
        if self.reap {
            out.write_str(" reap")?;
        }
        if self.hitcount != 0 {
            write!(out, " hit_count: {}", self.hitcount)?;
        }
        if self.ttl {
            out.write_str(" TTL-Match")?;
        }
        let side = if self.dest { "dest" } else { "source" };
        write!(out, " name: {} side: {side} mask: ", self.name)?;
        crate::text::write_ip(self.mask, out)
    }
}

impl MatchKind for Recent {
    fn check(&self, _: Place) -> Result<(), Problem> {
        let modifiers = self.seconds != 0 || self.hitcount != 0 || self.ttl || self.reap;
        need(
            !(matches!(self.op, RecentOp::Set | RecentOp::Remove) && modifiers),
            "--set and --remove take no further conditions",
        )?;
        need(!self.reap || self.seconds != 0, "--reap needs --seconds")?;
        need(self.hitcount <= 0xffff, "--hitcount is larger than 65535")?;
        let name = &*self.name;
        need(
            !name.is_empty() && name != "." && name != ".." && !name.contains('/'),
            "the list's name cannot be a file's",
        )
    }
}
