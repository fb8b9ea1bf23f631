//! `-m cgroup`.

use super::{Cx, Extension, Opt, Spec, cut, ranged_u32};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Cgroup;

const CLASS: u8 = 0;
const PATH: u8 = 1;

/// The longest path, in bytes.
const MAX_PATH: usize = 511;

static SPEC: Spec = Spec {
    name: "cgroup",
    options: &[Opt::value("path", PATH).invertible(), Opt::value("cgroup", CLASS).invertible()],
    checked: true,
    help: "\
cgroup match options:
[!] --path path                 a group of cgroup2 or one below, by its path
[!] --cgroup classid            a class id, not together with --path
",
};

impl Extension for Cgroup {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        if id == PATH {
            self.path = Some((cut(arg, MAX_PATH), invert));
        } else {
            self.class = Some((ranged_u32("cgroup", "cgroup", arg, 0, u32::MAX)?, invert));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Cgroup(Box::new(self.clone())))
    }
}
