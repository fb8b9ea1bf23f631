//! The hierarchy of control groups (version 2), as the calling process's namespace of control groups begins it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;

/// `FSCONFIG_CMD_CREATE`.
const CREATE: libc::c_uint = 6;

/// The hierarchy, mounted nowhere: whatever the process sees mounted, its own part of it is here.
#[derive(Debug)]
pub struct Hierarchy(File);

impl Hierarchy {
    /// Mounts it.
    ///
    /// # Errors
    /// What fsopen(2), fsconfig(2) and fsmount(2) say.
    pub fn open() -> io::Result<Self> {
        #[expect(unsafe_code, reason = "fsopen(2) has no safe wrapper")]
        // SAFETY: the string is NUL terminated and outlives the call.
        let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, c"cgroup2".as_ptr(), 1) })?;
        let nothing = std::ptr::null::<libc::c_char>();
        #[expect(unsafe_code, reason = "fsconfig(2) has no safe wrapper")]
        // SAFETY: this command takes neither a key nor a value.
        let made = unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), CREATE, nothing, nothing, 0) };
        if made != 0 {
            return Err(io::Error::last_os_error());
        }
        #[expect(unsafe_code, reason = "fsmount(2) has no safe wrapper")]
        // SAFETY: takes numbers.
        let mount = owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 1, 0) })?;
        Ok(Self(mount.into()))
    }

    /// The number of the group at a path, as the kernel resolves it for `-m cgroup`: by names alone.
    ///
    /// # Errors
    /// There is no such group.
    pub fn find(&self, path: &str) -> io::Result<u64> {
        let names = || path.split('/').filter(|name| !name.is_empty());
        if names().any(|name| matches!(name, "." | "..")) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let names: Vec<&str> = names().collect();
        let found = std::fs::metadata(format!("/proc/self/fd/{}/{}", self.0.as_raw_fd(), names.join("/")))?;
        if found.is_dir() { Ok(found.ino()) } else { Err(io::ErrorKind::NotADirectory.into()) }
    }
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(result) {
        Ok(fd) if fd >= 0 => {
            #[expect(unsafe_code, reason = "the descriptor is new")]
            // SAFETY: the kernel has just given this descriptor to nobody else.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        }
        _ => Err(io::Error::last_os_error()),
    }
}
