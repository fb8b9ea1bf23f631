//! `-j NFLOG` (xt_NFLOG.c): the packet, or its beginning, to the listeners of a netlink group.

use super::TargetKind;
use crate::text::{ListContext, Text, write_string};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j NFLOG`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Nflog {
    /// `--nflog-group`.
    pub group: u16,
    /// `--nflog-prefix`, at most [`Nflog::MAX_PREFIX`] bytes.
    pub prefix: Box<str>,
    /// How much of the packet is asked for.
    pub length: NflogLength,
    /// `--nflog-threshold`: so many packets make a message.
    pub threshold: u16,
}

/// How much of a packet a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NflogLength {
    /// Whatever the listener wants.
    Unset,
    /// `--nflog-size`: so many bytes at most.
    Size(u32),
    /// `--nflog-range`, which the kernel keeps and does not look at.
    Range(u32),
}

impl Nflog {
    /// The threshold if none is given.
    pub const DEFAULT_THRESHOLD: u16 = 0;
    /// The longest prefix, in bytes; what is longer is cut.
    pub const MAX_PREFIX: usize = 63;

    fn write(&self, before: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        if !self.prefix.is_empty() {
            write!(out, " {before}nflog-prefix")?;
            write_string(&self.prefix, out)?;
        }
        if self.group != 0 {
            write!(out, " {before}nflog-group {}", self.group)?;
        }
        match self.length {
            NflogLength::Size(size) => write!(out, " {before}nflog-size {size}")?,
            NflogLength::Range(range) if range != 0 => write!(out, " {before}nflog-range {range}")?,
            NflogLength::Unset | NflogLength::Range(_) => {}
        }
        if self.threshold == Self::DEFAULT_THRESHOLD {
            return Ok(());
        }
        write!(out, " {before}nflog-threshold {}", self.threshold)
    }
}

impl Default for Nflog {
    fn default() -> Self {
        Self { group: 0, prefix: "".into(), length: NflogLength::Unset, threshold: Self::DEFAULT_THRESHOLD }
    }
}

impl TargetKind for Nflog {}

impl Text for Nflog {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("--", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("", out)
    }
}
