//! `-m dst`.

use super::hbh::header_option;
use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Dst;

static SPEC: Spec = Spec {
    name: "dst",
    options: &[Opt::value("dst-len", 0).invertible(), Opt::value("dst-opts", 1)],
    checked: true,
    help: "\
dst match options:
[!] --dst-len length            the header's length
  --dst-opts TYPE[:LEN][,TYPE[:LEN]...]
                                its options with their lengths (16 at most)
",
};

impl Extension for Dst {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        header_option(&mut self.header, id, arg, invert, "dst")
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Dst(Box::new(self.clone())))
    }
}
