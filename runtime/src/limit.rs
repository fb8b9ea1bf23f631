//! How many connections a table is made for: what `bpftables conntrack limit` recorded, else `nf_conntrack_max`.

use crate::error::{Doing, Result};
use crate::location::Home;
use crate::sysctl;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;

/// Connections at most that a table can be made for.
pub(crate) const MOST: u32 = 1 << 24;
/// A symbolic link beside the namespaces' directories, whose target is the number.
const RECORD: &str = "conntrack_max";

/// The number for a table that is to be made.
pub(crate) fn wanted(home: &Home) -> u32 {
    let recorded = fs::read_link(home.all().join(RECORD)).ok();
    let recorded = recorded.and_then(|number| number.to_str()?.parse().ok());
    recorded.unwrap_or_else(sysctl::max_conns).clamp(1, MOST)
}

/// Forgets what was recorded.
pub(crate) fn forget(home: &Home) -> Result<()> {
    match fs::remove_file(home.all().join(RECORD)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).doing(|| "forget the limit of connections".to_owned()),
        _ => Ok(()),
    }
}

/// Records a number, until the next boot.
pub(crate) fn record(home: &Home, limit: u32) -> Result<()> {
    let doing = || "record the limit of connections".to_owned();
    let (path, fresh) = (home.all().join(RECORD), home.all().join(format!("{RECORD}_new")));
    match fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).doing(doing),
        _ => {}
    }
    symlink(limit.to_string(), &fresh).and_then(|()| fs::rename(&fresh, &path)).doing(doing)
}
