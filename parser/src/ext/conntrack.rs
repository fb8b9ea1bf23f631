//! `-m conntrack` and `-m state`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::{self, Read, abbreviates, complete, must, names_of, narrow};
use bpftables_ruleset::matches::{Conntrack, CtStates, CtStatus, State};
use bpftables_ruleset::{AddrMatch, Match, PortRange};
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::character::complete::char;
use nom::combinator::{eof, opt, peek, verify};
use nom::sequence::{preceded, terminated};

const CTSTATE: u8 = 0;
const CTPROTO: u8 = 1;
const ORIGSRC: u8 = 2;
const ORIGDST: u8 = 3;
const REPLSRC: u8 = 4;
const REPLDST: u8 = 5;
const ORIGSRCPORT: u8 = 6;
const ORIGDSTPORT: u8 = 7;
const REPLSRCPORT: u8 = 8;
const REPLDSTPORT: u8 = 9;
const CTSTATUS: u8 = 10;
const CTEXPIRE: u8 = 11;
const CTDIR: u8 = 12;

static SPEC: Spec = Spec {
    name: "conntrack",
    options: &[
        Opt::value("ctstate", CTSTATE).invertible(),
        Opt::value("ctproto", CTPROTO).invertible(),
        Opt::value("ctorigsrc", ORIGSRC).invertible(),
        Opt::value("ctorigdst", ORIGDST).invertible(),
        Opt::value("ctreplsrc", REPLSRC).invertible(),
        Opt::value("ctrepldst", REPLDST).invertible(),
        Opt::value("ctstatus", CTSTATUS).invertible(),
        Opt::value("ctexpire", CTEXPIRE).invertible(),
        Opt::value("ctorigsrcport", ORIGSRCPORT).invertible(),
        Opt::value("ctorigdstport", ORIGDSTPORT).invertible(),
        Opt::value("ctreplsrcport", REPLSRCPORT).invertible(),
        Opt::value("ctrepldstport", REPLDSTPORT).invertible(),
        Opt::value("ctdir", CTDIR),
    ],
    checked: true,
    help: crate::help::CONNTRACK,
};

const STATES: &[(&str, u16)] = &[
    ("INVALID", CtStates::INVALID),
    ("NEW", CtStates::NEW),
    ("ESTABLISHED", CtStates::ESTABLISHED),
    ("RELATED", CtStates::RELATED),
    ("UNTRACKED", CtStates::UNTRACKED),
    ("SNAT", CtStates::SNAT),
    ("DNAT", CtStates::DNAT),
];

const STATUSES: &[(&str, u16)] = &[
    ("NONE", 0),
    ("EXPECTED", CtStatus::EXPECTED as u16),
    ("SEEN_REPLY", CtStatus::SEEN_REPLY as u16),
    ("ASSURED", CtStatus::ASSURED as u16),
    ("CONFIRMED", CtStatus::CONFIRMED as u16),
];

/// A list of words, each abbreviated at will. `bad` is said of the rest of the list from the word that is wrong.
fn words(text: &str, table: &[(&str, u16)], bad: impl Fn(&str) -> ParseError) -> Result<u16, ParseError> {
    names_of(text, |item| table.iter().find(|(word, _)| abbreviates(item, word)).map(|(_, bits)| *bits), bad)
}

/// Reads `-m conntrack`.
#[derive(Debug, Default)]
pub(crate) struct ConntrackBuilder {
    info: Conntrack,
}

fn option_name(id: u8) -> &'static str {
    SPEC.options.iter().find(|opt| opt.id == id).map_or("", |opt| opt.name)
}

fn address(id: u8, arg: &str, invert: bool, cx: &Cx<'_, '_>) -> Result<Option<AddrMatch>, ParseError> {
    let (addr, mask) = value::host_mask(arg, "conntrack", option_name(id), cx.family, cx.names)?;
    Ok(Some(AddrMatch { addr, mask, invert }))
}

fn ports(id: u8, arg: &str, invert: bool, cx: &Cx<'_, '_>) -> Result<Option<(PortRange, bool)>, ParseError> {
    let range = value::resolver_port_range(arg, "conntrack", option_name(id), cx.names)?;
    Ok(Some((range, invert)))
}

/// A part of a range ends where the text does or at a colon.
fn part_end(text: &str) -> Read<&str, &str> {
    alt((eof, tag(":"))).parse(text)
}

