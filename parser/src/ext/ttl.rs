//! `-m ttl`.

use super::{Cx, Extension, Opt, Spec, ranged};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Ttl;
use bpftables_ruleset::matches::ttl::HopComparison;

const EQUAL: u8 = 0;
const LESS: u8 = 1;
const GREATER: u8 = 2;
const ANY: u32 = 1 << EQUAL | 1 << LESS | 1 << GREATER;

static SPEC: Spec = Spec {
    name: "ttl",
    options: &[
        Opt::value("ttl-lt", LESS).excludes(ANY),
        Opt::value("ttl-gt", GREATER).excludes(ANY),
        Opt::value("ttl-eq", EQUAL).excludes(ANY).invertible(),
        Opt::value("ttl", EQUAL).excludes(ANY),
    ],
    checked: true,
    help: "\
ttl match options:
[!] --ttl-eq value\tthe TTL equals the value
  --ttl-lt value\tit is below the value
  --ttl-gt value\tit is above the value
",
};

impl Extension for Ttl {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let (option, comparison) = match id {
            EQUAL if invert => ("ttl-eq", HopComparison::NotEqual),
            EQUAL => ("ttl-eq", HopComparison::Equal),
            LESS => ("ttl-lt", HopComparison::Less),
            _ => ("ttl-gt", HopComparison::Greater),
        };
        self.value = ranged("ttl", option, arg, 0, u8::MAX)?;
        self.comparison = comparison;
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen == 0 {
            return Err(ParseError::parameter("TTL match: You must specify one of `--ttl-eq', `--ttl-lt', `--ttl-gt"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Ttl(self.clone()))
    }
}
