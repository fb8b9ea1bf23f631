//! What a command may touch of the world.

use crate::backend::Backend;
use crate::failure::Failure;
use crate::lock::{Wait, XtablesLock};
use bpftables_ruleset::Names;
use std::io::{Read, Write};
use std::path::PathBuf;

/// The world of one command.
pub struct Context<'a> {
    /// The datapath.
    pub backend: &'a mut dyn Backend,
    /// Names of protocols, services, hosts and networks.
    pub names: &'a dyn Names,
    /// Standard input.
    pub stdin: &'a mut dyn Read,
    /// Standard output, buffered; whoever made it flushes it.
    pub stdout: &'a mut dyn Write,
    /// Standard error.
    pub stderr: &'a mut dyn Write,
    /// The xtables lock file; none where the backend is nobody else's.
    pub lock_path: Option<PathBuf>,
    /// The date for `iptables-save`, as ctime(3) writes it.
    pub now: fn() -> String,
    /// The name by which the program was called, for getopt's messages.
    pub argv0: String,
}

impl Context<'_> {
    /// Takes the xtables lock.
    pub fn lock(&self, wait: Wait) -> Result<Option<XtablesLock>, Failure> {
        let acquire = |path: &PathBuf| XtablesLock::acquire(path, wait);
        Ok(self.lock_path.as_ref().map(acquire).transpose()?)
    }

    /// A line on standard error; that it cannot be written is nobody's to know.
    pub fn notice(&mut self, line: &str) {
        let _ = writeln!(self.stderr, "{line}");
    }
}
