//! Where the state of a network namespace is kept: `/sys/fs/bpf/bpftables/<cookie>/` of the machine's first mount namespace for IPv4,
//! `<cookie>_6/` for IPv6. The families share nothing, as in netfilter, and one of them costs nothing while only the other has rules.
//!
//! `ip netns exec` and containers see another `/sys`, and a BPF file system mounted there is another one; so a helper thread
//! enters the mount namespace of process 1 and brings back a descriptor of the right directory. Paths below
//! `/proc/self/fd/N/` then work in any mount namespace.

use crate::error::{Doing, EngineError, Result};
use crate::sys::ns;
use bpftables_ruleset::Family;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where BPF file systems are mounted.
const BPFFS: &str = "/sys/fs/bpf";
/// Our directory there.
const OURS: &str = "bpftables";
/// Suffix of a directory that is being built.
pub(crate) const BUILDING: &str = "_new";

/// The directories of the calling thread's network namespace.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    /// The BPF file system's root, as a path only.
    root: Arc<File>,
    /// The namespace.
    pub(crate) cookie: u64,
    /// Whose rules.
    pub(crate) family: Family,
}

impl Home {
    /// Finds the BPF file system; none if it is not mounted and `mount` is false.
    pub(crate) fn find(mount: bool) -> Result<Option<Self>> {
        let cookie = ns::netns_cookie()
            .map_err(|source| EngineError::OldKernel { what: "getsockopt(SO_NETNS_COOKIE)".to_owned(), source })?;
        let root = match base_mount_namespace() {
            None => open_root(mount)?,
            Some(namespace) => std::thread::scope(|scope| {
                let entered = scope.spawn(|| {
                    ns::unshare_fs()
                        .and_then(|()| ns::enter_mount_namespace(namespace.as_fd()))
                        .doing(|| "enter the mount namespace of process 1".to_owned())?;
                    open_root(mount)
                });
                entered.join().unwrap_or_else(|_| Err(EngineError::Internal("a helper thread panicked".to_owned())))
            })?,
        };
        Ok(root.map(|root| Self { root: Arc::new(root), cookie, family: Family::V4 }))
    }

    /// The same for another family.
    pub(crate) fn of(&self, family: Family) -> Self {
        Self { family, ..self.clone() }
    }

    /// The same for another namespace.
    pub(crate) fn elsewhere(&self, cookie: u64) -> Self {
        Self { cookie, ..self.clone() }
    }

    /// The namespace whose directory has this name, of either family.
    pub(crate) fn cookie_of(name: &str) -> Option<u64> {
        u64::from_str_radix(name.strip_suffix("_6").unwrap_or(name), 16).ok()
    }

    /// Name of this namespace's directory.
    fn name(&self) -> String {
        match self.family {
            Family::V4 => format!("{:x}", self.cookie),
            Family::V6 => format!("{:x}_6", self.cookie),
        }
    }

    /// The directory that holds all namespaces.
    pub(crate) fn all(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{OURS}", self.root.as_raw_fd()))
    }

    /// This namespace's directory.
    pub(crate) fn dir(&self) -> PathBuf {
        self.all().join(self.name())
    }

    /// Where this namespace's directory is built before it is renamed.
    pub(crate) fn building(&self) -> PathBuf {
        self.all().join(format!("{}{BUILDING}", self.name()))
    }

    /// The directory as a person knows it.
    pub(crate) fn display(&self) -> String {
        format!("{BPFFS}/{OURS}/{}", self.name())
    }

    /// Whether any namespace has a directory.
    pub(crate) fn has_others(&self) -> bool {
        let entries = fs::read_dir(self.all());
        let cookie = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| Self::cookie_of(name).is_some());
        entries.is_ok_and(|entries| entries.flatten().any(|entry| cookie(&entry.file_name())))
    }

    /// Makes the directory of all namespaces.
    pub(crate) fn make_all(&self) -> Result<()> {
        match fs::create_dir(self.all()) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e).doing(|| format!("make {BPFFS}/{OURS}")),
            _ => Ok(()),
        }
    }
}

/// Holds off other commits until dropped.
#[derive(Debug)]
pub(crate) struct DirLock(File);

impl DirLock {
    /// Waits for the lock of a directory.
    pub(crate) fn exclusive(dir: &Path) -> io::Result<Self> {
        let file = File::open(dir)?;
        file.lock()?;
        Ok(Self(file))
    }

    /// As [`Self::exclusive`], shared.
    pub(crate) fn shared(dir: &Path) -> io::Result<Self> {
        let file = File::open(dir)?;
        file.lock_shared()?;
        Ok(Self(file))
    }

    /// The lock if nobody holds it.
    pub(crate) fn try_exclusive(dir: &Path) -> io::Result<Option<Self>> {
        let file = File::open(dir)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(e)) => Err(e),
        }
    }

    /// Whether the directory that is locked is the one that has this path now.
    pub(crate) fn is_at(&self, dir: &Path) -> bool {
        let inode = |found: io::Result<fs::Metadata>| found.map(|found| (found.dev(), found.ino())).ok();
        inode(fs::metadata(dir)).is_some_and(|there| inode(self.0.metadata()) == Some(there))
    }
}

/// Removes a directory of pins and its directories.
pub(crate) fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Removes what is in a directory of pins, and leaves the directory.
pub(crate) fn empty_dir(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { remove_tree(&entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}

fn open_path(path: &str) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC).open(path)
}

/// In the mount namespace that the calling thread is in.
fn open_root(mount: bool) -> Result<Option<File>> {
    let no_bpffs = |source: io::Error| match source.kind() {
        io::ErrorKind::PermissionDenied => {
            EngineError::Permission { what: format!("mount a BPF file system at {BPFFS}") }
        }
        _ => EngineError::NoBpffs { source },
    };
    let root = match open_path(BPFFS) {
        Ok(root) => root,
        Err(e) if e.kind() == io::ErrorKind::NotFound && !mount => return Ok(None),
        Err(e) => return Err(no_bpffs(e)),
    };
    if ns::is_bpffs(&root).doing(|| format!("examine {BPFFS}"))? {
        return Ok(Some(root));
    }
    if !mount {
        return Ok(None);
    }
    ns::mount_bpffs(c"/sys/fs/bpf").map_err(no_bpffs)?;
    let root = open_path(BPFFS).map_err(no_bpffs)?;
    match ns::is_bpffs(&root) {
        Ok(true) => Ok(Some(root)),
        Ok(false) => Err(no_bpffs(io::Error::other("mounted, but not seen"))),
        Err(e) => Err(no_bpffs(e)),
    }
}

/// The mount namespace that all commands of this machine share, if the calling thread is in another one: that of process 1, or,
/// where it may not be looked at, that of the oldest ancestor that may.
fn base_mount_namespace() -> Option<File> {
    let ours = fs::metadata("/proc/thread-self/ns/mnt").ok()?;
    let mut candidates = vec![1];
    candidates.extend(ancestors().into_iter().rev());
    let namespace = candidates.into_iter().find_map(|pid| File::open(format!("/proc/{pid}/ns/mnt")).ok())?;
    let theirs = namespace.metadata().ok()?;
    ((theirs.dev(), theirs.ino()) != (ours.dev(), ours.ino())).then_some(namespace)
}

/// Processes above this one, the parent first.
fn ancestors() -> Vec<u32> {
    let parent = |pid: &str| -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok().filter(|p| *p > 0)
    };
    let mut found = Vec::new();
    let mut next = parent("self");
    while let Some(pid) = next.filter(|_| found.len() < 256) {
        found.push(pid);
        next = parent(&pid.to_string());
    }
    found
}
