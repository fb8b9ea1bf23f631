//! `-j TEE`.

use super::{Cx, Extension, Opt, Spec, cut};
use crate::error::ParseError;
use crate::value;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Tee;
use std::net::{IpAddr, Ipv4Addr};

const GATEWAY: u8 = 0;

static SPEC: Spec = Spec {
    name: "TEE",
    options: &[Opt::value("gateway", GATEWAY).mandatory(), Opt::value("oif", 1)],
    checked: true,
    help: "\
TEE target options:
  --gateway IPADDR    the host that gets the copy
  --oif NAME          by this device only

",
};

/// Reads `-j TEE`.
#[derive(Debug, Default)]
pub(crate) struct TeeBuilder {
    gateway: Option<IpAddr>,
    oif: Box<str>,
}

impl Extension for TeeBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        match id {
            GATEWAY => self.gateway = Some(value::host(arg, cx.family, cx.names)?),
            _ => self.oif = cut(arg, 15),
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        let gateway = self.gateway.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Ok(Target::Tee(Tee { gateway, oif: self.oif.clone() }))
    }
}
