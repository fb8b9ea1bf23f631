//! `-m ipvs`: the virtual service that a packet belongs to (xt_ipvs.c).

use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not, write_ip, write_list_mask};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// `-m ipvs`: the virtual service that a packet belongs to (xt_ipvs.c). Each part may stand after `!`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ipvs {
    /// `! --ipvs` alone; without any other part, and not this, it is `--ipvs`.
    pub none: bool,
    /// `--vproto`.
    pub protocol: Option<(u8, bool)>,
    /// `--vaddr`, not masked.
    pub address: Option<(IpAddr, IpAddr, bool)>,
    /// `--vport`.
    pub port: Option<(u16, bool)>,
    /// `--vdir REPLY` rather than `ORIGINAL`.
    pub reply: Option<bool>,
    /// `--vmethod`.
    pub method: Option<(IpvsMethod, bool)>,
    /// `--vportctl`.
    pub control_port: Option<(u16, bool)>,
}

/// How packets reach the real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IpvsMethod {
    /// Routed.
    Gate,
    /// Tunnelled.
    Ipip,
    /// Translated.
    Masq,
}

/// The methods by name.
pub const METHODS: [(&str, IpvsMethod); 3] =
    [("GATE", IpvsMethod::Gate), ("IPIP", IpvsMethod::Ipip), ("MASQ", IpvsMethod::Masq)];

impl Ipvs {
    /// Nothing but `--ipvs` is asked.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self { none: self.none, ..Self::default() }
    }

    fn write(&self, prefix: &str, cx: Option<&ListContext<'_>>, out: &mut dyn fmt::Write) -> fmt::Result {
        if self.is_plain() {
            return write!(out, "{} {prefix}ipvs", not(self.none));
        }
        if let Some((protocol, invert)) = self.protocol {
            write!(out, "{} {prefix}vproto {protocol}", not(invert))?;
        }
        if let Some((addr, mask, invert)) = self.address {
            write!(out, "{} {prefix}vaddr ", not(invert))?;
            match cx.filter(|cx| !cx.numeric) {
                Some(_) if addr.is_unspecified() => out.write_str("anywhere")?,
                Some(cx) => {
                    cx.write_address(addr, out)?;
                    write_list_mask(mask, out)?;
                }
                None => {
                    write_ip(addr, out)?;
                    write_list_mask(mask, out)?;
                }
            }
        }
        if let Some((port, invert)) = self.port {
            write!(out, "{} {prefix}vport {port}", not(invert))?;
        }
        if let Some(reply) = self.reply {
            write!(out, " {prefix}vdir {}", if reply { "REPLY" } else { "ORIGINAL" })?;
        }
        if let Some((method, invert)) = self.method {
            let name = METHODS.iter().find(|(_, known)| *known == method).map_or("", |(name, _)| name);
            write!(out, "{} {prefix}vmethod {name}", not(invert))?;
        }
        if let Some((port, invert)) = self.control_port {
            write!(out, "{} {prefix}vportctl {port}", not(invert))?;
        }
        Ok(())
    }
}

impl Text for Ipvs {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("--", None, out)
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("", Some(cx), out)
    }
}

impl MatchKind for Ipvs {}
