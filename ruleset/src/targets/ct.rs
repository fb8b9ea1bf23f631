//! `-j CT` (xt_CT.c): how the packet's connection is to be tracked.

use super::TargetKind;
use crate::addr::Family;
use crate::check::{Place, Problem, need};
use crate::rule::Rule;
use crate::table::TableKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j CT`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CtSet {
    /// `--notrack`.
    pub notrack: bool,
    /// `--helper`, at most [`CtSet::MAX_HELPER`] bytes; empty when it was not given.
    pub helper: Box<str>,
    /// `--timeout`, at most [`CtSet::MAX_TIMEOUT`] bytes; empty when it was not given.
    pub timeout: Box<str>,
    /// `--ctevents` as bits in the order of [`EVENTS`].
    pub events: u16,
    /// `--expevents new`.
    pub expect_events: bool,
    /// `--zone` and its kin.
    pub zone: Zone,
}

/// A zone of connection tracking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Zone {
    /// Its number.
    pub id: u16,
    /// It is the packet's mark instead.
    pub mark: bool,
    /// `--zone-orig`.
    pub original: bool,
    /// `--zone-reply`; both or none of the two is both directions.
    pub reply: bool,
}

/// The names of `--ctevents`, in legacy's order.
pub const EVENTS: &[&str] =
    &["new", "related", "destroy", "reply", "assured", "protoinfo", "helper", "mark", "natseqinfo", "secmark"];

/// The helpers of the kernel: the protocol that each is for, and whether IPv6 has it.
const HELPERS: &[(&str, u8, bool)] = &[
    ("amanda", 17, true),
    ("ftp", 6, true),
    ("irc", 6, false),
    ("netbios-ns", 17, false),
    ("pptp", 6, false),
    ("Q.931", 6, true),
    ("RAS", 17, true),
    ("sane", 6, true),
    ("sip", 6, true),
    ("sip", 17, true),
    ("snmp", 17, false),
    ("snmp_trap", 17, false),
    ("tftp", 17, true),
];

impl CtSet {
    /// The longest name of a helper, in bytes; what is longer is cut.
    pub const MAX_HELPER: usize = 15;
    /// The longest name of a policy, in bytes; what is longer is cut.
    pub const MAX_TIMEOUT: usize = 31;

    /// Leaves what the kernel keeps: beside `--notrack`, four bytes of the policy's name.
    pub(crate) fn curtail(&mut self) {
        if self.notrack {
            self.timeout = self.timeout[..self.timeout.floor_char_boundary(4)].into();
        }
    }

    fn write(&self, before: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        if self.notrack {
            write!(out, " {before}notrack")?;
        }
        if !self.helper.is_empty() {
            write!(out, " {before}helper {}", self.helper)?;
        }
        if !self.timeout.is_empty() {
            write!(out, " {before}timeout {}", self.timeout)?;
        }
        if self.events != 0 {
            write!(out, " {before}ctevents")?;
            let mut separator = ' ';
            for (_, name) in EVENTS.iter().enumerate().filter(|(bit, _)| self.events >> bit & 1 != 0) {
                write!(out, "{separator}{name}")?;
                separator = ',';
            }
        }
        if self.expect_events {
            write!(out, " {before}expevents new")?;
        }
        self.zone.write(before, out)
    }
}

impl Zone {
    fn write(self, before: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        if !self.mark && self.id == 0 {
            return Ok(());
        }
        let direction = match (self.original, self.reply) {
            (true, false) => "-orig",
            (false, true) => "-reply",
            _ => "",
        };
        write!(out, " {before}zone{direction} ")?;
        if self.mark { out.write_str("mark") } else { write!(out, "{}", self.id) }
    }
}

impl TargetKind for CtSet {
    fn check(&self, place: Place, _: &Rule) -> Result<(), Problem> {
        place.in_tables(&[TableKind::Raw], "CT belongs in the raw table")?;
        if self.notrack {
            return Ok(());
        }
        let protocol = place.protocol.filter(|(_, inverted)| !inverted).map(|(protocol, _)| protocol);
        let helper = HELPERS.iter().find(|(name, of, _)| *name == &*self.helper && Some(*of) == protocol);
        let known = helper.is_some_and(|(_, _, v6)| *v6 || place.family == Family::V4);
        if !self.helper.is_empty() && !known {
            return Err(Problem::Missing("there is no such helper for the rule's protocol"));
        }
        if !self.timeout.is_empty() {
            need(protocol.is_some(), "--timeout needs -p")?;
            return Err(Problem::Missing("there is no such timeout policy"));
        }
        Ok(())
    }
}

impl Text for CtSet {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("--", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" CT")?;
        self.write("", out)
    }
}
