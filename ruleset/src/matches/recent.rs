//! `-m recent` (xt_recent.c, rev 1).

use serde::{Deserialize, Serialize};
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
