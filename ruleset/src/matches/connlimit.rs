//! `-m connlimit`: how many connections a group of hosts has (xt_connlimit.c, rev 1).

use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// `-m connlimit`: how many connections a group of hosts has (xt_connlimit.c, rev 1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Connlimit {
    /// The number that is compared.
    pub limit: u32,
    /// `--connlimit-upto` rather than `--connlimit-above`.
    pub upto: bool,
    /// `--connlimit-mask`.
    pub mask: IpAddr,
    /// `--connlimit-daddr` rather than `--connlimit-saddr`.
    pub destination: bool,
}

impl Connlimit {
    /// What legacy takes for the mask's length: the leading ones of each 32 bits.
    fn length(&self) -> u32 {
        match self.mask {
            IpAddr::V4(mask) => mask.to_bits().leading_ones(),
            IpAddr::V6(mask) => {
                let words = [96, 64, 32, 0].map(|shift| (mask.to_bits() >> shift) as u32);
                words.iter().map(|word| word.leading_ones()).sum()
            }
        }
    }
}

impl Text for Connlimit {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let (limit, length) = (self.limit, self.length());
        let option = if self.upto { "upto" } else { "above" };
        let side = if self.destination { "daddr" } else { "saddr" };
        write!(out, " --connlimit-{option} {limit} --connlimit-mask {length} --connlimit-{side}")
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        let side = if self.destination { "dst" } else { "src" };
        write!(out, " #conn {side}/{} {} {}", self.length(), if self.upto { "<=" } else { ">" }, self.limit)
    }
}

impl MatchKind for Connlimit {}
