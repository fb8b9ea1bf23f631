//! `-j SYNPROXY` (xt_SYNPROXY.c): SYNs are answered for the server.

use super::TargetKind;
use crate::check::{FWD, IN, Place, Problem};
use crate::rule::Rule;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j SYNPROXY`: what the server would offer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Synproxy {
    /// `--sack-perm`.
    pub sack_perm: bool,
    /// `--timestamp`.
    pub timestamp: bool,
    /// `--wscale`.
    pub wscale: Option<u8>,
    /// `--mss`.
    pub mss: Option<u16>,
    /// `--ecn`.
    pub ecn: bool,
}

impl Synproxy {
    fn write(&self, before: &str, after: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        let flag = |on: bool, name: &str, out: &mut dyn fmt::Write| match on {
            true => write!(out, "{before}{name}{after}"),
            false => Ok(()),
        };
        flag(self.sack_perm, "sack-perm", out)?;
        flag(self.timestamp, "timestamp", out)?;
        if let Some(wscale) = self.wscale {
            write!(out, "{before}wscale {wscale}{after}")?;
        }
        if let Some(mss) = self.mss {
            write!(out, "{before}mss {mss}{after}")?;
        }
        flag(self.ecn, "ecn", out)
    }
}

impl TargetKind for Synproxy {
    fn check(&self, place: Place, _: &Rule) -> Result<(), Problem> {
        place.only_hooks(IN | FWD, "SYNPROXY belongs in INPUT and FORWARD")?;
        place.needs_protocol(6, "SYNPROXY needs -p tcp")
    }
}

impl Text for Synproxy {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write(" --", "", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" SYNPROXY ")?;
        self.write("", " ", out)
    }
}
