//! `-j TTL` and `-j HL`.

use super::{Cx, Extension, Opt, Spec, ranged};
use crate::error::ParseError;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::{HlSet, HopChange, TtlSet};

// Legacy counts them otherwise than it lists them, which shows in what is blamed when all are given.
const SET: u8 = 0;
const INC: u8 = 1;
const DEC: u8 = 2;
const ANY: u32 = 1 << SET | 1 << DEC | 1 << INC;

static TTL: Spec = Spec {
    name: "TTL",
    options: &[
        Opt::value("ttl-set", SET).excludes(ANY),
        Opt::value("ttl-dec", DEC).excludes(ANY),
        Opt::value("ttl-inc", INC).excludes(ANY),
    ],
    checked: true,
    help: "\
TTL target options
  --ttl-set value\t\tthe TTL becomes <value 0-255>
  --ttl-dec value\t\tit shrinks by <value 1-255>
  --ttl-inc value\t\tit grows by <value 1-255>
",
};

static HL: Spec = Spec {
    name: "HL",
    options: &[
        Opt::value("hl-set", SET).excludes(ANY),
        Opt::value("hl-dec", DEC).excludes(ANY),
        Opt::value("hl-inc", INC).excludes(ANY),
    ],
    checked: true,
    help: "\
HL target options
  --hl-set value\t\tthe hop limit becomes <value 0-255>
  --hl-dec value\t\tit shrinks by <value 1-255>
  --hl-inc value\t\tit grows by <value 1-255>
",
};

/// Reads `-j TTL` and `-j HL`.
#[derive(Debug)]
pub(crate) struct HopBuilder {
    spec: &'static Spec,
    change: HopChange,
}

impl HopBuilder {
    pub(crate) const fn ttl() -> Self {
        Self { spec: &TTL, change: HopChange::Set(0) }
    }

    pub(crate) const fn hl() -> Self {
        Self { spec: &HL, change: HopChange::Set(0) }
    }
}

impl Extension for HopBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        self.spec
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let names = [self.spec.options[0].name, self.spec.options[2].name, self.spec.options[1].name];
        let option = names[usize::from(id)];
        let value = ranged(self.spec.name, option, arg, u8::from(id != SET), u8::MAX)?;
        self.change = match id {
            SET => HopChange::Set(value),
            DEC => HopChange::Decrement(value),
            _ => HopChange::Increment(value),
        };
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen == 0 {
            return Err(ParseError::Parameter(format!("{}: You must specify an action", self.spec.name)));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(if self.spec.name == "TTL" { Target::Ttl(TtlSet(self.change)) } else { Target::Hl(HlSet(self.change)) })
    }
}
