//! `-m multiport` (xt_multiport.c, rev 1).

use crate::addr::PortRange;
use serde::{Deserialize, Serialize};

/// `-m multiport`: up to 15 ports, a range counting as two.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Multiport {
    /// Which of the packet's ports.
    pub side: MultiportSide,
    /// In the order given; a single port has `lo == hi` and `is_range` false.
    pub ports: Vec<MultiportEntry>,
    /// `!`.
    pub invert: bool,
}

/// One element of the list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MultiportEntry {
    /// The ports.
    pub range: PortRange,
    /// Written as a range (`80:80` prints back so).
    pub is_range: bool,
}

/// Which port is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MultiportSide {
    /// `--sports`.
    Source,
    /// `--dports`.
    Destination,
    /// `--ports`: either.
    Either,
}
