//! `-j NFQUEUE` (xt_NFQUEUE.c): a program decides.

use super::TargetKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j NFQUEUE`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Nfqueue {
    /// `--queue-num`, or the first of `--queue-balance`.
    pub first: u16,
    /// The last of `--queue-balance`; the same as `first` without.
    pub last: u16,
    /// `--queue-bypass`: without a program the packet goes on.
    pub bypass: bool,
    /// `--queue-cpu-fanout`.
    pub cpu_fanout: bool,
}

impl Nfqueue {
    fn write(&self, names: [&str; 4], out: &mut dyn fmt::Write) -> fmt::Result {
        let [number, balance, bypass, fanout] = names;
        if self.first == self.last {
            write!(out, " {number} {}", self.first)?;
        } else {
            write!(out, " {balance} {}:{}", self.first, self.last)?;
        }
        if self.bypass {
            write!(out, " {bypass}")?;
        }
        if self.cpu_fanout { write!(out, " {fanout}") } else { Ok(()) }
    }
}

impl TargetKind for Nfqueue {}

impl Text for Nfqueue {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write(["--queue-num", "--queue-balance", "--queue-bypass", "--queue-cpu-fanout"], out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self.write(["NFQUEUE num", "NFQUEUE balance", "bypass", "cpu-fanout"], out)
    }
}
