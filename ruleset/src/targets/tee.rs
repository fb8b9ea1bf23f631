//! `-j TEE` (xt_TEE.c): a copy of the packet to another host of the network.

use super::TargetKind;
use crate::check::{Place, Problem, need};
use crate::rule::Rule;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// `-j TEE`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tee {
    /// `--gateway`.
    pub gateway: IpAddr,
    /// `--oif`, at most 15 bytes; empty when it was not given.
    pub oif: Box<str>,
}

impl TargetKind for Tee {
    fn check(&self, _: Place, _: &Rule) -> Result<(), Problem> {
        need(!self.gateway.is_unspecified(), "TEE needs a gateway")
    }
}

impl Text for Tee {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " --gateway {}", self.gateway)?;
        if self.oif.is_empty() { Ok(()) } else { write!(out, " --oif {}", self.oif) }
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" TEE gw:")?;
        cx.write_address(self.gateway, out)?;
        if self.oif.is_empty() { Ok(()) } else { write!(out, " oif={}", self.oif) }
    }
}
