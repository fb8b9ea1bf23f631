//! `-m tcp` (xt_tcpudp.c, struct xt_tcp).

use crate::addr::PortRange;
use serde::{Deserialize, Serialize};

/// `-m tcp` (xt_tcpudp.c, struct xt_tcp).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tcp {
    /// `[!] --sport`; `!` with every port is kept.
    pub sport: PortRange,
    /// `! --sport`.
    pub invert_sport: bool,
    /// `[!] --dport`.
    pub dport: PortRange,
    /// `! --dport`.
    pub invert_dport: bool,
    /// `[!] --tcp-flags MASK COMP` (and `--syn`): the packet's flag byte AND `flags_mask` must equal `flags_cmp`; mask 0: not asked.
    pub flags_mask: u8,
    /// See `flags_mask`.
    pub flags_cmp: u8,
    /// `! --tcp-flags`.
    pub invert_flags: bool,
    /// `[!] --tcp-option N`: the option must be present; 0: not asked.
    pub option: u8,
    /// `! --tcp-option`.
    pub invert_option: bool,
}
