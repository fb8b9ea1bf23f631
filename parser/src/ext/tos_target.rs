//! `-j TOS`.

use super::{Cx, Extension, Opt, Spec, ranged};
use crate::error::ParseError;
use crate::value;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::TosSet;

const SET: u8 = 0;
const AND: u8 = 1;
const OR: u8 = 2;
const XOR: u8 = 3;
const ANY: u32 = 1 << SET | 1 << AND | 1 << OR | 1 << XOR;

static SPEC: Spec = Spec {
    name: "TOS",
    options: &[
        Opt::value("set-tos", SET).excludes(ANY),
        Opt::value("and-tos", AND).excludes(ANY),
        Opt::value("or-tos", OR).excludes(ANY),
        Opt::value("xor-tos", XOR).excludes(ANY),
    ],
    checked: true,
    help: "\
TOS target v1.8.11 options:
  --set-tos value[/mask]  clear the mask's bits of the type of service,
                          then XOR it with the value
  --set-tos symbol        the type of service by name (IPv4 only)
                          (the four bits of precedence become 0!)
                          These names there are:
                            (0x10) 16 Minimize-Delay
                            (0x08)  8 Maximize-Throughput
                            (0x04)  4 Maximize-Reliability
                            (0x02)  2 Minimize-Cost
                            (0x00)  0 Normal-Service

  --and-tos bits          AND with the bits
  --or-tos  bits          OR with the bits
  --xor-tos bits          XOR with the bits
",
};

/// Reads `-j TOS`.
#[derive(Debug, Default)]
pub(crate) struct TosBuilder {
    value: u8,
    mask: u8,
}

impl Extension for TosBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let bits = |option| ranged("TOS", option, arg, 0, u8::MAX);
        (self.value, self.mask) = match id {
            SET => value::tos_mask(arg, 0x3f)?,
            AND => (0, !bits("and-tos")?),
            OR => {
                let value = bits("or-tos")?;
                (value, value)
            }
            _ => (bits("xor-tos")?, 0),
        };
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen == 0 {
            return Err(ParseError::parameter("TOS: An action is required"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Tos(TosSet { value: self.value, mask: self.mask }))
    }
}
