//! `-j CONNMARK` (xt_connmark.c, rev 2).

use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j CONNMARK`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConnmarkSet {
    /// `--set-xmark VALUE/MASK` and its spellings: ctmark = (ctmark AND NOT mask) XOR value.
    Set {
        /// Value.
        value: u32,
        /// Mask.
        mask: u32,
    },
    /// `--save-mark`: ctmark = (ctmark AND NOT ctmask) XOR (nfmark AND nfmask).
    Save {
        /// `--nfmask`.
        nfmask: u32,
        /// `--ctmask`.
        ctmask: u32,
    },
    /// `--restore-mark`: nfmark = (nfmark AND NOT nfmask) XOR (ctmark AND ctmask).
    Restore {
        /// `--nfmask`.
        nfmask: u32,
        /// `--ctmask`.
        ctmask: u32,
    },
    /// One of the others, whose mark from outside is shifted first (never one within another).
    Shifted {
        /// The other.
        set: Box<ConnmarkSet>,
        /// `--left-shift-mark` or else `--right-shift-mark`.
        left: bool,
        /// By how much, 1 to 32; the kernel refuses 32.
        bits: u8,
    },
}

fn shift_name(left: bool) -> &'static str {
    if left { "left-shift-mark" } else { "right-shift-mark" }
}

impl Text for ConnmarkSet {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match *self {
            Self::Shifted { ref set, left, bits } => {
                set.save(out)?;
                write!(out, " --{} {bits}", shift_name(left))
            }
            Self::Set { value, mask } => write!(out, " --set-xmark 0x{value:x}/0x{mask:x}"),
            Self::Save { nfmask, ctmask } => write!(out, " --save-mark --nfmask 0x{nfmask:x} --ctmask 0x{ctmask:x}"),
            Self::Restore { nfmask, ctmask } => {
                write!(out, " --restore-mark --nfmask 0x{nfmask:x} --ctmask 0x{ctmask:x}")
            }
        }
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        if let Self::Shifted { set, left, bits } = self {
            set.list(cx, out)?;
            return write!(out, " {} {bits}", shift_name(*left));
        }
        out.write_str(" CONNMARK")?;
        let (verb, first, second) = match *self {
            Self::Shifted { .. } => return Ok(()),
            Self::Set { value, mask } => return crate::text::write_mark_operation(value, mask, out),
            Self::Save { nfmask, ctmask } => ("save", ("nfmask", nfmask), ("ctmask", ctmask)),
            Self::Restore { nfmask, ctmask } => ("restore", ("ctmask", ctmask), ("nfmask", nfmask)),
        };
        write!(out, " {verb}")?;
        if first.1 != second.1 {
            write!(out, " {} 0x{:x} {} ~0x{:x}", first.0, first.1, second.0, second.1)
        } else if first.1 != u32::MAX {
            write!(out, " mask 0x{:x}", first.1)
        } else {
            Ok(())
        }
    }
}
