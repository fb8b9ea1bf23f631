//! `-j SNAT`, `-j DNAT`, `-j MASQUERADE`, `-j REDIRECT`, `-j NETMAP`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::{Masquerade, NatRange, Netmap, Redirect};
use std::net::{IpAddr, Ipv4Addr};

const TO_DESTINATION: u8 = 0;
const TO_SOURCE: u8 = 1;
const TO_PORTS: u8 = 2;
const RANDOM: u8 = 3;
const RANDOM_FULLY: u8 = 4;
const PERSISTENT: u8 = 5;

static SNAT: Spec = Spec {
    name: "SNAT",
    options: &[
        Opt::value("to-source", TO_SOURCE).mandatory(),
        Opt::flag("random", RANDOM),
        Opt::flag("random-fully", RANDOM_FULLY),
        Opt::flag("persistent", PERSISTENT),
    ],
    checked: true,
    help: crate::help::SNAT,
};

static DNAT: Spec = Spec {
    name: "DNAT",
    options: &[
        Opt::value("to-destination", TO_DESTINATION).mandatory(),
        Opt::flag("random", RANDOM),
        Opt::flag("persistent", PERSISTENT),
    ],
    checked: true,
    help: crate::help::DNAT,
};

static MASQUERADE: Spec = Spec {
    name: "MASQUERADE",
    options: &[Opt::value("to-ports", TO_PORTS), Opt::flag("random", RANDOM), Opt::flag("random-fully", RANDOM_FULLY)],
    checked: true,
    help: crate::help::MASQUERADE,
};

static REDIRECT: Spec = Spec {
    name: "REDIRECT",
    options: &[Opt::value("to-ports", TO_PORTS), Opt::flag("random", RANDOM)],
    checked: true,
    help: crate::help::REDIRECT,
};

/// Reads SNAT, DNAT, MASQUERADE and REDIRECT.
#[derive(Debug)]
pub(crate) struct NatBuilder {
    spec: &'static Spec,
    range: NatRange,
}

impl NatBuilder {
    const fn new(spec: &'static Spec) -> Self {
        let range = NatRange {
            addrs: None,
            ports: None,
            base_port: None,
            random: false,
            random_fully: false,
            persistent: false,
        };
        Self { spec, range }
    }

    pub(crate) const fn snat() -> Self {
        Self::new(&SNAT)
    }

    pub(crate) const fn dnat() -> Self {
        Self::new(&DNAT)
    }

    pub(crate) const fn masquerade() -> Self {
        Self::new(&MASQUERADE)
    }

    pub(crate) const fn redirect() -> Self {
        Self::new(&REDIRECT)
    }

    /// `PORT[-PORT[/PORT]]`.
    fn ports(&mut self, text: &str, cx: &Cx<'_, '_>) -> Result<(), ParseError> {
        if !matches!(cx.protocol.0, 6 | 17 | 132 | 33 | 1) {
            return Err(ParseError::parameter("Need TCP, UDP, SCTP or DCCP with port specification"));
        }
        let (ports, base_port) = value::nat_ports(text, cx.names)?;
        self.range.ports = Some(ports);
        if base_port.is_some() {
            self.range.base_port = base_port;
        }
        Ok(())
    }

    /// `[ADDR[-ADDR]][:PORTS]`.
    fn to(&mut self, text: &str, cx: &Cx<'_, '_>) -> Result<(), ParseError> {
        if text.contains('[') {
            return Err(ParseError::parameter("Invalid address format"));
        }
        let (addrs, ports) = value::addresses_and_ports(text);
        if let Some(ports) = ports {
            self.ports(ports, cx)?;
            // Legacy also takes any two characters before the colon for none.
            if matches!(addrs.len(), 0 | 2) {
                return Ok(());
            }
        }
        self.range.addrs = Some(value::address_range(addrs)?);
        Ok(())
    }
}

impl Extension for NatBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        self.spec
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        match id {
            TO_DESTINATION | TO_SOURCE => self.to(arg, cx)?,
            TO_PORTS => self.ports(arg, cx)?,
            RANDOM => self.range.random = true,
            RANDOM_FULLY => self.range.random_fully = true,
            _ => self.range.persistent = true,
        }
        Ok(())
    }

    fn check(&self, _: u32) -> Result<(), ParseError> {
        if self.range.base_port.is_some() && self.spec.name == "REDIRECT" {
            return Err(ParseError::parameter("Shifted portmap ranges not supported with this kernel"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        if self.range.base_port.is_some() && self.spec.name != "DNAT" {
            // Legacy takes it and then shifts from port 0, which nobody can have meant.
            return Err(ParseError::UnsupportedOption {
                extension: self.spec.name,
                what: "a shifted port range".to_owned(),
            });
        }
        let NatRange { ports, random, random_fully, .. } = self.range;
        Ok(match self.spec.name {
            "SNAT" => Target::Snat(self.range.clone()),
            "DNAT" => Target::Dnat(self.range.clone()),
            "MASQUERADE" => Target::Masquerade(Masquerade { ports, random, random_fully }),
            _ => Target::Redirect(Redirect { ports, random }),
        })
    }
}

static NETMAP: Spec =
    Spec { name: "NETMAP", options: &[Opt::value("to", 0).mandatory()], checked: true, help: crate::help::NETMAP };

/// Reads NETMAP.
#[derive(Debug)]
pub(crate) struct NetmapBuilder {
    addr: Ipv4Addr,
    mask: Ipv4Addr,
}

impl Default for NetmapBuilder {
    fn default() -> Self {
        Self { addr: Ipv4Addr::UNSPECIFIED, mask: Ipv4Addr::UNSPECIFIED }
    }
}

impl Extension for NetmapBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &NETMAP
    }

    fn option(&mut self, _: u8, arg: &str, _: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let (addr, mask) = value::host_mask(arg, "NETMAP", "to", cx.names)?;
        (self.addr, self.mask) = (addr & mask, mask);
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Netmap(Netmap { addr: IpAddr::V4(self.addr), mask: IpAddr::V4(self.mask) }))
    }
}
