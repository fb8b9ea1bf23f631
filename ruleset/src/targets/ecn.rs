//! `-j ECN` (ipt_ECN.c): the bits of explicit congestion notification.

use super::TargetKind;
use crate::check::{Place, Problem};
use crate::rule::Rule;
use crate::table::TableKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j ECN`: what is set, in this order; `None` is left alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EcnSet {
    /// TCP's ECE bit.
    pub ece: Option<bool>,
    /// TCP's CWR bit.
    pub cwr: Option<bool>,
    /// `--ecn-ip-ect`: the two bits of the TOS byte.
    pub ect: Option<u8>,
}

impl EcnSet {
    /// `--ecn-tcp-remove`.
    #[must_use]
    pub const fn removes(&self) -> bool {
        matches!(self, Self { ece: Some(false), cwr: Some(false), ect: None })
    }
}

impl TargetKind for EcnSet {
    fn check(&self, place: Place, _: &Rule) -> Result<(), Problem> {
        place.in_tables(&[TableKind::Mangle], "ECN belongs in the mangle table")?;
        if self.ece.is_some() || self.cwr.is_some() {
            place.needs_protocol(6, "TCP's bits need -p tcp")?;
        }
        Ok(())
    }
}

impl Text for EcnSet {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if self.removes() {
            return out.write_str(" --ecn-tcp-remove");
        }
        if let Some(ece) = self.ece {
            write!(out, " --ecn-tcp-ece {}", u8::from(ece))?;
        }
        if let Some(cwr) = self.cwr {
            write!(out, " --ecn-tcp-cwr {}", u8::from(cwr))?;
        }
        self.ect.map_or(Ok(()), |ect| write!(out, " --ecn-ip-ect {ect}"))
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        if self.removes() {
            return out.write_str(" ECN TCP remove");
        }
        out.write_str(" ECN")?;
        if let Some(ece) = self.ece {
            write!(out, " ECE={}", u8::from(ece))?;
        }
        if let Some(cwr) = self.cwr {
            write!(out, " CWR={}", u8::from(cwr))?;
        }
        self.ect.map_or(Ok(()), |ect| write!(out, " ECT codepoint={ect}"))
    }
}
