//! `-j SET`: puts a packet's address into a set of ipset, takes it out, or takes from it (xt_set.c, rev 3).

use super::TargetKind;
use crate::check::{FWD, OUT, POST, Place, Problem};
use crate::matches::set::write_sides;
use crate::rule::Rule;
use crate::table::TableKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A set, and the side of the packet for each of its dimensions (at most six): the source's rather than the destination's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NamedSet {
    /// Its name, at most 31 bytes.
    pub name: Box<str>,
    /// The sides.
    pub sources: Vec<bool>,
}

/// `-j SET`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SetChange {
    /// `--add-set`.
    pub add: Option<NamedSet>,
    /// `--del-set`.
    pub del: Option<NamedSet>,
    /// `--map-set`.
    pub map: Option<NamedSet>,
    /// `--exist`: what is there already begins its time anew.
    pub exist: bool,
    /// `--timeout`, in seconds.
    pub timeout: Option<u32>,
    /// `--map-mark`.
    pub mark: bool,
    /// `--map-prio`.
    pub priority: bool,
    /// `--map-queue`.
    pub queue: bool,
}

impl SetChange {
    fn write(&self, prefix: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        let set = |what: &str, set: &Option<NamedSet>, out: &mut dyn fmt::Write| {
            let Some(set) = set else { return Ok(()) };
            write!(out, " {prefix}{what}-set {}", set.name)?;
            write_sides(&set.sources, out)
        };
        let flag = |what: &str, given: bool, out: &mut dyn fmt::Write| {
            if given { write!(out, " {prefix}{what}") } else { Ok(()) }
        };
        set("add", &self.add, out)?;
        flag("exist", self.exist, out)?;
        if let Some(timeout) = self.timeout {
            write!(out, " {prefix}timeout {timeout}")?;
        }
        set("del", &self.del, out)?;
        set("map", &self.map, out)?;
        flag("map-mark", self.mark, out)?;
        flag("map-prio", self.priority, out)?;
        flag("map-queue", self.queue, out)
    }
}

impl TargetKind for SetChange {
    fn check(&self, place: Place, _: &Rule) -> Result<(), Problem> {
        if self.map.is_none() {
            return Ok(());
        }
        place.in_tables(&[TableKind::Mangle], "--map-set belongs to the mangle table")?;
        if self.priority || self.queue {
            place.only_hooks(FWD | OUT | POST, "--map-prio and --map-queue belong where packets leave")?;
        }
        Ok(())
    }
}

impl Text for SetChange {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("--", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("", out)
    }
}
