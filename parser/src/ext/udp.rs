//! `-m udp`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::resolver_port_range;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Udp;

const SPORT: u8 = 0;
const DPORT: u8 = 1;

static SPEC: Spec = Spec {
    name: "udp",
    options: &[
        Opt::value("source-port", SPORT).invertible(),
        Opt::value("sport", SPORT).invertible(),
        Opt::value("destination-port", DPORT).invertible(),
        Opt::value("dport", DPORT).invertible(),
    ],
    checked: true,
    help: crate::help::UDP,
};

/// Reads `-m udp`.
#[derive(Debug, Default)]
pub(crate) struct UdpBuilder {
    info: Udp,
}

impl Extension for UdpBuilder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let info = &mut self.info;
        if id == SPORT {
            info.sport = resolver_port_range(arg, "udp", "source-port", cx.names)?;
            info.invert_sport = invert;
        } else {
            info.dport = resolver_port_range(arg, "udp", "destination-port", cx.names)?;
            info.invert_dport = invert;
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Udp(self.info.clone()))
    }
}
