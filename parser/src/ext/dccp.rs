//! `-m dccp`.

use super::{Cx, Extension, Opt, Spec, ranged};
use crate::error::ParseError;
use crate::value::resolver_port_range;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Dccp;
use bpftables_ruleset::matches::dccp::TYPE_NAMES;

const SPORT: u8 = 0;
const DPORT: u8 = 1;
const TYPES: u8 = 2;

static SPEC: Spec = Spec {
    name: "dccp",
    options: &[
        Opt::value("source-port", SPORT).invertible(),
        Opt::value("sport", SPORT).invertible(),
        Opt::value("destination-port", DPORT).invertible(),
        Opt::value("dport", DPORT).invertible(),
        Opt::value("dccp-types", TYPES).invertible(),
        Opt::value("dccp-option", 3).invertible(),
    ],
    checked: true,
    help: "\
dccp match options
[!] --source-port port[:port]                          source ports
 --sport ...
[!] --destination-port port[:port]                     destination ports
 --dport ...
[!] --dccp-types type[,...]                            the packet is of one of these types
[!] --dccp-option option                               the packet has this option (a number)
",
};

fn types(text: &str) -> Result<u16, ParseError> {
    let mut bits = 0;
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let kind = TYPE_NAMES.iter().position(|name| name.eq_ignore_ascii_case(word));
        bits |= 1 << kind.ok_or_else(|| ParseError::Parameter(format!("Unknown DCCP type `{word}'")))?;
    }
    // The last stands for all above, too.
    Ok(if bits & (1 << (TYPE_NAMES.len() - 1)) != 0 { bits | 0xf800 } else { bits })
}

impl Extension for Dccp {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let ports = |option| resolver_port_range(arg, "dccp", option, cx.names);
        match id {
            SPORT => self.sport = Some((ports("source-port")?, invert)),
            DPORT => self.dport = Some((ports("destination-port")?, invert)),
            TYPES => self.types = Some((types(arg)?, invert)),
            _ => self.option = Some((ranged("dccp", "dccp-option", arg, 1, u8::MAX)?, invert)),
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Dccp(self.clone()))
    }
}
