//! `-m icmp` (ip_tables.c, struct ipt_icmp).

use serde::{Deserialize, Serialize};

/// `-m icmp` (ip_tables.c, struct ipt_icmp).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Icmp {
    /// The type; 255 is any.
    pub kind: u8,
    /// Lowest code.
    pub code_lo: u8,
    /// Highest code, inclusive.
    pub code_hi: u8,
    /// `! --icmp-type`.
    pub invert: bool,
}
