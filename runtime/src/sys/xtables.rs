//! Legacy's tables in the kernel, by the socket options that its commands ask.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `IPT_SO_GET_INFO` and `IP6T_SO_GET_INFO`.
const GET_INFO: libc::c_int = 64;
/// `struct ipt_getinfo`, as words: the name, the hooks that are valid, two times five offsets, entries, bytes.
const WORDS: usize = 8 + 1 + 10 + 2;
/// Where the hooks and the number of entries are.
const HOOKS: usize = 8;
const ENTRIES: usize = 19;

/// Whether a table, which the kernel has in this network namespace, holds more than its chains' policies.
///
/// # Errors
/// What the kernel says.
pub fn has_rules(ipv6: bool, table: &str) -> io::Result<bool> {
    let (domain, level) = if ipv6 { (libc::AF_INET6, libc::IPPROTO_IPV6) } else { (libc::AF_INET, libc::IPPROTO_IP) };
    #[expect(unsafe_code, reason = "socket(2) has no safe wrapper for raw sockets")]
    // SAFETY: takes numbers.
    let fd = unsafe { libc::socket(domain, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    #[expect(unsafe_code, reason = "the descriptor was just made")]
    // SAFETY: nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut info = [0_u32; WORDS];
    for (word, bytes) in info.iter_mut().zip(table.as_bytes().chunks(4).take(HOOKS - 1)) {
        let mut whole = [0; 4];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u32::from_ne_bytes(whole);
    }
    let mut len = size_of_val(&info) as libc::socklen_t;
    #[expect(unsafe_code, reason = "getsockopt(2) has no safe wrapper for this option")]
    // SAFETY: the kernel reads and writes at most `len` bytes of `info`, which is as long.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, GET_INFO, info.as_mut_ptr().cast(), &raw mut len) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // One entry for each policy, and one that ends the table.
    Ok(info[ENTRIES] > info[HOOKS].count_ones() + 1)
}
