//! `-m rt`.

use super::esp::identifiers;
use super::{Cx, Extension, Opt, Spec, ranged_u32};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Rt;
use std::net::Ipv6Addr;

const TYPE: u8 = 0;
const SEGMENTS_LEFT: u8 = 1;
const LENGTH: u8 = 2;
const RESERVED: u8 = 3;
const ADDRESSES: u8 = 4;

/// The most addresses.
const MAX_ADDRESSES: usize = 16;

static SPEC: Spec = Spec {
    name: "rt",
    options: &[
        Opt::value("rt-type", TYPE).invertible(),
        Opt::value("rt-segsleft", SEGMENTS_LEFT).invertible(),
        Opt::value("rt-len", LENGTH).invertible(),
        Opt::flag("rt-0-res", RESERVED),
        Opt::value("rt-0-addrs", ADDRESSES),
        Opt::flag("rt-0-not-strict", 5),
    ],
    checked: true,
    help: "\
rt match options:
[!] --rt-type type             the header's type
[!] --rt-segsleft num[:num]    segments left, one number or a range
[!] --rt-len length            the header's length
 --rt-0-res                    the reserved field is zero (type 0)
 --rt-0-addrs ADDR[,ADDR...]   the addresses (type 0; 16 at most)
 --rt-0-not-strict             there may be others between them
",
};

fn addresses(text: &str) -> Result<Vec<Ipv6Addr>, ParseError> {
    let mut addresses = Vec::new();
    for item in text.split(',') {
        if addresses.len() == MAX_ADDRESSES {
            return Err(ParseError::parameter("too many addresses specified"));
        }
        addresses.push(item.parse().map_err(|_| ParseError::Parameter(format!("bad address: {item}")))?);
    }
    Ok(addresses)
}

impl Extension for Rt {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let type_0 = |option: &str| {
            if self.kind == Some((0, false)) {
                return Ok(());
            }
            Err(ParseError::Parameter(format!("`--rt-type 0' required before `--{option}'")))
        };
        match id {
            TYPE => self.kind = Some((ranged_u32("rt", "rt-type", arg, 0, u32::MAX)?, invert)),
            SEGMENTS_LEFT => self.segments_left = identifiers(arg, "rt", "rt-segsleft", invert)?,
            LENGTH => self.length = Some((ranged_u32("rt", "rt-len", arg, 0, u32::MAX)?, invert)),
            RESERVED => {
                type_0("rt-0-res")?;
                self.reserved = true;
            }
            ADDRESSES => {
                type_0("rt-0-addrs")?;
                self.addresses = Some(addresses(arg)?);
            }
            _ if self.addresses.is_none() => {
                return Err(ParseError::parameter("`--rt-0-addr ...' required before `--rt-0-not-strict'"));
            }
            _ => self.not_strict = true,
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Rt(Box::new(self.clone())))
    }
}
