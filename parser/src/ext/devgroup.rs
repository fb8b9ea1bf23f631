//! `-m devgroup`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::named_value;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Devgroup;
use bpftables_ruleset::names::NumberNames;

const SOURCE: u8 = 0;

static SPEC: Spec = Spec {
    name: "devgroup",
    options: &[Opt::value("src-group", SOURCE).invertible(), Opt::value("dst-group", 1).invertible()],
    checked: true,
    help: "\
devgroup match options:
[!] --src-group value[/mask]\tthe group of the device of arrival
[!] --dst-group value[/mask]\tthe group of the device of departure
",
};

impl Extension for Devgroup {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let read = |option| named_value(arg, "devgroup", option, invert, NumberNames::DeviceGroups, cx.names);
        if id == SOURCE {
            self.source = Some(read("src-group")?);
        } else {
            self.destination = Some(read("dst-group")?);
        }
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen == 0 {
            return Err(ParseError::parameter(
                "devgroup match: You must specify either '--src-group' or '--dst-group'",
            ));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Devgroup(Box::new(self.clone())))
    }
}
