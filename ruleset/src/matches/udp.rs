//! `-m udp` (xt_tcpudp.c, struct xt_udp).

use crate::addr::PortRange;
use crate::check::{Place, Problem};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m udp` (xt_tcpudp.c, struct xt_udp).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Udp {
    /// `[!] --sport`.
    pub sport: PortRange,
    /// `! --sport`.
    pub invert_sport: bool,
    /// `[!] --dport`.
    pub dport: PortRange,
    /// `! --dport`.
    pub invert_dport: bool,
}

impl Text for Udp {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.sport.save("sport", self.invert_sport, out)?;
        self.dport.save("dport", self.invert_dport, out)
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" udp")?;
        cx.write_port_range("spt", self.sport, self.invert_sport, "udp", out)?;
        cx.write_port_range("dpt", self.dport, self.invert_dport, "udp", out)
    }
}

impl MatchKind for Udp {
    fn check(&self, place: Place) -> Result<(), Problem> {
        place.needs_protocol(17, "the udp match needs -p udp")
    }
}
