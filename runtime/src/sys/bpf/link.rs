//! tcx links: programs at devices.

use super::{Cmd, IdAttr, bpf, bpf_fd, object::object_info, prog::prog_name, raw};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `BPF_F_BEFORE`.
const F_BEFORE: u32 = 1 << 3;
/// `BPF_TCX_INGRESS`.
pub const TCX_INGRESS: u32 = 46;
/// `BPF_TCX_EGRESS`.
pub const TCX_EGRESS: u32 = 47;
/// What the kernel says of a tcx link (`struct bpf_link_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TcxLinkInfo {
    /// 11: tcx.
    pub link_type: u32,
    /// Number of the link.
    pub id: u32,
    /// Number of its program.
    pub prog_id: u32,
    pad: u32,
    /// The device; 0 when it is gone.
    pub ifindex: u32,
    /// [`TCX_INGRESS`] or [`TCX_EGRESS`].
    pub attach_type: u32,
}

/// `BPF_LINK_TYPE_TCX`.
pub const LINK_TYPE_TCX: u32 = 11;

/// What the kernel says of a link.
///
/// # Errors
/// What the kernel says.
pub fn link_info(fd: BorrowedFd<'_>) -> io::Result<TcxLinkInfo> {
    object_info(fd)
}

/// The beginning of `struct bpf_prog_info`.
/// Whether a program of that name is at a device's tcx hook.
///
/// # Errors
/// As [`query_tcx`].
pub fn runs_at_tcx(ifindex: u32, attach_type: u32, name: &str) -> io::Result<bool> {
    let ids = query_tcx(ifindex, attach_type)?;
    // Programs that go meanwhile are none of ours any more.
    Ok(ids.into_iter().any(|id| prog_name(id).is_ok_and(|found| found == name[..name.len().min(15)])))
}

/// What the kernel says of a program.
///
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct LinkCreateAttr {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative_fd: u32,
    pad: u32,
    expected_revision: u64,
}

/// Attaches a classifier to a device of the current network namespace, before all others that are there.
///
/// # Errors
/// ENODEV when the device is gone, EINVAL on a kernel without tcx (before 6.6).
pub fn attach_tcx_first(prog: BorrowedFd<'_>, ifindex: u32, attach_type: u32) -> io::Result<OwnedFd> {
    bpf_fd(
        Cmd::LinkCreate,
        &mut LinkCreateAttr {
            prog_fd: raw(prog),
            target_ifindex: ifindex,
            attach_type,
            flags: F_BEFORE,
            relative_fd: 0,
            pad: 0,
            expected_revision: 0,
        },
    )
}

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct LinkUpdateAttr {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// Puts another program in a link, at once for the next packet.
///
/// # Errors
/// What the kernel says; ENOLINK when the device is gone.
pub fn update_link(link: BorrowedFd<'_>, prog: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdateAttr { link_fd: raw(link), new_prog_fd: raw(prog), flags: 0, old_prog_fd: 0 };
    bpf(Cmd::LinkUpdate, &mut attr).map(drop)
}

/// Takes a link off its device, at once: unpinning alone detaches some time later. Fine if its device is gone.
///
/// # Errors
/// What the kernel says.
pub fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    match bpf(Cmd::LinkDetach, &mut IdAttr { id: raw(link), next_id: 0, open_flags: 0 }) {
        Err(e) if e.raw_os_error() != Some(libc::ENOLINK) => Err(e),
        _ => Ok(()),
    }
}

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct QueryAttr {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// Numbers of the programs at a device's tcx hook, in the order in which they run.
///
/// # Errors
/// ENODEV when the device is gone, EINVAL on a kernel without tcx.
pub fn query_tcx(ifindex: u32, attach_type: u32) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; 64];
    let mut attr = QueryAttr {
        target_ifindex: ifindex,
        attach_type,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr().expose_provenance() as u64,
        prog_cnt: 64,
        pad: 0,
        prog_attach_flags: 0,
        link_ids: 0,
        link_attach_flags: 0,
        revision: 0,
    };
    match bpf(Cmd::ProgQuery, &mut attr) {
        Ok(_) => {}
        // Nothing was ever attached there.
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    }
    ids.truncate(attr.prog_cnt as usize);
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_laid_out_as_the_kernels() {
        assert_eq!(std::mem::offset_of!(LinkCreateAttr, expected_revision), 24);
        assert_eq!(std::mem::offset_of!(QueryAttr, prog_attach_flags), 32);
    }
}
