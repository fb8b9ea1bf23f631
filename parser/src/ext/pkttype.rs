//! `-m pkttype`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Pkttype;
use bpftables_ruleset::matches::pkttype::NAMES;

static SPEC: Spec = Spec {
    name: "pkttype",
    options: &[Opt::value("pkt-type", 0).mandatory().invertible()],
    checked: true,
    help: "\
pkttype match options:
[!] --pkt-type packettype    to whom the packet was sent
Valid packet types:
\tunicast       \t\tthis host
\tbroadcast     \t\teverybody
\tmulticast     \t\ta group
\totherhost     \t\tanother host

",
};

impl Extension for Pkttype {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let named = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(arg));
        self.kind = named.ok_or_else(|| ParseError::Parameter(format!("Bad packet type '{arg}'")))?.1;
        self.invert = invert;
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Pkttype(self.clone()))
    }
}
