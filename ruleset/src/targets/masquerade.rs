//! `-j MASQUERADE` (xt_MASQUERADE.c).

use crate::addr::PortRange;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j MASQUERADE` (xt_MASQUERADE.c).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Masquerade {
    /// `--to-ports`.
    pub ports: Option<PortRange>,
    /// `--random`.
    pub random: bool,
    /// `--random-fully`.
    pub random_fully: bool,
}

impl Masquerade {
    fn write(&self, option: &str, flag: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        if let Some(ports) = self.ports {
            write!(out, " {option}")?;
            super::nat::write_ports(ports, out)?;
        }
        if self.random {
            write!(out, " {flag}random")?;
        }
        if self.random_fully {
            write!(out, " {flag}random-fully")?;
        }
        Ok(())
    }
}

impl Text for Masquerade {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("--to-ports ", "--", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("masq ports: ", "", out)
    }
}
