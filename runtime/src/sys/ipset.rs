//! The sets of ipset, by the socket options that legacy asks.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `SO_IP_SET`, of the level `SOL_IP`.
const SO_IP_SET: libc::c_int = 83;
/// `IP_SET_OP_VERSION`.
const OP_VERSION: u32 = 0x100;
/// `IP_SET_OP_GET_FNAME`.
const OP_GET_FAMILY: u32 = 8;
/// `IPSET_INVALID_ID`: there is no such set.
const INVALID_ID: u16 = u16::MAX;
/// `IPSET_MAXNAMELEN`, with its zero.
const NAME_LEN: usize = 32;

/// `struct ip_set_req_get_set_family`, as words: what is asked, the protocol's version, the family, and the name (or the index).
const WORDS: usize = 3 + NAME_LEN / 4;

/// What the kernel says of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is one.
    Set {
        /// `NFPROTO_*`.
        family: u32,
        /// What the kernel calls it by.
        index: u16,
    },
    /// There is none.
    Missing,
}

/// Why it says nothing.
#[derive(Debug)]
pub enum Unanswered {
    /// The socket cannot be had.
    Socket(io::Error),
    /// The kernel does not know the option.
    Version(io::Error),
    /// The question failed.
    Question(io::Error),
}

fn ask(socket: BorrowedFd<'_>, request: &mut [u32]) -> io::Result<()> {
    let mut len = libc::socklen_t::try_from(size_of_val(request)).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "getsockopt(2) has no safe wrapper for this option")]
    // SAFETY: the kernel reads and writes at most `len` bytes of `request`, which is as long.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_IP, SO_IP_SET, request.as_mut_ptr().cast(), &raw mut len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn raw_socket() -> io::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "socket(2) has no safe wrapper for raw sockets")]
    // SAFETY: takes numbers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    #[expect(unsafe_code, reason = "the descriptor was just made")]
    // SAFETY: nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Looks a set up by its name, of which 31 bytes count, in the calling thread's network namespace.
///
/// # Errors
/// [`Unanswered`] says how far it came.
pub fn find(name: &str) -> Result<Found, Unanswered> {
    use std::os::fd::AsFd;
    let socket = raw_socket().map_err(Unanswered::Socket)?;
    let mut version = [OP_VERSION, 0];
    ask(socket.as_fd(), &mut version).map_err(Unanswered::Version)?;
    let mut request = [0_u32; WORDS];
    (request[0], request[1]) = (OP_GET_FAMILY, version[1]);
    let mut bytes = [0_u8; NAME_LEN];
    let length = name.len().min(NAME_LEN - 1);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    for (word, four) in request[3..].iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes([four[0], four[1], four[2], four[3]]);
    }
    ask(socket.as_fd(), &mut request).map_err(Unanswered::Question)?;
    let index = request[3].to_ne_bytes();
    let index = u16::from_ne_bytes([index[0], index[1]]);
    Ok(if index == INVALID_ID { Found::Missing } else { Found::Set { family: request[2], index } })
}
