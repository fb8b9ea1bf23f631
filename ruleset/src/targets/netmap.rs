//! `-j NETMAP` (xt_NETMAP.c): the bits under `mask` are replaced by those of `addr`.

use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// `-j NETMAP` (xt_NETMAP.c): the bits under `mask` are replaced by those of `addr`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Netmap {
    /// Network address.
    pub addr: IpAddr,
    /// Mask.
    pub mask: IpAddr,
}

impl Netmap {
    fn write(&self, option: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " {option}")?;
        crate::text::write_ip(self.addr, out)?;
        crate::text::write_save_mask(self.mask, out)
    }
}

impl Text for Netmap {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("--to ", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("to:", out)
    }
}