/// `LO[:HI]`, where a part left out is the lowest or highest value.
fn expires(text: &str) -> Result<(u32, u32), ParseError> {
    let bound = |default: u32, min: u32| {
        let number = terminated(
            must(verify(narrow::<u32>, move |number| *number >= min), move |rest| {
                ParseError::Parameter(format!(
                    "conntrack: bad value for option \"--ctexpire\" near \"{rest}\", or out of range ({min}-{}).\n",
                    u32::MAX
                ))
            }),
            must(peek(part_end), |rest| {
                ParseError::Parameter(format!(
                    "conntrack: Argument to \"--ctexpire\" has unexpected characters near \"{rest}\".\n"
                ))
            }),
        );
        alt((peek(part_end).map(move |_| default), number))
    };
    let range = |text| {
        let (text, lo) = bound(0, 0).parse(text)?;
        let (text, hi) = opt(preceded(char(':'), bound(u32::MAX, lo))).parse(text)?;
        Ok((text, (lo, hi.unwrap_or(lo))))
    };
    complete(range, text, || {
        ParseError::parameter("conntrack: Too many components for option \"--ctexpire\" (max: 2)\n")
    })
}

impl Extension for ConntrackBuilder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let info = &mut self.info;
        match id {
            CTSTATE => {
                let bits = words(arg, STATES, |rest| ParseError::Parameter(format!("Bad ctstate \"{rest}\"")))?;
                info.state = Some((CtStates(bits), invert));
            }
            CTPROTO => {
                let proto = value::protocol(arg, cx.names)?;
                if proto == 0 {
                    return Err(ParseError::parameter(if invert {
                        "conntrack: condition would always match protocol"
                    } else {
                        "conntrack: rule would never match protocol"
                    }));
                }
                info.proto = Some((proto, invert));
            }
            ORIGSRC => info.orig_src = address(id, arg, invert, cx)?,
            ORIGDST => info.orig_dst = address(id, arg, invert, cx)?,
            REPLSRC => info.repl_src = address(id, arg, invert, cx)?,
            REPLDST => info.repl_dst = address(id, arg, invert, cx)?,
            ORIGSRCPORT => info.orig_src_port = ports(id, arg, invert, cx)?,
            ORIGDSTPORT => info.orig_dst_port = ports(id, arg, invert, cx)?,
            REPLSRCPORT => info.repl_src_port = ports(id, arg, invert, cx)?,
            REPLDSTPORT => info.repl_dst_port = ports(id, arg, invert, cx)?,
            CTSTATUS => {
                let bits = words(arg, STATUSES, |rest| ParseError::Parameter(format!("Bad ctstatus \"{rest}\"")))?;
                info.status = Some((CtStatus(u8::try_from(bits).unwrap_or(0)), invert));
            }
            CTEXPIRE => {
                let (lo, hi) = expires(arg)?;
                info.expires = Some((lo, hi, invert));
            }
            _ => {
                info.direction_original = Some(match arg.to_ascii_uppercase().as_str() {
                    "ORIGINAL" => true,
                    "REPLY" => false,
                    _ => {
                        return Err(ParseError::Parameter(format!(
                            "conntrack: Bad value for \"--ctdir\" option: \"{arg}\""
                        )));
                    }
                });
            }
        }
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen == 0 {
            return Err(ParseError::parameter("conntrack: At least one option is required"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Conntrack(Box::new(self.info.clone())))
    }
}

static STATE_SPEC: Spec = Spec {
    name: "state",
    options: &[Opt::value("state", 0).mandatory().invertible()],
    checked: true,
    help: crate::help::STATE,
};

/// Reads `-m state`.
#[derive(Debug, Default)]
pub(crate) struct StateBuilder {
    states: u16,
    invert: bool,
}

impl Extension for StateBuilder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &STATE_SPEC
    }

    fn option(&mut self, _: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        self.states = words(arg, &STATES[..5], |rest| {
            if rest.is_empty() {
                ParseError::parameter("\"--state\" requires a list of states with no spaces, e.g. ESTABLISHED,RELATED")
            } else {
                ParseError::Parameter(format!("Bad state \"{rest}\""))
            }
        })?;
        self.invert = invert;
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::State(State { states: CtStates(self.states), invert: self.invert }))
    }
}
