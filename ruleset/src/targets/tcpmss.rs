//! `-j TCPMSS` (xt_TCPMSS.c): the maximum segment size that a SYN offers.

use super::TargetKind;
use crate::check::{FWD, OUT, POST, Place, Problem, need};
use crate::matches::Match;
use crate::rule::Rule;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j TCPMSS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TcpmssSet {
    /// `--set-mss`.
    Mss(u16),
    /// `--clamp-mss-to-pmtu`: what the route's MTU leaves room for.
    Clamp,
}

/// The flag of TCP that starts a connection.
const SYN: u8 = 0x02;

impl TargetKind for TcpmssSet {
    fn check(&self, place: Place, rule: &Rule) -> Result<(), Problem> {
        if *self == Self::Clamp {
            place.only_hooks(FWD | OUT | POST, "--clamp-mss-to-pmtu belongs where packets leave")?;
        }
        place.needs_protocol(6, "TCPMSS needs -p tcp")?;
        let wants_syn = |m: &Match| matches!(m, Match::Tcp(tcp) if tcp.flags_cmp & SYN != 0 && !tcp.invert_flags);
        need(rule.matches.iter().any(wants_syn), "TCPMSS works on SYN packets only")
    }
}

impl Text for TcpmssSet {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match self {
            Self::Mss(mss) => write!(out, " --set-mss {mss}"),
            Self::Clamp => out.write_str(" --clamp-mss-to-pmtu"),
        }
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        match self {
            Self::Mss(mss) => write!(out, " TCPMSS set {mss}"),
            Self::Clamp => out.write_str(" TCPMSS clamp to PMTU"),
        }
    }
}
