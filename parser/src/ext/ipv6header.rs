//! `-m ipv6header`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Ipv6header;
use bpftables_ruleset::matches::ipv6header::HEADERS;
use bpftables_ruleset::names::Names;

const HEADER: u8 = 0;

static SPEC: Spec = Spec {
    name: "ipv6header",
    options: &[Opt::value("header", HEADER).mandatory().invertible(), Opt::flag("soft", 1)],
    checked: true,
    help: "\
ipv6header match options:
[!] --header headers     the headers that the packet has
                         names: hop,dst,route,frag,auth,esp,none,prot
                    long names: hop-by-hop,ipv6-opts,ipv6-route,
                                ipv6-frag,ah,esp,ipv6-nonxt,protocol
                       numbers: 0,60,43,44,51,50,59
--soft                    it may have others, too
",
};

/// Names beside those of [`HEADERS`] and the numbers.
const OTHER_NAMES: [(&str, u8); 2] = [("hop", 0), ("prot", 255)];

/// The bit of a header by name or number.
fn header(text: &str, names: &dyn Names) -> Result<u8, ParseError> {
    let unknown = |what: &str| ParseError::Parameter(format!("unknown header `{what}' specified"));
    let own = |protocol: u8, name: &str| name == text || protocol.to_string() == text;
    let protocol = names
        .protocol_number(text)
        .or_else(|| HEADERS.iter().find(|(protocol, _, name)| own(*protocol, name)).map(|entry| entry.0))
        .or_else(|| OTHER_NAMES.iter().find(|(name, _)| *name == text).map(|entry| entry.1))
        .ok_or_else(|| unknown(text))?;
    let entry = HEADERS.iter().find(|(number, ..)| *number == protocol);
    entry.map(|entry| entry.1).ok_or_else(|| unknown(&protocol.to_string()))
}

impl Extension for Ipv6header {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        if id != HEADER {
            self.soft = true;
            return Ok(());
        }
        let words = arg.split(',').filter(|word| !word.is_empty());
        self.headers = words.map(|word| header(word, cx.names)).try_fold(0, |all, bit| Ok(all | bit?))?;
        if self.headers == 0 {
            return Err(ParseError::parameter("ip6t_ipv6header: cannot parse header names"));
        }
        let asked = HEADERS.iter().filter(|(_, bit, _)| self.headers & bit != 0);
        let named = asked.map(|(protocol, _, name)| {
            let known = if *protocol == 0 { None } else { cx.names.protocol_name(*protocol) };
            known.unwrap_or_else(|| (*name).to_owned())
        });
        self.names = named.collect::<Vec<_>>().join(",").into();
        self.invert = invert;
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Ipv6header(self.clone()))
    }
}
