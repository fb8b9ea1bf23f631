//! `-m cluster`: whether this node of a cluster handles a connection (xt_cluster.c).

use crate::check::{Place, Problem};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m cluster`: whether this node of a cluster handles a connection (xt_cluster.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cluster {
    /// `--cluster-total-nodes`, 1 to 32.
    pub total: u32,
    /// `--cluster-local-nodemask`.
    pub mask: u32,
    /// `--cluster-hash-seed`.
    pub seed: u32,
    /// `!`.
    pub invert: bool,
}

impl Cluster {
    /// The mask names nodes that there are not.
    #[must_use]
    pub const fn exceeds(&self) -> bool {
        self.mask as u64 >= 1 << self.total
    }
}

impl Text for Cluster {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Self { total, mask, seed, invert } = *self;
        write!(out, "{} --cluster-local-nodemask 0x{mask:08x}", not(invert))?;
        write!(out, " --cluster-total-nodes {total} --cluster-hash-seed 0x{seed:08x}")
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        let Self { total, mask, seed, invert } = *self;
        write!(out, " cluster {}node_mask=0x{mask:08x}", if invert { "!" } else { "" })?;
        write!(out, " total_nodes={total} hash_seed=0x{seed:08x}")
    }
}

impl MatchKind for Cluster {
    fn check(&self, _: Place) -> Result<(), Problem> {
        if self.exceeds() { Err(Problem::Domain("the mask names nodes that there are not")) } else { Ok(()) }
    }
}
