//! `-j CLUSTERIP` (ipt_CLUSTERIP.c): gone from the kernel since Linux 6.3, so the check refuses it as newer kernels do.

use super::TargetKind;
use crate::check::{Place, Problem};
use crate::rule::Rule;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j CLUSTERIP`; nothing for a rule that joins an address that another rule made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Clusterip {
    /// `--new` and what goes with it.
    pub new: Option<NewClusterip>,
}

/// An address shared by the nodes of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NewClusterip {
    /// `--hashmode`.
    pub mode: HashMode,
    /// `--clustermac`.
    pub mac: [u8; 6],
    /// `--total-nodes`.
    pub nodes: u16,
    /// `--local-node`.
    pub node: u16,
    /// `--hash-init`.
    pub seed: u32,
}

/// What decides on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HashMode {
    /// `sourceip`.
    Source,
    /// `sourceip-sourceport`.
    SourcePort,
    /// `sourceip-sourceport-destport`.
    BothPorts,
}

impl HashMode {
    /// All.
    pub const ALL: [Self; 3] = [Self::Source, Self::SourcePort, Self::BothPorts];

    /// The word after `--hashmode`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "sourceip",
            Self::SourcePort => "sourceip-sourceport",
            Self::BothPorts => "sourceip-sourceport-destport",
        }
    }
}

impl TargetKind for Clusterip {
    fn check(&self, _: Place, _: &Rule) -> Result<(), Problem> {
        Err(Problem::Missing("the CLUSTERIP target does not exist any more"))
    }
}

impl NewClusterip {
    fn write(&self, names: [&str; 5], out: &mut dyn fmt::Write) -> fmt::Result {
        let [mode, mac, nodes, node, seed] = names;
        write!(out, " {mode}{} {mac}", self.mode.name())?;
        for (index, byte) in self.mac.iter().enumerate() {
            write!(out, "{}{byte:02X}", if index == 0 { "" } else { ":" })?;
        }
        write!(out, " {nodes}{} {node}{} {seed}{}", self.nodes, self.node, self.seed)
    }
}

impl Text for Clusterip {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Some(new) = &self.new else { return Ok(()) };
        out.write_str(" --new")?;
        new.write(["--hashmode ", "--clustermac ", "--total-nodes ", "--local-node ", "--hash-init "], out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" CLUSTERIP")?;
        let Some(new) = &self.new else { return Ok(()) };
        new.write(["hashmode=", "clustermac=", "total_nodes=", "local_node=", "hash_init="], out)
    }
}
