//! Namespaces and mounts.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// `BPF_FS_MAGIC`.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// `SO_NETNS_COOKIE`.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The cookie of the calling thread's network namespace: unique until the next boot.
///
/// # Errors
/// What the kernel says: ENOPROTOOPT before 5.14.
pub fn netns_cookie() -> io::Result<u64> {
    // Any socket knows; a Unix one needs no device and no right.
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    let mut cookie = 0_u64;
    let mut len: libc::socklen_t = 8;
    #[expect(unsafe_code, reason = "getsockopt(2) has no safe wrapper for this option")]
    // SAFETY: the kernel writes at most `len` = 8 bytes to `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut len,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// Gives the calling thread its own file system context, so that it may enter another mount namespace alone.
///
/// # Errors
/// What unshare(2) says.
pub fn unshare_fs() -> io::Result<()> {
    #[expect(unsafe_code, reason = "unshare(2) has no safe wrapper")]
    // SAFETY: takes a number.
    let result = unsafe { libc::unshare(libc::CLONE_FS) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Moves the calling thread to a mount namespace.
///
/// # Errors
/// What setns(2) says: EPERM without CAP_SYS_ADMIN and CAP_SYS_CHROOT.
pub fn enter_mount_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    set_namespace(namespace, libc::CLONE_NEWNS)
}

/// Moves the calling thread to a network namespace.
///
/// # Errors
/// What setns(2) says.
pub fn enter_network_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    set_namespace(namespace, libc::CLONE_NEWNET)
}

fn set_namespace(namespace: BorrowedFd<'_>, kind: libc::c_int) -> io::Result<()> {
    #[expect(unsafe_code, reason = "setns(2) has no safe wrapper")]
    // SAFETY: takes numbers; memory is not touched.
    let result = unsafe { libc::setns(namespace.as_raw_fd(), kind) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Moves the calling thread to a new network namespace of its own.
///
/// # Errors
/// What unshare(2) says.
pub fn unshare_network() -> io::Result<()> {
    #[expect(unsafe_code, reason = "unshare(2) has no safe wrapper")]
    // SAFETY: takes a number.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether a directory lies on a BPF file system.
///
/// # Errors
/// What fstatfs(2) says.
pub fn is_bpffs(directory: &File) -> io::Result<bool> {
    let mut stat = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    #[expect(unsafe_code, reason = "fstatfs(2) has no safe wrapper")]
    // SAFETY: the kernel fills the whole struct.
    let result = unsafe { libc::fstatfs(directory.as_fd().as_raw_fd(), stat.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    #[expect(unsafe_code, reason = "filled by the kernel")]
    // SAFETY: zeroed before and filled by fstatfs.
    let stat = unsafe { stat.assume_init() };
    // The type of both differs between C libraries.
    Ok(i128::from(stat.f_type) == i128::from(BPF_FS_MAGIC))
}

/// Mounts a BPF file system.
///
/// # Errors
/// What mount(2) says: EPERM without CAP_SYS_ADMIN, ENODEV on a kernel without BPF.
pub fn mount_bpffs(target: &CStr) -> io::Result<()> {
    #[expect(unsafe_code, reason = "mount(2) has no safe wrapper")]
    // SAFETY: all strings are NUL terminated and outlive the call.
    let result = unsafe {
        libc::mount(
            c"bpf".as_ptr(),
            target.as_ptr(),
            c"bpf".as_ptr(),
            libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
            c"mode=0700".as_ptr().cast(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// CLOCK_MONOTONIC in nanoseconds, exact to a tick: the clock of connections.
///
/// # Errors
/// What clock_gettime(2) says.
pub fn monotonic_ns() -> io::Result<u64> {
    super::clock::nanoseconds(libc::CLOCK_MONOTONIC_COARSE)
}

/// Whether the calling thread has `CAP_NET_ADMIN`; yes, where /proc does not tell.
#[must_use]
pub fn may_administer_the_network() -> bool {
    const NET_ADMIN: u32 = 12;
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    effective.is_none_or(|bits| bits >> NET_ADMIN & 1 == 1)
}

/// The process's effective user.
#[must_use]
pub fn effective_uid() -> u32 {
    #[expect(unsafe_code, reason = "geteuid(2) has no safe wrapper")]
    // SAFETY: takes nothing, always succeeds.
    unsafe {
        libc::geteuid()
    }
}

/// A capability's name and number.
pub type Capability = (&'static str, u32);
/// Without these nothing can be attached anywhere: the others that programs need are a part of CAP_SYS_ADMIN.
pub const NEEDED: [Capability; 2] = [("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21)];
/// What is needed besides: other users' files and processes, sets and legacy's tables, the mount namespace of process 1.
pub const NEEDED_AT_TIMES: [Capability; 5] = [
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_DAC_READ_SEARCH", 2),
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_CHROOT", 18),
    ("CAP_SYS_PTRACE", 19),
];

/// Which of these capabilities this process does not have.
///
/// # Errors
/// There is no `/proc`.
pub fn missing_capabilities(of: &[Capability]) -> io::Result<Vec<&'static str>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = field.and_then(|field| u64::from_str_radix(field.trim(), 16).ok());
    let held = held.ok_or_else(|| io::Error::other("/proc/self/status has no CapEff"))?;
    Ok(of.iter().filter(|(_, number)| held & 1 << number == 0).map(|(name, _)| *name).collect())
}
