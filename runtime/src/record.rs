//! What an administrator settled for this machine, until the next boot: numbers, each the target of a symbolic link beside the namespaces'
//! directories.

use crate::error::{Doing, Result};
use crate::location::Home;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;

/// A number that is recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record(&'static str);

/// How many connections a table is made for (`bpftables conntrack limit`).
pub(crate) const CONNECTIONS: Record = Record("conntrack_max");
/// 0: forwarded packets always go up the stack (`bpftables host-routing`).
pub(crate) const HOST_ROUTING: Record = Record("host_routing");
/// All of them: the package's `prerm` removes these.
#[cfg(test)]
const ALL: [Record; 2] = [CONNECTIONS, HOST_ROUTING];

/// How often a number is written anew when others record theirs at the same time.
const TRIES: usize = 100;

impl Record {
    /// The number, if one was recorded.
    pub(crate) fn read(self, home: &Home) -> Option<u32> {
        fs::read_link(home.all().join(self.0)).ok()?.to_str()?.parse().ok()
    }

    /// Forgets the number.
    pub(crate) fn forget(self, home: &Home) -> Result<()> {
        match fs::remove_file(home.all().join(self.0)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).doing(|| format!("forget {}", self.0)),
            _ => Ok(()),
        }
    }

    /// Records a number.
    pub(crate) fn write(self, home: &Home, number: u32) -> Result<()> {
        let doing = || format!("record {}", self.0);
        let (path, fresh) = (home.all().join(self.0), home.all().join(format!("{}_new", self.0)));
        let write = || {
            match fs::remove_file(&fresh) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            symlink(number.to_string(), &fresh)?;
            fs::rename(&fresh, &path)
        };
        // Whoever records one at the same time may have taken ours away, or put theirs in its place.
        let raced = |e: &io::Error| matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists);
        for _ in 1..TRIES {
            match write() {
                Err(e) if raced(&e) => {}
                result => return result.doing(doing),
            }
        }
        write().doing(doing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_leaves_none_of_them_behind() {
        let prerm = include_str!("../../packaging/deb/prerm");
        let removed = prerm.lines().find_map(|line| line.trim().strip_prefix("rm -f ")).unwrap();
        for Record(name) in ALL {
            let path = format!("/sys/fs/bpf/bpftables/{name}");
            assert!(removed.split(' ').any(|word| word == path), "{path} is not in {removed}");
        }
    }
}
