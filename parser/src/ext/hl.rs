//! `-m hl`.

use super::{Cx, Extension, Opt, Spec, ranged};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Hl;
use bpftables_ruleset::matches::ttl::HopComparison;

const EQUAL: u8 = 0;
const LESS: u8 = 1;
const GREATER: u8 = 2;
const ANY: u32 = 1 << EQUAL | 1 << LESS | 1 << GREATER;

static SPEC: Spec = Spec {
    name: "hl",
    options: &[
        Opt::value("hl-lt", LESS).excludes(ANY),
        Opt::value("hl-gt", GREATER).excludes(ANY),
        Opt::value("hl-eq", EQUAL).excludes(ANY).invertible(),
        Opt::value("hl", EQUAL).excludes(ANY),
    ],
    checked: true,
    help: "\
hl match options:
[!] --hl-eq value\tthe hop limit equals the value
  --hl-lt value\tit is below the value
  --hl-gt value\tit is above the value
",
};

impl Extension for Hl {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let (option, comparison) = match id {
            EQUAL if invert => ("hl-eq", HopComparison::NotEqual),
            EQUAL => ("hl-eq", HopComparison::Equal),
            LESS => ("hl-lt", HopComparison::Less),
            _ => ("hl-gt", HopComparison::Greater),
        };
        self.value = ranged("hl", option, arg, 0, u8::MAX)?;
        self.comparison = comparison;
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen == 0 {
            return Err(ParseError::parameter("HL match: You must specify one of `--hl-eq', `--hl-lt', `--hl-gt'"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Hl(self.clone()))
    }
}
