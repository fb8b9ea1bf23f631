//! `-j CONNMARK` (xt_connmark.c, rev 2).

use serde::{Deserialize, Serialize};

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
}
