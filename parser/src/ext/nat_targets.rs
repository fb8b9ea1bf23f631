//! `-j SNAT`, `-j DNAT`, `-j MASQUERADE`, `-j REDIRECT`, `-j NETMAP`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value;
use bpftables_ruleset::addr::masked;
use bpftables_ruleset::targets::{Masquerade, NatRange, Netmap, Redirect};
use bpftables_ruleset::{Family, Target};
use std::net::IpAddr;

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

    /// `[ADDR[-ADDR]][:PORTS]`, in IPv6 `[ADDR[-ADDR]]:PORTS` with those brackets.
    fn to(&mut self, text: &str, cx: &Cx<'_, '_>) -> Result<(), ParseError> {
        let parts = value::addresses_and_ports(text, cx.family)?;
        if let Some(ports) = parts.ports {
            self.ports(ports, cx)?;
        }
        if let Some(addrs) = parts.addresses {
            self.range.addrs = Some(value::address_range(addrs, cx.family)?);
        }
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
        let NatRange { ports, base_port, random, random_fully, .. } = self.range;
        // The source's have no place for the base: whatever it is, they shift from port 0.
        let shifted = base_port.is_some();
        Ok(match self.spec.name {
            "SNAT" => Target::Snat(NatRange { base_port: shifted.then_some(0), ..self.range.clone() }),
            "DNAT" => Target::Dnat(self.range.clone()),
            "MASQUERADE" => Target::Masquerade(Masquerade { ports, shifted, random, random_fully }),
            _ => Target::Redirect(Redirect { ports, random }),
        })
    }
}

static NETMAP: Spec =
    Spec { name: "NETMAP", options: &[Opt::value("to", 0).mandatory()], checked: true, help: crate::help::NETMAP };

/// Reads NETMAP.
#[derive(Debug)]
pub(crate) struct NetmapBuilder {
    addr: IpAddr,
    mask: IpAddr,
}

impl NetmapBuilder {
    pub(crate) const fn new(family: Family) -> Self {
        Self { addr: family.unspecified(), mask: family.unspecified() }
    }
}

impl Extension for NetmapBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &NETMAP
    }

    fn option(&mut self, _: u8, arg: &str, _: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let (addr, mask) = value::host_mask(arg, "NETMAP", "to", cx.family, cx.names)?;
        (self.addr, self.mask) = (masked(addr, mask), mask);
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Netmap(Netmap { addr: self.addr, mask: self.mask }))
    }
}
