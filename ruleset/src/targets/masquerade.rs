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
    /// `/PORT` behind them: they are shifted from port 0, whatever it is.
    pub shifted: bool,
    /// `--random`.
    pub random: bool,
    /// `--random-fully`.
    pub random_fully: bool,
}

impl Masquerade {
    fn write(&self, option: &str, flag: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        let flags = [(self.random, "random"), (self.random_fully, "random-fully")];
        super::nat::write_redirection(self.ports, self.shifted, &flags, option, flag, out)
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
