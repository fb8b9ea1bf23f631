//! `bpf(2)`: the commands that aya lacks or wraps too closely for maps and links found by number.
//!
//! Attributes are `repr(C)` structs of this module, laid out as the anonymous structs of the kernel's `union bpf_attr`; the
//! kernel takes any prefix of the union and reads the rest as zero.

mod link;
mod map;
pub mod nf;
mod object;
mod prog;

pub use link::{
    LINK_TYPE_TCX, TCX_EGRESS, TCX_INGRESS, TcxLinkInfo, attach_tcx_first, detach_link, link_info, query_tcx,
    runs_at_tcx, update_link,
};
pub use map::{
    F_INNER_MAP, F_MMAPABLE, MAP_TYPE_ARRAY, Map, MapInfo, add_per_cpu_u64, create_array, create_hash, map_by_id,
    map_info, possible_cpus, read_per_cpu_u64,
};
pub use object::{open_pinned, pin};
pub use prog::{ProgInfo, TestRun, prog_info, prog_name, test_run};

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use zerocopy::{FromBytes, IntoBytes};

/// Commands, numbered as `enum bpf_cmd`.
#[derive(Clone, Copy)]
#[repr(i32)]
enum Cmd {
    MapCreate = 0,
    MapLookupElem = 1,
    MapUpdateElem = 2,
    MapDeleteElem = 3,
    MapGetNextKey = 4,
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    ProgTestRun = 10,
    ProgGetFdById = 13,
    MapGetFdById = 14,
    ObjGetInfoByFd = 15,
    ProgQuery = 16,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkDetach = 34,
}

fn bpf<T: IntoBytes + FromBytes>(cmd: Cmd, attr: &mut T) -> io::Result<i32> {
    let bytes = attr.as_mut_bytes();
    #[expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]
    // SAFETY: the kernel reads and writes `bytes.len()` bytes at `bytes`, which are ours; every attribute that holds a pointer is
    // built in this module from a slice or reference that outlives the call and is as long as the command's sizes say.
    let result = unsafe { libc::syscall(libc::SYS_bpf, cmd as libc::c_long, bytes.as_mut_ptr(), bytes.len()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(result).unwrap_or(i32::MAX)) }
}

fn bpf_fd<T: IntoBytes + FromBytes>(cmd: Cmd, attr: &mut T) -> io::Result<OwnedFd> {
    let fd = bpf(cmd, attr)?;
    #[expect(unsafe_code, reason = "the kernel hands out a raw descriptor")]
    // SAFETY: these commands return a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn pointer<T>(value: *const T) -> u64 {
    value.expose_provenance() as u64
}
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}
