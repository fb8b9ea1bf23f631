//! `-j SNPT` and `-j DNPT`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::npt::{Dnpt, Prefixes, Snpt};
use std::net::{IpAddr, Ipv6Addr};

const SRC: u8 = 1;

const OPTIONS: &[Opt] = &[Opt::value("src-pfx", SRC).mandatory(), Opt::value("dst-pfx", 2).mandatory()];

static SNPT: Spec = Spec {
    name: "SNPT",
    options: OPTIONS,
    checked: true,
    help: "\
SNPT target options:
 --src-pfx prefix/length
 --dst-pfx prefix/length

",
};

static DNPT: Spec = Spec {
    name: "DNPT",
    options: OPTIONS,
    checked: true,
    help: "\
DNPT target options:
 --src-pfx prefix/length
 --dst-pfx prefix/length

",
};

/// Reads `-j SNPT` and `-j DNPT`.
#[derive(Debug)]
pub(crate) struct NptBuilder {
    spec: &'static Spec,
    prefixes: Prefixes,
}

impl NptBuilder {
    const fn new(spec: &'static Spec) -> Self {
        let none = (Ipv6Addr::UNSPECIFIED, 0);
        Self { spec, prefixes: Prefixes { src: none, dst: none } }
    }

    pub(crate) const fn snpt() -> Self {
        Self::new(&SNPT)
    }

    pub(crate) const fn dnpt() -> Self {
        Self::new(&DNPT)
    }
}

impl Extension for NptBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        self.spec
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let option = if id == SRC { "src-pfx" } else { "dst-pfx" };
        let (addr, mask) = value::host_mask(arg, self.spec.name, option, cx.family, cx.names)?;
        let (IpAddr::V6(addr), IpAddr::V6(mask)) = (addr, mask) else {
            return Err(ParseError::OnlyHint);
        };
        // A mask with holes has length -1 for legacy, 255 in a byte.
        let ones = mask.to_bits().leading_ones();
        let length = if ones == mask.to_bits().count_ones() { ones.to_le_bytes()[0] } else { u8::MAX };
        match id {
            SRC => self.prefixes.src = (addr, length),
            _ => self.prefixes.dst = (addr, length),
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(if self.spec.name == "SNPT" {
            Target::Snpt(Box::new(Snpt(self.prefixes.clone())))
        } else {
            Target::Dnpt(Box::new(Dnpt(self.prefixes.clone())))
        })
    }
}
