//! `-j REDIRECT` (xt_REDIRECT.c).

use crate::addr::PortRange;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j REDIRECT` (xt_REDIRECT.c).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Redirect {
    /// `--to-ports`.
    pub ports: Option<PortRange>,
    /// `--random`.
    pub random: bool,
}

impl Redirect {
    fn write(&self, option: &str, flag: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        let flags = [(self.random, "random")];
        super::nat::write_redirection(self.ports, false, &flags, option, flag, out)
    }
}

impl Text for Redirect {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("--to-ports ", "--", out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write("redir ports ", "", out)
    }
}
