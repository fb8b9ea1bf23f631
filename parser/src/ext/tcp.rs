//! `-m tcp`. Legacy checks its options by itself, in its own words.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Tcp;
use bpftables_ruleset::matches::tcp::FLAG_NAMES;

const SPORT: u8 = 0;
const DPORT: u8 = 1;
const SYN: u8 = 2;
const FLAGS: u8 = 3;
const OPTION: u8 = 4;

static SPEC: Spec = Spec {
    name: "tcp",
    options: &[
        Opt::value("source-port", SPORT).invertible(),
        Opt::value("sport", SPORT).invertible(),
        Opt::value("destination-port", DPORT).invertible(),
        Opt::value("dport", DPORT).invertible(),
        Opt::flag("syn", SYN).invertible(),
        Opt::value("tcp-flags", FLAGS).invertible(),
        Opt::value("tcp-option", OPTION).invertible(),
    ],
    checked: false,
    help: crate::help::TCP,
};

/// Reads `-m tcp`.
#[derive(Debug, Default)]
pub(crate) struct TcpBuilder {
    info: Tcp,
}

fn flags(text: &str) -> Result<u8, ParseError> {
    let flag = |word: &str| {
        let named = FLAG_NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, bit)| *bit);
        match named {
            Some(bit) => Ok(bit),
            None if word.eq_ignore_ascii_case("ALL") => Ok(0x3f),
            None if word.is_empty() || word.eq_ignore_ascii_case("NONE") => Ok(0),
            None => Err(ParseError::Parameter(format!("Unknown TCP flag `{word}'"))),
        }
    };
    let bad = || ParseError::Parameter(format!("Unknown TCP flag `{text}'"));
    value::complete(value::bits(value::meaning(value::item, flag)), text, bad)
}

impl Extension for TcpBuilder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, seen: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let given = |id: u8| seen & (1 << id) != 0;
        let info = &mut self.info;
        match id {
            SPORT => {
                if given(SPORT) {
                    return Err(ParseError::parameter("Only one `--source-port' allowed"));
                }
                (info.sport, info.invert_sport) = (value::plain_ports(arg, "tcp", cx.names)?, invert);
            }
            DPORT => {
                if given(DPORT) {
                    return Err(ParseError::parameter("Only one `--destination-port' allowed"));
                }
                (info.dport, info.invert_dport) = (value::plain_ports(arg, "tcp", cx.names)?, invert);
            }
            SYN | FLAGS => {
                if given(SYN) || given(FLAGS) {
                    return Err(ParseError::parameter("Only one of `--syn' or `--tcp-flags'  allowed"));
                }
                let (mask, compare) = if id == SYN {
                    ("SYN,RST,ACK,FIN", "SYN")
                } else {
                    let compare = cx.getopt.take_plain();
                    (arg, compare.ok_or_else(|| ParseError::parameter("--tcp-flags requires two args."))?)
                };
                info.flags_mask = flags(mask)?;
                info.flags_cmp = flags(compare)?;
                info.invert_flags = invert;
            }
            _ => {
                if given(OPTION) {
                    return Err(ParseError::parameter("Only one `--tcp-option' allowed"));
                }
                info.option = value::number_u8(arg)
                    .filter(|option| *option != 0)
                    .ok_or_else(|| ParseError::Parameter(format!("Bad TCP option \"{arg}\"")))?;
                info.invert_option = invert;
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Tcp(self.info.clone()))
    }
}
