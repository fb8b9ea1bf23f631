//! `-m addrtype`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::{abbreviates, names_of};
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Addrtype;
use bpftables_ruleset::matches::addrtype::TYPE_NAMES;

const SRC_TYPE: u8 = 0;
const DST_TYPE: u8 = 1;
const LIMIT_IN: u8 = 2;
const LIMIT_OUT: u8 = 3;

static SPEC: Spec = Spec {
    name: "addrtype",
    options: &[
        Opt::value("src-type", SRC_TYPE).invertible(),
        Opt::value("dst-type", DST_TYPE).invertible(),
        Opt::flag("limit-iface-in", LIMIT_IN).excludes(1 << LIMIT_OUT),
        Opt::flag("limit-iface-out", LIMIT_OUT).excludes(1 << LIMIT_IN),
    ],
    checked: true,
    help: crate::help::ADDRTYPE,
};

/// Reads `-m addrtype`.
#[derive(Debug, Default)]
pub(crate) struct AddrtypeBuilder {
    src: u16,
    invert_src: bool,
    dst: u16,
    invert_dst: bool,
    limit_in: bool,
    limit_out: bool,
}

fn types(text: &str) -> Result<u16, ParseError> {
    let bit_of = |item: &str| TYPE_NAMES.iter().position(|name| abbreviates(item, name)).map(|bit| 1 << bit);
    names_of(text, bit_of, |rest| {
        ParseError::Parameter(if rest.contains(',') {
            format!("addrtype: bad type `{rest}'")
        } else {
            format!("addrtype: bad type \"{rest}\"")
        })
    })
}

impl Extension for AddrtypeBuilder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        match id {
            SRC_TYPE => (self.src, self.invert_src) = (types(arg)?, invert),
            DST_TYPE => (self.dst, self.invert_dst) = (types(arg)?, invert),
            LIMIT_IN => self.limit_in = true,
            _ => self.limit_out = true,
        }
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen & (1 << SRC_TYPE | 1 << DST_TYPE) == 0 {
            return Err(ParseError::parameter("addrtype: you must specify --src-type or --dst-type"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Addrtype(Addrtype {
            src: self.src,
            invert_src: self.invert_src,
            dst: self.dst,
            invert_dst: self.invert_dst,
            limit_in: self.limit_in,
            limit_out: self.limit_out,
        }))
    }
}
