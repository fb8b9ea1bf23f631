//! `-j CLASSIFY`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::{Read, scan_hex};
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Classify;
use nom::Parser;
use nom::character::complete::char;
use nom::sequence::separated_pair;

/// `sscanf("%x:%x")`: whatever follows is not looked at, and of each number 16 bits count.
fn class(text: &str) -> Read<&str, (u16, u16)> {
    separated_pair(scan_hex, char(':'), scan_hex).map(|(major, minor)| (major as u16, minor as u16)).parse(text)
}

static SPEC: Spec = Spec {
    name: "CLASSIFY",
    options: &[Opt::value("set-class", 0).mandatory()],
    checked: true,
    help: "\
CLASSIFY target options:
--set-class MAJOR:MINOR    the class of queueing (both are hexadecimal, always)
",
};

/// Reads `-j CLASSIFY`.
#[derive(Debug, Default)]
pub(crate) struct ClassifyBuilder {
    class: (u16, u16),
}

impl Extension for ClassifyBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let class = class(arg).map_err(|_| ParseError::Parameter(format!("Bad class value \"{arg}\"")))?;
        self.class = class.1;
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        let (major, minor) = self.class;
        Ok(Target::Classify(Classify { major, minor }))
    }
}
