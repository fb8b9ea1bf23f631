//! `-m udp` (xt_tcpudp.c, struct xt_udp).

use crate::addr::PortRange;
use serde::{Deserialize, Serialize};

/// `-m udp` (xt_tcpudp.c, struct xt_udp).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
