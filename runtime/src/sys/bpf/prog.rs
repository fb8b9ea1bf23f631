//! Programs.

use super::{Cmd, IdAttr, bpf, bpf_fd, object::object_info, pointer, raw};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The beginning of `struct bpf_prog_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProgInfo {
    /// `enum bpf_prog_type`.
    pub prog_type: u32,
    /// Number of the program.
    pub id: u32,
    /// A hash of its instructions.
    pub tag: [u8; 8],
    lens: [u32; 2],
    insns: [u64; 2],
    load_time: u64,
    uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    /// NUL padded; cut to 15 bytes.
    pub name: [u8; 16],
}

/// The name of a program by its number, as the kernel keeps it: at most 15 bytes.
///
/// # Errors
/// ENOENT when it is gone.
pub fn prog_name(id: u32) -> io::Result<String> {
    let program = bpf_fd(Cmd::ProgGetFdById, &mut IdAttr { id, next_id: 0, open_flags: 0 })?;
    let name = prog_info(program.as_fd())?.name;
    let len = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    Ok(String::from_utf8_lossy(&name[..len]).into_owned())
}
/// What the kernel says of a program.
///
/// # Errors
/// What the kernel says.
pub fn prog_info(fd: BorrowedFd<'_>) -> io::Result<ProgInfo> {
    object_info(fd)
}

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct TestRunAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// What a test run gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// What the program returned.
    pub retval: i32,
    /// The packet afterwards.
    pub data: Vec<u8>,
    /// Nanoseconds of one run, on average.
    pub duration: u32,
}

/// Runs a classifier on a packet without any device sending it. `ctx`: a `struct __sk_buff` whose writable fields are taken, and
/// which holds them afterwards; may be empty.
///
/// # Errors
/// What the kernel says; ENOSPC when the packet grew beyond its size and 512 bytes.
pub fn test_run(prog: BorrowedFd<'_>, data: &[u8], ctx: &mut [u8], repeat: u32) -> io::Result<TestRun> {
    let mut out = vec![0_u8; data.len() + 512];
    let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let context = if ctx.is_empty() { 0 } else { ctx.as_mut_ptr().expose_provenance() as u64 };
    let mut attr = TestRunAttr {
        prog_fd: raw(prog),
        retval: 0,
        data_size_in: size(data.len()),
        data_size_out: size(out.len()),
        data_in: pointer(data.as_ptr()),
        data_out: out.as_mut_ptr().expose_provenance() as u64,
        repeat,
        duration: 0,
        ctx_size_in: size(ctx.len()),
        ctx_size_out: size(ctx.len()),
        ctx_in: context,
        ctx_out: context,
        flags: 0,
        cpu: 0,
        batch_size: 0,
        pad: 0,
    };
    bpf(Cmd::ProgTestRun, &mut attr)?;
    out.truncate(attr.data_size_out as usize);
    Ok(TestRun { retval: attr.retval.cast_signed(), data: out, duration: attr.duration })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_laid_out_as_the_kernels() {
        assert_eq!(std::mem::offset_of!(ProgInfo, name), 64);
        assert_eq!(std::mem::offset_of!(TestRunAttr, repeat), 32);
        assert_eq!(std::mem::offset_of!(TestRunAttr, ctx_in), 48);
    }
}
