//! `-m connlabel`: a label of a connection (xt_connlabel.c).

use crate::check::{Place, Problem};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What legacy says, of every rule that it prints and every name that it looks for, where the file of names is not there.
pub const NO_LABEL_NAMES: &str = "Warning: cannot open /etc/xtables/connlabel.conf: No such file or directory";

/// `-m connlabel`: a label of a connection (xt_connlabel.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Connlabel {
    /// The label's number.
    pub bit: u16,
    /// The name that the system had for it when the rule was read.
    pub name: Option<Box<str>>,
    /// `!`.
    pub invert: bool,
    /// `--set`.
    pub set: bool,
}

impl Text for Connlabel {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --label ", not(self.invert))?;
        match &self.name {
            Some(name) => write!(out, "\"{name}\"")?,
            None => write!(out, "\"{}\"", self.bit)?,
        }
        out.write_str(if self.set { " --set" } else { "" })
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " connlabel{} ", not(self.invert))?;
        match &self.name {
            Some(name) if !cx.numeric => write!(out, "'{name}'")?,
            _ => write!(out, "{}", self.bit)?,
        }
        out.write_str(if self.set { " set" } else { "" })
    }
}

impl MatchKind for Connlabel {
    fn check(&self, _: Place) -> Result<(), Problem> {
        if self.bit > 127 { Err(Problem::Range) } else { Ok(()) }
    }
}
