//! `-j LOG` (xt_LOG.c): a line in the kernel's log.

use super::TargetKind;
use crate::text::{ListContext, Text, write_string};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-j LOG`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Log {
    /// `--log-level`, 0 to 7 as in syslog.
    pub level: u8,
    /// The flags, as [`Log::TCP_SEQUENCE`] and its fellows.
    pub flags: u8,
    /// `--log-prefix`, at most [`Log::MAX_PREFIX`] bytes.
    pub prefix: Box<str>,
}

impl Log {
    /// `--log-tcp-sequence`.
    pub const TCP_SEQUENCE: u8 = 0x01;
    /// `--log-tcp-options`.
    pub const TCP_OPTIONS: u8 = 0x02;
    /// `--log-ip-options`.
    pub const IP_OPTIONS: u8 = 0x04;
    /// `--log-uid`.
    pub const UID: u8 = 0x08;
    /// `--log-macdecode`.
    pub const MACDECODE: u8 = 0x20;
    /// The level if none is given: warning.
    pub const DEFAULT_LEVEL: u8 = 4;
    /// The longest prefix, in bytes; what is longer is cut.
    pub const MAX_PREFIX: usize = 29;

    const FLAGS: &[(u8, &str)] = &[
        (Self::TCP_SEQUENCE, "tcp-sequence"),
        (Self::TCP_OPTIONS, "tcp-options"),
        (Self::IP_OPTIONS, "ip-options"),
        (Self::UID, "uid"),
        (Self::MACDECODE, "macdecode"),
    ];

    fn write_flags(&self, before: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        let set = Self::FLAGS.iter().filter(|(bit, _)| self.flags & bit != 0);
        set.map(|(_, name)| name).try_for_each(|name| write!(out, "{before}{name}"))
    }
}

/// What `-L` calls the levels.
const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];

impl Default for Log {
    fn default() -> Self {
        Self { level: Self::DEFAULT_LEVEL, flags: 0, prefix: "".into() }
    }
}

impl TargetKind for Log {}

impl Text for Log {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if !self.prefix.is_empty() {
            out.write_str(" --log-prefix")?;
            write_string(&self.prefix, out)?;
        }
        if self.level != Self::DEFAULT_LEVEL {
            write!(out, " --log-level {}", self.level)?;
        }
        self.write_flags(" --log-", out)
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" LOG")?;
        match LEVELS.get(usize::from(self.level)) {
            _ if cx.numeric => write!(out, " flags {} level {}", self.flags, self.level)?,
            Some(name) => {
                write!(out, " level {name}")?;
                self.write_flags(" ", out)?;
            }
            None => write!(out, " UNKNOWN level {}", self.level)?,
        }
        if self.prefix.is_empty() { Ok(()) } else { write!(out, " prefix \"{}\"", self.prefix) }
    }
}
