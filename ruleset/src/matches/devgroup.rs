//! `-m devgroup`: the groups of a packet's devices (xt_devgroup.c).

use crate::check::{FWD, IN, OUT, POST, PRE, Place, Problem};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A number with a mask that the system's files may have a name for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NamedValue {
    /// Value.
    pub value: u32,
    /// Mask; a name is printed only if all its bits are set.
    pub mask: u32,
    /// The name that the system had for the value when the rule was read.
    pub name: Option<Box<str>>,
    /// `!`.
    pub invert: bool,
}

impl NamedValue {
    /// A space and the value.
    pub(crate) fn write(&self, numeric: bool, out: &mut dyn fmt::Write) -> fmt::Result {
        match &self.name {
            _ if self.mask != u32::MAX => write!(out, " 0x{:x}/0x{:x}", self.value, self.mask),
            Some(name) if !numeric => write!(out, " {name}"),
            _ => write!(out, " 0x{:x}", self.value),
        }
    }
}

/// `-m devgroup`: the groups of a packet's devices (xt_devgroup.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Devgroup {
    /// `--src-group`: of the device of arrival.
    pub source: Option<NamedValue>,
    /// `--dst-group`: of the device of departure.
    pub destination: Option<NamedValue>,
}

impl Devgroup {
    fn write(&self, prefix: &str, numeric: bool, out: &mut dyn fmt::Write) -> fmt::Result {
        for (group, option) in [(&self.source, "src"), (&self.destination, "dst")] {
            if let Some(group) = group {
                write!(out, "{} {prefix}{option}-group", not(group.invert))?;
                group.write(numeric, out)?;
            }
        }
        Ok(())
    }
}

impl Text for Devgroup {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("--", false, out)
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("", cx.numeric, out)
    }
}

impl MatchKind for Devgroup {
    fn check(&self, place: Place) -> Result<(), Problem> {
        if self.source.is_some() {
            place.only_hooks(PRE | IN | FWD, "--src-group belongs where packets have come in")?;
        }
        if self.destination.is_some() {
            place.only_hooks(FWD | OUT | POST, "--dst-group belongs where packets go out")?;
        }
        Ok(())
    }
}
