//! `-m connlimit`.

use super::{Cx, Extension, Opt, Spec, ranged_u32};
use crate::error::ParseError;
use crate::value::prefix_mask;
use bpftables_ruleset::matches::Connlimit;
use bpftables_ruleset::{Family, Match};

const UPTO: u8 = 0;
const ABOVE: u8 = 1;
const MASK: u8 = 2;
const SOURCE: u8 = 3;
const DESTINATION: u8 = 4;

static SPEC: Spec = Spec {
    name: "connlimit",
    options: &[
        Opt::value("connlimit-upto", UPTO).excludes(1 << ABOVE).invertible(),
        Opt::value("connlimit-above", ABOVE).excludes(1 << UPTO).invertible(),
        Opt::value("connlimit-mask", MASK),
        Opt::flag("connlimit-saddr", SOURCE).excludes(1 << DESTINATION),
        Opt::flag("connlimit-daddr", DESTINATION).excludes(1 << SOURCE),
    ],
    checked: true,
    help: "\
connlimit match options:
  --connlimit-upto n     there are no more than n connections
  --connlimit-above n    there are more than n connections
  --connlimit-mask n     prefix length of a group of hosts (one host if not given)
  --connlimit-saddr      groups of source addresses
  --connlimit-daddr      groups of destination addresses
",
};

/// Reads `-m connlimit`.
#[derive(Debug)]
pub(crate) struct ConnlimitBuilder {
    info: Connlimit,
}

impl ConnlimitBuilder {
    pub(crate) fn new(family: Family) -> Self {
        let mask = family.mask(family.width());
        Self { info: Connlimit { limit: 0, upto: false, mask, destination: false } }
    }
}

impl Extension for ConnlimitBuilder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let limit = |option| ranged_u32("connlimit", option, arg, 0, u32::MAX);
        match id {
            UPTO => {
                self.info.limit = limit("connlimit-upto")?;
                self.info.upto |= !invert;
            }
            ABOVE => {
                self.info.limit = limit("connlimit-above")?;
                self.info.upto |= invert;
            }
            MASK => self.info.mask = prefix_mask(arg, "connlimit", "connlimit-mask", cx.family)?,
            _ => self.info.destination = id == DESTINATION,
        }
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen & (1 << UPTO | 1 << ABOVE) == 0 {
            return Err(ParseError::parameter("You must specify \"--connlimit-above\" or \"--connlimit-upto\"."));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Connlimit(self.info.clone()))
    }
}
