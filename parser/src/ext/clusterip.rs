//! `-j CLUSTERIP`.

use super::{Cx, Extension, Opt, Spec, ranged_u16, ranged_u32};
use crate::error::ParseError;
use crate::value;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Clusterip;
use bpftables_ruleset::targets::clusterip::{HashMode, NewClusterip};

const NEW: u8 = 0;
const MODE: u8 = 1;
const MAC: u8 = 2;
const NODES: u8 = 3;
const NODE: u8 = 4;
const SEED: u8 = 5;
const ALL: u32 = 1 << NEW | 1 << MODE | 1 << MAC | 1 << NODES | 1 << NODE;

static SPEC: Spec = Spec {
    name: "CLUSTERIP",
    options: &[
        Opt::flag("new", NEW),
        Opt::value("hashmode", MODE),
        Opt::value("clustermac", MAC),
        Opt::value("total-nodes", NODES),
        Opt::value("local-node", NODE),
        Opt::value("hash-init", SEED),
    ],
    checked: true,
    help: "\
CLUSTERIP target options:
  --new\t\t\t the rule makes the address of a cluster
  --hashmode <mode>\t\t what decides on the node:
\t\t\t\t\tsourceip
\t\t\t\t\tsourceip-sourceport
\t\t\t\t\tsourceip-sourceport-destport
  --clustermac <mac>\t\t the MAC address of the cluster
  --total-nodes <num>\t\t how many nodes there are
  --local-node <num>\t\t which of them this is
  --hash-init <num>\t\t where the hash begins
",
};

/// Reads `-j CLUSTERIP`.
#[derive(Debug)]
pub(crate) struct ClusteripBuilder {
    is_new: bool,
    new: NewClusterip,
}

impl Default for ClusteripBuilder {
    fn default() -> Self {
        let new = NewClusterip { mode: HashMode::Source, mac: [0; 6], nodes: 0, node: 0, seed: 0 };
        Self { is_new: false, new }
    }
}

impl Extension for ClusteripBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn loaded(&self) -> Option<&'static str> {
        Some("Warning: Extension CLUSTERIP revision 0 not supported, missing kernel module?")
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let number = |option| ranged_u16("CLUSTERIP", option, arg, 0, 16);
        match id {
            NEW => self.is_new = true,
            MODE => {
                let mode = HashMode::ALL.into_iter().find(|mode| mode.name() == arg);
                self.new.mode = mode.ok_or_else(|| ParseError::Parameter(format!("Unknown hashmode \"{arg}\"")))?;
            }
            MAC => {
                self.new.mac = value::mac_address(arg)?;
                if self.new.mac[0] & 1 == 0 {
                    return Err(ParseError::parameter("MAC has to be a multicast ethernet address"));
                }
            }
            NODES => self.new.nodes = number("total-nodes")?,
            NODE => self.new.node = number("local-node")?,
            _ => self.new.seed = ranged_u32("CLUSTERIP", "hash-init", arg, 0, u32::MAX)?,
        }
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen != 0 && seen & ALL != ALL {
            return Err(ParseError::parameter("CLUSTERIP target: Invalid parameter combination"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Clusterip(Box::new(Clusterip { new: self.is_new.then(|| self.new.clone()) })))
    }
}
