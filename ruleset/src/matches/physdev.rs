//! `-m physdev`: the ports of a bridge that a packet came in by or leaves by (xt_physdev.c).

use crate::check::{OUT, Place, Problem, need};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m physdev`: the ports of a bridge that a packet came in by or leaves by (xt_physdev.c). Each is asked with or without `!`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Physdev {
    /// `--physdev-in`: a name of at most 15 bytes, where a last `+` stands for anything.
    pub input: Option<(Box<str>, bool)>,
    /// `--physdev-out`.
    pub output: Option<(Box<str>, bool)>,
    /// `--physdev-is-in`.
    pub is_in: Option<bool>,
    /// `--physdev-is-out`.
    pub is_out: Option<bool>,
    /// `--physdev-is-bridged`.
    pub is_bridged: Option<bool>,
}

fn write_flag(asked: Option<bool>, option: &str, out: &mut dyn fmt::Write) -> fmt::Result {
    asked.map_or(Ok(()), |invert| write!(out, "{} --physdev-{option}", not(invert)))
}

fn write_name(asked: Option<&(Box<str>, bool)>, option: &str, out: &mut dyn fmt::Write) -> fmt::Result {
    asked.map_or(Ok(()), |(name, invert)| write!(out, "{} --physdev-{option} {name}", not(*invert)))
}

impl Text for Physdev {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write_flag(self.is_in, "is-in", out)?;
        write_name(self.input.as_ref(), "in", out)?;
        write_flag(self.is_out, "is-out", out)?;
        write_name(self.output.as_ref(), "out", out)?;
        write_flag(self.is_bridged, "is-bridged", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" PHYSDEV match")?;
        self.save(out)
    }
}

impl MatchKind for Physdev {
    fn check(&self, place: Place) -> Result<(), Problem> {
        let leaves = self.output.is_some() || self.is_out.is_some();
        need(
            !leaves || self.is_bridged == Some(false) || place.hooks & OUT == 0,
            "the port of departure is not known where packets are sent, unless they are bridged",
        )
    }
}
