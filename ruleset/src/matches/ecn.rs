//! `-m ecn`: the ECN bits of the IP and TCP headers (xt_ecn.c).

use crate::check::{Place, Problem, need};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m ecn`: the ECN bits of the IP and TCP headers (xt_ecn.c). Each is asked with or without `!`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ecn {
    /// `--ecn-tcp-ece`.
    pub ece: Option<bool>,
    /// `--ecn-tcp-cwr`.
    pub cwr: Option<bool>,
    /// `--ecn-ip-ect`, 0 to 3.
    pub ect: Option<(u8, bool)>,
}

impl Text for Ecn {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for (asked, option) in [(self.ece, "ece"), (self.cwr, "cwr")] {
            if let Some(invert) = asked {
                write!(out, "{} --ecn-tcp-{option}", not(invert))?;
            }
        }
        if let Some((ect, invert)) = self.ect {
            write!(out, "{} --ecn-ip-ect {ect}", not(invert))?;
        }
        Ok(())
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        let bang = |invert| if invert { "!" } else { "" };
        out.write_str(" ECN match")?;
        for (asked, option) in [(self.ece, "ECE"), (self.cwr, "CWR")] {
            if let Some(invert) = asked {
                write!(out, " {}{option}", bang(invert))?;
            }
        }
        if let Some((ect, invert)) = self.ect {
            write!(out, " {}ECT={ect}", bang(invert))?;
        }
        Ok(())
    }
}

impl MatchKind for Ecn {
    fn check(&self, place: Place) -> Result<(), Problem> {
        let tcp = self.ece.is_some() || self.cwr.is_some();
        need(!tcp || place.protocol == Some((6, false)), "TCP's ECN bits need -p tcp")
    }
}
