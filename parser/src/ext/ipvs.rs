//! `-m ipvs`.

use super::{Cx, Extension, Opt, Spec, bad_value};
use crate::error::ParseError;
use crate::value::{host_mask, port_by_resolver, protocol};
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Ipvs;
use bpftables_ruleset::matches::ipvs::METHODS;

const IPVS: u8 = 0;
const PROTOCOL: u8 = 1;
const ADDRESS: u8 = 2;
const PORT: u8 = 3;
const DIRECTION: u8 = 4;
const METHOD: u8 = 5;

static SPEC: Spec = Spec {
    name: "ipvs",
    options: &[
        Opt::flag("ipvs", IPVS).invertible(),
        Opt::value("vproto", PROTOCOL).invertible(),
        Opt::value("vaddr", ADDRESS).invertible(),
        Opt::value("vport", PORT).invertible(),
        Opt::value("vdir", DIRECTION),
        Opt::value("vmethod", METHOD).invertible(),
        Opt::value("vportctl", 6).invertible(),
    ],
    checked: true,
    help: "\
IPVS match options:
[!] --ipvs                      the packet is of an IPVS connection

All others ask for --ipvs too, also after `!':
[!] --vproto protocol           the service's protocol, by number or name,
                                such as \"tcp\"
[!] --vaddr address[/mask]      the service's address
[!] --vport port                the service's port, by number or name,
                                such as \"http\"
    --vdir {ORIGINAL|REPLY}     the packet's direction
[!] --vmethod {GATE|IPIP|MASQ}  how packets reach the server
[!] --vportctl port             the port of the connection that this one
                                belongs to, such as 21 for FTP
",
};

impl Extension for Ipvs {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        match id {
            IPVS => self.none = invert,
            PROTOCOL => self.protocol = Some((protocol(arg, cx.names)?, invert)),
            ADDRESS => {
                let (addr, mask) = host_mask(arg, "ipvs", "vaddr", cx.family, cx.names)?;
                self.address = Some((addr, mask, invert));
            }
            PORT => self.port = Some((port_by_resolver(arg, cx.names)?, invert)),
            DIRECTION if arg.eq_ignore_ascii_case("ORIGINAL") => self.reply = Some(false),
            DIRECTION if arg.eq_ignore_ascii_case("REPLY") => self.reply = Some(true),
            DIRECTION => return Err(bad_value("ipvs", "vdir", arg)),
            METHOD => {
                let method = METHODS.iter().find(|(name, _)| name.eq_ignore_ascii_case(arg));
                self.method = Some((method.ok_or_else(|| bad_value("ipvs", "vmethod", arg))?.1, invert));
            }
            _ => self.control_port = Some((port_by_resolver(arg, cx.names)?, invert)),
        }
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen == 0 {
            return Err(ParseError::parameter("IPVS: At least one option is required"));
        }
        if self.none && !self.is_plain() {
            return Err(ParseError::parameter("! --ipvs cannot be together with other options"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Ipvs(Box::new(self.clone())))
    }
}
