//! `-j TPROXY`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value;
use bpftables_ruleset::Family;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Tproxy;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const PORT: u8 = 0;
const ADDR: u8 = 1;

static SPEC: Spec = Spec {
    name: "TPROXY",
    options: &[Opt::value("on-port", PORT).mandatory(), Opt::value("on-ip", ADDR), Opt::value("tproxy-mark", 2)],
    checked: true,
    help: "\
TPROXY target options:
  --on-port port\t\t    the local port; 0 is the packet's own
  --on-ip ip\t\t\t    the local address, if it is to be another
  --tproxy-mark value[/mask]\t    the mark that the packet gets

",
};

/// Reads `-j TPROXY`.
#[derive(Debug)]
pub(crate) struct TproxyBuilder {
    tproxy: Tproxy,
}

impl TproxyBuilder {
    pub(crate) const fn new(family: Family) -> Self {
        let addr = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self { tproxy: Tproxy { port: 0, addr, mark: 0, mask: 0 } }
    }
}

impl Extension for TproxyBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        match id {
            PORT => self.tproxy.port = value::port_by_resolver(arg, cx.names)?,
            ADDR => self.tproxy.addr = value::host(arg, cx.family, cx.names)?,
            _ => (self.tproxy.mark, self.tproxy.mask) = value::mark_mask(arg, "TPROXY", "tproxy-mark")?,
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Tproxy(self.tproxy.clone()))
    }
}
