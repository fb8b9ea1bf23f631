//! `-m cluster`.

use super::{Cx, Extension, Opt, Spec, ranged_u32};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Cluster;

const TOTAL: u8 = 0;
const NODE: u8 = 1;
const MASK: u8 = 2;
const SEED: u8 = 3;
const MAX_NODES: u32 = 32;

static SPEC: Spec = Spec {
    name: "cluster",
    options: &[
        Opt::value("cluster-total-nodes", TOTAL).mandatory(),
        Opt::value("cluster-local-node", NODE).excludes(1 << MASK).invertible(),
        Opt::value("cluster-local-nodemask", MASK).excludes(1 << NODE).invertible(),
        Opt::value("cluster-hash-seed", SEED).mandatory(),
    ],
    checked: true,
    help: "\
cluster match options:
  --cluster-total-nodes <num>\t\thow many nodes the cluster has
  [!] --cluster-local-node <num>\tthe number of this node
  [!] --cluster-local-nodemask <num>\tthe mask of this node's numbers
  --cluster-hash-seed <num>\t\twhat the hash starts from
",
};

impl Extension for Cluster {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let nodes = |option| ranged_u32("cluster", option, arg, 1, MAX_NODES);
        match id {
            TOTAL => self.total = nodes("cluster-total-nodes")?,
            NODE => self.mask = 1 << (nodes("cluster-local-node")? - 1),
            MASK => self.mask = nodes("cluster-local-nodemask")?,
            _ => self.seed = ranged_u32("cluster", "cluster-hash-seed", arg, 0, u32::MAX)?,
        }
        self.invert |= invert;
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        let given = |id: u8| seen & (1 << id) != 0;
        if given(TOTAL) && given(SEED) && self.exceeds() {
            if given(NODE) {
                return Err(ParseError::parameter(
                    "cluster match: `--cluster-local-node' must be <= `--cluster-total-nodes'",
                ));
            }
            return Err(ParseError::parameter(
                "cluster match: `--cluster-local-nodemask' too big for `--cluster-total-nodes'",
            ));
        }
        if !given(NODE) && !given(MASK) {
            return Err(ParseError::parameter(
                "cluster match: `--cluster-local-node' or`--cluster-local-nodemask' is missing",
            ));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Cluster(self.clone()))
    }
}
