//! `-m recent`.

use super::{Cx, Extension, Opt, Spec, ranged_u32};
use crate::error::ParseError;
use crate::value;
use bpftables_ruleset::matches::{Recent, RecentOp};
use bpftables_ruleset::{Family, Match};

const SET: u8 = 0;
const RCHECK: u8 = 1;
const UPDATE: u8 = 2;
const REMOVE: u8 = 3;
const SECONDS: u8 = 4;
const REAP: u8 = 5;
const HITCOUNT: u8 = 6;
const RTTL: u8 = 7;
const NAME: u8 = 8;
const RSOURCE: u8 = 9;
const RDEST: u8 = 10;
const MASK: u8 = 11;
const OPS: u32 = 1 << SET | 1 << RCHECK | 1 << UPDATE | 1 << REMOVE;

/// The longest name of a list, in bytes.
const MAX_NAME: usize = 199;

static SPEC: Spec = Spec {
    name: "recent",
    options: &[
        Opt::flag("set", SET).excludes(OPS).invertible(),
        Opt::flag("rcheck", RCHECK).excludes(OPS).invertible(),
        Opt::flag("update", UPDATE).excludes(OPS).invertible(),
        Opt::flag("remove", REMOVE).excludes(OPS).invertible(),
        Opt::value("seconds", SECONDS),
        Opt::flag("reap", REAP).requires(1 << SECONDS),
        Opt::value("hitcount", HITCOUNT),
        Opt::flag("rttl", RTTL).excludes(1 << SET | 1 << REMOVE),
        Opt::value("name", NAME),
        Opt::flag("rsource", RSOURCE),
        Opt::flag("rdest", RDEST),
        Opt::value("mask", MASK),
    ],
    checked: true,
    help: crate::help::RECENT,
};

/// Reads `-m recent`.
#[derive(Debug)]
pub(crate) struct RecentBuilder {
    info: Recent,
}

impl RecentBuilder {
    pub(crate) fn new(family: Family) -> Self {
        Self {
            info: Recent {
                op: RecentOp::Set,
                invert: false,
                name: "DEFAULT".into(),
                dest: false,
                mask: family.mask(family.width()),
                seconds: 0,
                reap: false,
                hitcount: 0,
                ttl: false,
            },
        }
    }
}

impl Extension for RecentBuilder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let info = &mut self.info;
        match id {
            SET | RCHECK | UPDATE | REMOVE => {
                info.op = match id {
                    SET => RecentOp::Set,
                    RCHECK => RecentOp::Check,
                    UPDATE => RecentOp::Update,
                    _ => RecentOp::Remove,
                };
                info.invert |= invert;
            }
            SECONDS => info.seconds = ranged_u32("recent", "seconds", arg, 1, u32::MAX)?,
            REAP => info.reap = true,
            HITCOUNT => info.hitcount = ranged_u32("recent", "hitcount", arg, 0, u32::MAX)?,
            RTTL => info.ttl = true,
            NAME => info.name = arg[..arg.floor_char_boundary(MAX_NAME)].into(),
            RSOURCE => info.dest = false,
            RDEST => info.dest = true,
            _ => info.mask = value::host(arg, cx.family, cx.names)?,
        }
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen & OPS == 0 {
            return Err(ParseError::parameter(
                "recent: you must specify one of `--set', `--rcheck' `--update' or `--remove'",
            ));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Recent(Box::new(self.info.clone())))
    }
}
