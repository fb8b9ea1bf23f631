//! `-m connbytes`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::number_range;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::connbytes::{DIRECTIONS, MODES};
use bpftables_ruleset::matches::{Connbytes, ConnbytesDirection, ConnbytesMode};

const COUNT: u8 = 0;
const DIRECTION: u8 = 1;

static SPEC: Spec = Spec {
    name: "connbytes",
    options: &[
        Opt::value("connbytes", COUNT).mandatory().invertible(),
        Opt::value("connbytes-dir", DIRECTION).mandatory(),
        Opt::value("connbytes-mode", 2).mandatory(),
    ],
    checked: true,
    help: "\
connbytes match options:
 [!] --connbytes from:[to]
     --connbytes-dir [original, reply, both]
     --connbytes-mode [packets, bytes, avgpkt]
",
};

/// Reads `-m connbytes`.
#[derive(Debug)]
pub(crate) struct ConnbytesBuilder {
    info: Connbytes,
}

impl Default for ConnbytesBuilder {
    fn default() -> Self {
        let (mode, direction) = (ConnbytesMode::Packets, ConnbytesDirection::Original);
        Self { info: Connbytes { from: 0, to: 0, mode, direction } }
    }
}

fn named<T: Copy>(table: &[(&str, T)], option: &str, text: &str) -> Result<T, ParseError> {
    table
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| ParseError::Parameter(format!("Unknown --{option} `{text}'")))
}

impl Extension for ConnbytesBuilder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let info = &mut self.info;
        match id {
            COUNT => {
                let (from, to) = number_range(arg, "connbytes", "connbytes", u64::MAX)?;
                let to = to.unwrap_or(u64::MAX);
                (info.from, info.to) = if invert { (to, from) } else { (from, to) };
            }
            DIRECTION => info.direction = named(DIRECTIONS, "connbytes-dir", arg)?,
            _ => info.mode = named(MODES, "connbytes-mode", arg)?,
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Connbytes(self.info.clone()))
    }
}
