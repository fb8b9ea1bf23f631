//! `-m frag`.

use super::esp::identifiers;
use super::{Cx, Extension, Opt, Spec, ranged_u32};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Frag;

const ID: u8 = 0;
const LENGTH: u8 = 1;
const RESERVED: u8 = 2;
const FIRST: u8 = 3;
const MORE: u8 = 4;
const LAST: u8 = 5;

static SPEC: Spec = Spec {
    name: "frag",
    options: &[
        Opt::value("fragid", ID).invertible(),
        Opt::value("fraglen", LENGTH).invertible(),
        Opt::flag("fragres", RESERVED),
        Opt::flag("fragfirst", FIRST),
        Opt::flag("fragmore", MORE).excludes(1 << LAST),
        Opt::flag("fraglast", LAST).excludes(1 << MORE),
    ],
    checked: true,
    help: "\
frag match options:
[!] --fragid id[:id]           the id, one or a range
[!] --fraglen length           the header's length
 --fragres                     the reserved field is zero
 --fragfirst                   it is the first fragment
 [--fragmore|--fraglast]       more fragments follow, or
                               none
",
};

impl Extension for Frag {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        match id {
            ID => self.id = identifiers(arg, "frag", "fragid", invert)?,
            LENGTH => self.length = Some((ranged_u32("frag", "fraglen", arg, 0, u32::MAX)?, invert)),
            RESERVED => self.reserved = true,
            FIRST => self.first = true,
            MORE => self.more = true,
            _ => self.last = true,
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Frag(self.clone()))
    }
}
