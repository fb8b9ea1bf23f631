//! `-m hbh`: a hop-by-hop options header (ip6t_hbh.c). The options are shared with `-m dst`.

use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A header with options.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OptionsHeader {
    /// Its length, and whether after `!`.
    pub length: Option<(u32, bool)>,
    /// Its options in order, 16 at most: type, and length (255: any). `None`: not asked.
    pub options: Option<Vec<(u8, u8)>>,
}

impl OptionsHeader {
    fn write_options(&self, label: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        let Some(options) = &self.options else { return Ok(()) };
        write!(out, " {label}")?;
        for (index, (kind, length)) in options.iter().enumerate() {
            write!(out, "{}{kind}", if index == 0 { ' ' } else { ',' })?;
            if *length != 255 {
                write!(out, ":{length}")?;
            }
        }
        Ok(())
    }

    pub(crate) fn save(&self, name: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        if let Some((length, invert)) = self.length {
            write!(out, "{} --{name}-len {length}", not(invert))?;
        }
        self.write_options(&format!("--{name}-opts"), out)
    }

    pub(crate) fn list(&self, name: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " {name}")?;
        if let Some((length, invert)) = self.length {
            write!(out, " length:{}{length}", if invert { "!" } else { "" })?;
        }
        self.write_options("opts", out)
    }
}

/// `-m hbh`: a hop-by-hop options header (ip6t_hbh.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hbh {
    /// The header.
    pub header: OptionsHeader,
}

impl Text for Hbh {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.header.save("hbh", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.header.list("hbh", out)
    }
}

impl MatchKind for Hbh {}
