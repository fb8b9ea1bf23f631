//! Programs of kinds that aya does not load, and links that are no device's.

use super::object::object_info;
use super::{Cmd, bpf, bpf_fd, pointer, raw};
use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `BPF_PROG_TYPE_TRACING`.
pub const PROG_TYPE_TRACING: u32 = 26;
/// `BPF_PROG_TYPE_NETFILTER`.
pub const PROG_TYPE_NETFILTER: u32 = 32;
/// `BPF_TRACE_ITER`.
pub const TRACE_ITER: u32 = 28;
/// `BPF_NETFILTER`.
pub const NETFILTER: u32 = 45;
/// `BPF_LINK_TYPE_NETFILTER`.
pub const LINK_TYPE_NETFILTER: u32 = 10;
/// Bytes of the verifier's words that are kept.
const LOG: usize = 1 << 16;

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct ProgLoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
}

/// A program that is to be loaded.
#[derive(Debug)]
pub struct Load<'a> {
    /// Cut to 15 bytes.
    pub name: &'a str,
    /// `enum bpf_prog_type`.
    pub prog_type: u32,
    /// `enum bpf_attach_type`.
    pub attach_type: u32,
    /// For programs of tracing: the function's number in the kernel's BTF.
    pub btf_id: u32,
    /// Its instructions, relocated.
    pub instructions: &'a [u64],
}

/// Loads a program under the GPL.
///
/// # Errors
/// What the kernel says; its text is the end of the verifier's log where there is one.
pub fn load(program: &Load<'_>) -> io::Result<OwnedFd> {
    let license = CString::new("GPL")?;
    let mut name = [0; 16];
    let n = program.name.len().min(15);
    name[..n].copy_from_slice(&program.name.as_bytes()[..n]);
    let count = u32::try_from(program.instructions.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "too many instructions"))?;
    let attempt = |log: &mut [u8]| {
        let mut attr = ProgLoadAttr {
            prog_type: program.prog_type,
            insn_cnt: count,
            insns: pointer(program.instructions.as_ptr()),
            license: pointer(license.as_ptr()),
            log_level: u32::from(!log.is_empty()),
            log_size: u32::try_from(log.len()).unwrap_or(0),
            log_buf: if log.is_empty() { 0 } else { log.as_mut_ptr().expose_provenance() as u64 },
            kern_version: 0,
            prog_flags: 0,
            prog_name: name,
            prog_ifindex: 0,
            expected_attach_type: program.attach_type,
            prog_btf_fd: 0,
            func_info_rec_size: 0,
            func_info: 0,
            func_info_cnt: 0,
            line_info_rec_size: 0,
            line_info: 0,
            line_info_cnt: 0,
            attach_btf_id: program.btf_id,
        };
        bpf_fd(Cmd::ProgLoad, &mut attr)
    };
    attempt(&mut []).or_else(|_| {
        let mut log = vec![0; LOG];
        attempt(&mut log).map_err(|error| {
            let text = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = text.trim_end_matches('\0').lines().filter(|line| !line.is_empty()).collect();
            let tail = lines[lines.len().saturating_sub(8)..].join(" / ");
            // The verifier says EACCES too.
            if tail.is_empty() { error } else { io::Error::other(format!("{error}: {tail}")) }
        })
    })
}

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct NetfilterLinkAttr {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    pf: u32,
    hooknum: u32,
    priority: i32,
    netfilter_flags: u32,
}

/// Attaches a program to a hook of netfilter in the calling thread's network namespace. The link holds that namespace.
///
/// # Errors
/// EBUSY when a program is there at the same priority, EINVAL on a kernel without such links (before 6.4).
pub fn attach_netfilter(prog: BorrowedFd<'_>, pf: u32, hooknum: u32, priority: i32) -> io::Result<OwnedFd> {
    bpf_fd(
        Cmd::LinkCreate,
        &mut NetfilterLinkAttr {
            prog_fd: raw(prog),
            target_fd: 0,
            attach_type: NETFILTER,
            flags: 0,
            pf,
            hooknum,
            priority,
            netfilter_flags: 0,
        },
    )
}

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct IterLinkAttr {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    iter_info: u64,
    iter_info_len: u32,
    pad: u32,
}

/// Makes a link of an iterator's program. Pinned, it is a file whose every reading runs the iterator.
///
/// # Errors
/// What the kernel says.
pub fn attach_iterator(prog: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    bpf_fd(
        Cmd::LinkCreate,
        &mut IterLinkAttr {
            prog_fd: raw(prog),
            target_fd: 0,
            attach_type: TRACE_ITER,
            flags: 0,
            iter_info: 0,
            iter_info_len: 0,
            pad: 0,
        },
    )
}

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct QueryLinksAttr {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// What is at a device's tcx hook, in the order in which it runs: numbers of program and link (0: no link).
///
/// # Errors
/// ENODEV when the device is gone, EINVAL on a kernel without tcx.
pub fn query_tcx_links(ifindex: u32, attach_type: u32) -> io::Result<Vec<(u32, u32)>> {
    let (mut programs, mut links) = ([0_u32; 64], [0_u32; 64]);
    let mut attr = QueryLinksAttr {
        target_ifindex: ifindex,
        attach_type,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: programs.as_mut_ptr().expose_provenance() as u64,
        count: 64,
        pad: 0,
        prog_attach_flags: 0,
        link_ids: links.as_mut_ptr().expose_provenance() as u64,
        link_attach_flags: 0,
        revision: 0,
    };
    match bpf(Cmd::ProgQuery, &mut attr) {
        Ok(_) => {}
        // Nothing was ever attached there.
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    }
    Ok(programs.into_iter().zip(links).take(attr.count as usize).collect())
}

/// What the kernel says of a link of a hook of netfilter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NetfilterLinkInfo {
    /// 10: netfilter.
    pub link_type: u32,
    /// Number of the link.
    pub id: u32,
    /// Number of its program.
    pub prog_id: u32,
    pad: u32,
    /// `NFPROTO_*`.
    pub pf: u32,
    /// `NF_INET_*`.
    pub hooknum: u32,
    /// When it runs.
    pub priority: i32,
    flags: u32,
}

/// What the kernel says of a link of netfilter.
///
/// # Errors
/// What the kernel says.
pub fn netfilter_link_info(fd: BorrowedFd<'_>) -> io::Result<NetfilterLinkInfo> {
    object_info(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_laid_out_as_the_kernels() {
        assert_eq!(std::mem::offset_of!(ProgLoadAttr, prog_name), 48);
        assert_eq!(std::mem::offset_of!(ProgLoadAttr, expected_attach_type), 68);
        assert_eq!(std::mem::offset_of!(ProgLoadAttr, attach_btf_id), 108);
        assert_eq!(std::mem::offset_of!(NetfilterLinkAttr, priority), 24);
        assert_eq!(std::mem::offset_of!(QueryLinksAttr, link_ids), 40);
    }

    #[test]
    fn a_program_that_the_verifier_refuses_says_why() {
        // r0 = r5; exit, where r5 holds nothing.
        let refused = Load {
            name: "bt_refused",
            prog_type: PROG_TYPE_NETFILTER,
            attach_type: NETFILTER,
            btf_id: 0,
            instructions: &[0x50bf, 0x95],
        };
        let error = load(&refused).unwrap_err().to_string();
        assert!(error.contains("R5 !read_ok"), "{error}");
    }
}
