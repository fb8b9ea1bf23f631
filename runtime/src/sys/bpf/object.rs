//! Pins, and what the kernel says of an object.

use super::{Cmd, bpf, bpf_fd, pointer, raw};
use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use zerocopy::{FromBytes, IntoBytes};

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct ObjAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Pins an object; the path's directory is on a BPF file system.
///
/// # Errors
/// EEXIST, EPERM, ENOENT as the file system says.
pub fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    bpf(Cmd::ObjPin, &mut ObjAttr { pathname: pointer(path.as_ptr()), bpf_fd: raw(fd), file_flags: 0 }).map(drop)
}

/// Opens a pinned object.
///
/// # Errors
/// ENOENT, EPERM as the file system says.
pub fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    bpf_fd(Cmd::ObjGet, &mut ObjAttr { pathname: pointer(path.as_ptr()), bpf_fd: 0, file_flags: 0 })
}

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

pub(super) fn object_info<T: FromBytes + IntoBytes>(fd: BorrowedFd<'_>) -> io::Result<T> {
    let mut info = T::new_zeroed();
    let bytes = info.as_mut_bytes();
    let mut attr = InfoAttr {
        bpf_fd: raw(fd),
        info_len: u32::try_from(bytes.len()).unwrap_or(0),
        info: bytes.as_mut_ptr().expose_provenance() as u64,
    };
    bpf(Cmd::ObjGetInfoByFd, &mut attr)?;
    Ok(info)
}
