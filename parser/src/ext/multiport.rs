//! `-m multiport`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::{Multiport, MultiportSide};

const SOURCE: u8 = 0;
const DESTINATION: u8 = 1;
const EITHER: u8 = 2;
const ANY: u32 = 1 << SOURCE | 1 << DESTINATION | 1 << EITHER;

static SPEC: Spec = Spec {
    name: "multiport",
    options: &[
        Opt::value("source-ports", SOURCE).excludes(ANY).invertible(),
        Opt::value("sports", SOURCE).excludes(ANY).invertible(),
        Opt::value("destination-ports", DESTINATION).excludes(ANY).invertible(),
        Opt::value("dports", DESTINATION).excludes(ANY).invertible(),
        Opt::value("ports", EITHER).excludes(ANY).invertible(),
    ],
    checked: true,
    help: crate::help::MULTIPORT,
};

/// Reads `-m multiport`.
#[derive(Debug)]
pub(crate) struct MultiportBuilder {
    info: Multiport,
}

impl Default for MultiportBuilder {
    fn default() -> Self {
        Self { info: Multiport { side: MultiportSide::Source, ports: Vec::new(), invert: false } }
    }
}

/// The protocols with ports.
fn protocol_name(protocol: (u8, bool)) -> Result<&'static str, ParseError> {
    const ONLY: &str = "multiport only works with TCP, UDP, UDPLITE, SCTP and DCCP";
    match protocol {
        (_, true) => Err(ParseError::parameter(ONLY)),
        (6, _) => Ok("tcp"),
        (17, _) => Ok("udp"),
        (136, _) => Ok("udplite"),
        (132, _) => Ok("sctp"),
        (33, _) => Ok("dccp"),
        (0, _) => {
            Err(ParseError::parameter("multiport needs `-p tcp', `-p udp', `-p udplite', `-p sctp' or `-p dccp'"))
        }
        _ => Err(ParseError::parameter(ONLY)),
    }
}

impl Extension for MultiportBuilder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let protocol = protocol_name(cx.protocol)?;
        let side = match id {
            SOURCE => MultiportSide::Source,
            DESTINATION => MultiportSide::Destination,
            _ => MultiportSide::Either,
        };
        // Of two options (refused in the end) a `!` stays.
        let invert = invert || self.info.invert;
        self.info = Multiport { side, ports: value::port_list(arg, protocol, cx.names)?, invert };
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen == 0 {
            return Err(ParseError::parameter("no ports specified"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Multiport(self.info.clone()))
    }
}
