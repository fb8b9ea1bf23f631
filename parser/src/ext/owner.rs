//! `-m owner`.

use super::{Cx, Extension, Opt, Spec, bad_value};
use crate::error::ParseError;
use crate::value::{Read, complete, must, narrow};
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Owner;
use nom::Parser;
use nom::character::complete::one_of;
use nom::combinator::{opt, verify};
use nom::sequence::{pair, preceded};

const USER: u8 = 0;
const GROUP: u8 = 1;
const SOCKET: u8 = 2;
const SUPPLEMENTARY: u8 = 6;

static SPEC: Spec = Spec {
    name: "owner",
    options: &[
        Opt::value("uid-owner", USER).invertible(),
        Opt::value("gid-owner", GROUP).invertible(),
        Opt::flag("socket-exists", SOCKET).invertible(),
        Opt::flag("suppl-groups", SUPPLEMENTARY),
    ],
    checked: true,
    help: "\
owner match options:
[!] --uid-owner userid[-userid]      the local user, by name or number
[!] --gid-owner groupid[-groupid]    the local group, by name or number
[!] --socket-exists                  there is a socket at all
    --suppl-groups                   the user's other groups count for --gid-owner
",
};

/// The largest id: the one above means none.
fn id(text: &str) -> Read<&str, u32> {
    verify(narrow::<u32>, |id| *id != u32::MAX).parse(text)
}

/// `ID[-ID]`, also with a colon.
fn ids(text: &str, option: &str) -> Result<(u32, u32), ParseError> {
    let bad = |rest: &str| bad_value("owner", option, rest);
    let last = preceded(one_of("-:"), must(id, |_| bad(text)));
    let (lo, hi) = complete(pair(id, opt(last)), text, || bad(text))?;
    Ok((lo, hi.unwrap_or(lo)))
}

impl Extension for Owner {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let range = |known: Option<u32>, option| known.map_or_else(|| ids(arg, option), |id| Ok((id, id)));
        match id {
            USER => {
                let (lo, hi) = range(cx.names.user_id(arg), "uid-owner")?;
                self.uid = Some((lo, hi, invert));
            }
            GROUP => {
                let (lo, hi) = range(cx.names.group_id(arg), "gid-owner")?;
                self.gid = Some((lo, hi, invert));
            }
            SOCKET => self.socket = Some(invert),
            _ if self.gid.is_none() => {
                return Err(bad_value("owner", "suppl-groups", "you need to use --gid-owner first"));
            }
            _ => self.supplementary = true,
        }
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen == 0 {
            return Err(ParseError::parameter(
                "owner: At least one of --uid-owner, --gid-owner or --socket-exists is required",
            ));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Owner(self.clone()))
    }
}
