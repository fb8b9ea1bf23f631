//! `-m sctp`: ports and chunks of SCTP (xt_sctp.c).

use crate::addr::PortRange;
use crate::check::{Place, Problem};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not, write_bounds};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m sctp`: ports and chunks of SCTP (xt_sctp.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sctp {
    /// `--sport`, and whether after `!`.
    pub sport: Option<(PortRange, bool)>,
    /// `--dport`, and whether after `!`.
    pub dport: Option<(PortRange, bool)>,
    /// `--chunk-types`, and whether after `!`.
    pub chunks: Option<(SctpChunks, bool)>,
}

/// Which chunks a packet must have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SctpChunks {
    /// How many of them.
    pub quantity: SctpQuantity,
    /// The types, bit by bit.
    pub types: [u64; 4],
    /// Flags of chunks in the order given.
    pub flags: Vec<SctpFlags>,
}

/// `any`, `all` or `only`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SctpQuantity {
    /// One of them.
    Any,
    /// Each of them.
    All,
    /// Each of them, and no others.
    Only,
}

/// Flags that a chunk must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SctpFlags {
    /// The chunk by its place in [`CHUNK_NAMES`], where legacy means its type: they differ from the sixteenth on, so legacy (and this)
    /// neither compares nor prints the flags of those.
    pub index: u8,
    /// The flags that count.
    pub mask: u8,
    /// Those of them that must be set.
    pub set: u8,
}

/// Name, type, and the letters of the flags from bit 7 to bit 0.
pub const CHUNK_NAMES: &[(&str, u8, &str)] = &[
    ("DATA", 0, "----IUBE"),
    ("INIT", 1, "--------"),
    ("INIT_ACK", 2, "--------"),
    ("SACK", 3, "--------"),
    ("HEARTBEAT", 4, "--------"),
    ("HEARTBEAT_ACK", 5, "--------"),
    ("ABORT", 6, "-------T"),
    ("SHUTDOWN", 7, "--------"),
    ("SHUTDOWN_ACK", 8, "--------"),
    ("ERROR", 9, "--------"),
    ("COOKIE_ECHO", 10, "--------"),
    ("COOKIE_ACK", 11, "--------"),
    ("ECN_ECNE", 12, "--------"),
    ("ECN_CWR", 13, "--------"),
    ("SHUTDOWN_COMPLETE", 14, "-------T"),
    ("I_DATA", 64, "----IUBE"),
    ("RE_CONFIG", 130, "--------"),
    ("PAD", 132, "--------"),
    ("ASCONF", 193, "--------"),
    ("ASCONF_ACK", 128, "--------"),
    ("FORWARD_TSN", 192, "--------"),
    ("I_FORWARD_TSN", 194, "--------"),
];

impl SctpChunks {
    fn has(&self, kind: u8) -> bool {
        self.types[usize::from(kind / 64)] & (1 << (kind % 64)) != 0
    }

    fn write(&self, numeric: bool, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(match self.quantity {
            SctpQuantity::Any => " any",
            SctpQuantity::All => " all",
            SctpQuantity::Only => " only",
        })?;
        if self.types == [0; 4] {
            return out.write_str(" NONE");
        }
        if self.types == [u64::MAX; 4] {
            return out.write_str(" ALL");
        }
        let mut separator = ' ';
        for kind in (0..=255).filter(|kind| self.has(*kind)) {
            out.write_char(separator)?;
            separator = ',';
            let named = CHUNK_NAMES.iter().find(|(_, number, _)| *number == kind);
            match named {
                _ if numeric => write!(out, "0x{kind:04X}")?,
                Some((name, ..)) => out.write_str(name)?,
                None => {}
            }
            for flags in self.flags.iter().filter(|flags| flags.index == kind) {
                flags.write(out)?;
            }
        }
        Ok(())
    }
}

impl SctpFlags {
    fn write(self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Some((.., letters)) = CHUNK_NAMES.get(usize::from(self.index)) else { return Ok(()) };
        if self.mask != 0 {
            out.write_char(':')?;
        }
        for (bit, letter) in (0..8).rev().zip(letters.chars()) {
            if self.mask & (1 << bit) != 0 {
                let set = self.set & (1 << bit) != 0;
                out.write_char(if set { letter } else { letter.to_ascii_lowercase() })?;
            }
        }
        Ok(())
    }
}

impl Text for Sctp {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for (ports, option) in [(self.sport, "sport"), (self.dport, "dport")] {
            if let Some((range, invert)) = ports {
                write!(out, "{} --{option} ", not(invert))?;
                write_bounds(range.lo, range.hi, out)?;
            }
        }
        if let Some((chunks, invert)) = &self.chunks {
            write!(out, "{} --chunk-types", not(*invert))?;
            chunks.write(false, out)?;
        }
        Ok(())
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" sctp")?;
        for (ports, label) in [(self.sport, "spt"), (self.dport, "dpt")] {
            if let Some((range, invert)) = ports {
                cx.write_port_range(label, range, invert, "sctp", out)?;
            }
        }
        if let Some((chunks, invert)) = &self.chunks {
            out.write_str(not(*invert))?;
            chunks.write(cx.numeric, out)?;
        }
        Ok(())
    }
}

impl MatchKind for Sctp {
    fn check(&self, place: Place) -> Result<(), Problem> {
        place.needs_protocol(132, "the sctp match needs -p sctp")
    }
}
