//! `-m connbytes`: how much a connection has transferred (xt_connbytes.c).

use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m connbytes`: how much a connection has transferred (xt_connbytes.c).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Connbytes {
    /// One bound, inclusive. If it is above the other, both were given after `!`.
    pub from: u64,
    /// The other bound.
    pub to: u64,
    /// `--connbytes-mode`.
    pub mode: ConnbytesMode,
    /// `--connbytes-dir`.
    pub direction: ConnbytesDirection,
}

/// `--connbytes-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConnbytesMode {
    /// Packets.
    Packets,
    /// Bytes.
    Bytes,
    /// Bytes in a packet, on average.
    AveragePacket,
}

/// `--connbytes-dir`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConnbytesDirection {
    /// As the first packet.
    Original,
    /// The answers.
    Reply,
    /// Together.
    Both,
}

/// The modes by name.
pub const MODES: &[(&str, ConnbytesMode)] =
    &[("packets", ConnbytesMode::Packets), ("bytes", ConnbytesMode::Bytes), ("avgpkt", ConnbytesMode::AveragePacket)];

/// The directions by name.
pub const DIRECTIONS: &[(&str, ConnbytesDirection)] = &[
    ("original", ConnbytesDirection::Original),
    ("reply", ConnbytesDirection::Reply),
    ("both", ConnbytesDirection::Both),
];

fn name_of<T: PartialEq>(table: &[(&'static str, T)], value: &T) -> &'static str {
    table.iter().find(|(_, known)| known == value).map_or("", |(name, _)| name)
}

impl Connbytes {
    fn write(&self, prefix: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        let invert = self.from > self.to;
        let (from, to) = if invert { (self.to, self.from) } else { (self.from, self.to) };
        write!(out, "{} {prefix}connbytes {from}", crate::text::not(invert))?;
        if to != 0 && to != u64::MAX { write!(out, ":{to}") } else { Ok(()) }
    }
}

impl Text for Connbytes {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("--", out)?;
        let (mode, direction) = (name_of(MODES, &self.mode), name_of(DIRECTIONS, &self.direction));
        write!(out, " --connbytes-mode {mode} --connbytes-dir {direction}")
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("", out)?;
        let (mode, direction) = (name_of(MODES, &self.mode), name_of(DIRECTIONS, &self.direction));
        write!(out, " connbytes mode {mode} connbytes direction {direction}")
    }
}

impl MatchKind for Connbytes {}
