//! Legacy's tables in the kernel, by the socket options that its commands ask.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `IPT_SO_GET_INFO` and `IP6T_SO_GET_INFO`; `IPT_SO_GET_ENTRIES` and `IP6T_SO_GET_ENTRIES`.
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;
/// `struct ipt_getinfo`, as words: the name, the hooks that are valid, two times five offsets, entries, bytes.
const WORDS: usize = 8 + 1 + 10 + 2;
/// Where the hooks are, the offsets of the chains' policies, the number of entries, and how many bytes they are.
const HOOKS: usize = 8;
const POLICIES: usize = 14;
const ENTRIES: usize = 19;
const BYTES: usize = 20;
/// Words before the entries in `struct ipt_get_entries`: the name, their bytes, padding.
const BEFORE_ENTRIES: usize = 10;
/// Bytes of `struct ipt_entry` and `struct ip6t_entry`; a policy's entry has its target right behind.
const ENTRY: [usize; 2] = [112, 168];
/// Bytes of `struct xt_entry_target`; the verdict of a policy stands behind. What it is for ACCEPT.
const TARGET: usize = 32;
const ACCEPT: u32 = (-2_i32).cast_unsigned();

/// A table of legacy's that the kernel has in this network namespace.
struct Table {
    socket: OwnedFd,
    ipv6: bool,
    info: [u32; WORDS],
}

impl Table {
    fn open(ipv6: bool, table: &str) -> io::Result<Self> {
        let domain = if ipv6 { libc::AF_INET6 } else { libc::AF_INET };
        #[expect(unsafe_code, reason = "socket(2) has no safe wrapper for raw sockets")]
        // SAFETY: takes numbers.
        let fd = unsafe { libc::socket(domain, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        #[expect(unsafe_code, reason = "the descriptor was just made")]
        // SAFETY: nobody else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut found = Self { socket, ipv6, info: [0; WORDS] };
        for (word, bytes) in found.info.iter_mut().zip(table.as_bytes().chunks(4).take(HOOKS - 1)) {
            let mut whole = [0; 4];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u32::from_ne_bytes(whole);
        }
        let mut info = found.info;
        found.ask(GET_INFO, &mut info)?;
        found.info = info;
        Ok(found)
    }

    fn ask(&self, option: libc::c_int, words: &mut [u32]) -> io::Result<()> {
        let level = if self.ipv6 { libc::IPPROTO_IPV6 } else { libc::IPPROTO_IP };
        let mut len = size_of_val(words) as libc::socklen_t;
        #[expect(unsafe_code, reason = "getsockopt(2) has no safe wrapper for this option")]
        // SAFETY: the kernel reads and writes at most `len` bytes of `words`, which is as long.
        let result = unsafe {
            libc::getsockopt(self.socket.as_raw_fd(), level, option, words.as_mut_ptr().cast(), &raw mut len)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// One entry for each policy, and one that ends the table, are no rules.
    const fn has_rules(&self) -> bool {
        self.info[ENTRIES] > self.info[HOOKS].count_ones() + 1
    }

    /// The verdicts of the chains' policies.
    fn policies(&self) -> io::Result<Vec<u32>> {
        let mut words = vec![0; BEFORE_ENTRIES + self.info[BYTES] as usize / 4];
        words[..HOOKS].copy_from_slice(&self.info[..HOOKS]);
        words[HOOKS] = self.info[BYTES];
        self.ask(GET_ENTRIES, &mut words)?;
        let valid = (0..5).filter(|hook| self.info[HOOKS] & 1 << hook != 0);
        let verdict = |hook: usize| {
            let at = self.info[POLICIES + hook] as usize + ENTRY[usize::from(self.ipv6)] + TARGET;
            words.get(BEFORE_ENTRIES + at / 4).copied().unwrap_or_default()
        };
        Ok(valid.map(verdict).collect())
    }
}

/// Whether a table, which the kernel has in this network namespace, holds more than its chains' policies.
///
/// # Errors
/// What the kernel says.
pub fn has_rules(ipv6: bool, table: &str) -> io::Result<bool> {
    Ok(Table::open(ipv6, table)?.has_rules())
}

/// Whether such a table may do something to packets: it has a rule, or a policy other than ACCEPT.
///
/// # Errors
/// What the kernel says.
pub fn is_in_force(ipv6: bool, table: &str) -> io::Result<bool> {
    let table = Table::open(ipv6, table)?;
    Ok(table.has_rules() || table.policies()?.iter().any(|verdict| *verdict != ACCEPT))
}
