//! `-m sctp`. Legacy checks its options by itself, in its own words.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::plain_ports;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Sctp;
use bpftables_ruleset::matches::sctp::{CHUNK_NAMES, SctpChunks, SctpFlags, SctpQuantity};

const SPORT: u8 = 0;
const DPORT: u8 = 1;
const CHUNKS: u8 = 2;

/// Of so many types the flags can be asked.
const MAX_FLAGS: usize = 4;

static SPEC: Spec = Spec {
    name: "sctp",
    options: &[
        Opt::value("source-port", SPORT).invertible(),
        Opt::value("sport", SPORT).invertible(),
        Opt::value("destination-port", DPORT).invertible(),
        Opt::value("dport", DPORT).invertible(),
        Opt::value("chunk-types", CHUNKS).invertible(),
    ],
    checked: false,
    help: "\
sctp match options
[!] --source-port port[:port]                          source ports
 --sport ...
[!] --destination-port port[:port]                     destination ports
 --dport ...
[!] --chunk-types (all|any|only) (chunktype[:flags])+\tthe packet has all of these chunks, one of
\t\t\t\t\t\t        them, or exactly these
chunktypes - DATA INIT INIT_ACK SACK HEARTBEAT HEARTBEAT_ACK ABORT SHUTDOWN SHUTDOWN_ACK ERROR COOKIE_ECHO COOKIE_ACK ECN_ECNE ECN_CWR SHUTDOWN_COMPLETE I_DATA RE_CONFIG PAD ASCONF ASCONF_ACK FORWARD_TSN I_FORWARD_TSN ALL NONE
",
};

fn add_flags(all: &mut Vec<SctpFlags>, index: u8, letters: &str, flags: &str) -> Result<(), ParseError> {
    for letter in flags.chars() {
        let place = letters.find(letter.to_ascii_uppercase());
        let bit = 7 - place.ok_or_else(|| ParseError::Parameter(format!("Invalid flags for chunk type {index}")))?;
        let at = match all.iter().position(|known| known.index == index) {
            Some(at) => at,
            None if all.len() == MAX_FLAGS => {
                return Err(ParseError::parameter(
                    "Number of chunk types with flags exceeds currently allowed limit. Increasing this limit involves \
                     changing IPT_NUM_SCTP_FLAGS and recompiling both the kernel space and user space modules",
                ));
            }
            None => {
                all.push(SctpFlags { index, mask: 0, set: 0 });
                all.len() - 1
            }
        };
        all[at].mask |= 1 << bit;
        if letter.is_ascii_uppercase() {
            all[at].set |= 1 << bit;
        }
    }
    Ok(())
}

/// The words after `--chunk-types`.
fn chunks(quantity: &str, list: &str) -> Result<SctpChunks, ParseError> {
    let quantities = [("ANY", SctpQuantity::Any), ("ALL", SctpQuantity::All), ("ONLY", SctpQuantity::Only)];
    let (_, quantity) = quantities
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(quantity))
        .ok_or_else(|| ParseError::parameter("Match type has to be one of \"ALL\", \"ANY\" or \"ONLY\""))?;
    let mut found = SctpChunks { quantity, types: [0; 4], flags: Vec::new() };
    if list.eq_ignore_ascii_case("ALL") {
        found.types = [u64::MAX; 4];
        return Ok(found);
    }
    if list.eq_ignore_ascii_case("NONE") {
        return Ok(found);
    }
    for item in list.split(',').filter(|item| !item.is_empty()) {
        let (name, flags) = item.split_once(':').unwrap_or((item, ""));
        let known = CHUNK_NAMES.iter().zip(0u8..).find(|((known, ..), _)| known.eq_ignore_ascii_case(name));
        let ((_, kind, letters), index) =
            known.ok_or_else(|| ParseError::Parameter(format!("Unknown sctp chunk `{name}'")))?;
        found.types[usize::from(kind / 64)] |= 1 << (kind % 64);
        add_flags(&mut found.flags, index, letters, flags)?;
    }
    Ok(found)
}

impl Extension for Sctp {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, seen: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let once = |option: &str| match seen & (1 << id) {
            0 => Ok(()),
            _ => Err(ParseError::Parameter(format!("Only one `--{option}' allowed"))),
        };
        match id {
            SPORT => {
                once("source-port")?;
                self.sport = Some((plain_ports(arg, "sctp", cx.names)?, invert));
            }
            DPORT => {
                once("destination-port")?;
                self.dport = Some((plain_ports(arg, "sctp", cx.names)?, invert));
            }
            _ => {
                once("chunk-types")?;
                let list = cx.getopt.take_plain();
                let list = list.ok_or_else(|| ParseError::parameter("--chunk-types requires two args"))?;
                self.chunks = Some((chunks(arg, list)?, invert));
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Sctp(Box::new(self.clone())))
    }
}
