//! The in-kernel programs of bpftables: the bytes of the object that clang made from `c/`.
//!
//! The programs are fixed; a rule change never compiles, loads or verifies one. Their layouts mirror `bpftables_abi`; the test
//! `layout` reads the object's BTF and fails on any size or offset that differs.

/// Aligns the object's bytes as ELF readers want them.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!(env!("BPFTABLES_OBJECT")));

/// The object file (ELF, BPF target, little endian), aligned to 8 bytes.
pub static OBJECT: &[u8] = &ALIGNED.0;

static GUARD_ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!(env!("BPFTABLES_GUARD_OBJECT")));

/// The object file of the guard, likewise aligned.
pub static GUARD_OBJECT: &[u8] = &GUARD_ALIGNED.0;

/// An object of nothing but the types of `c/abi.h`, for the test of layouts.
#[doc(hidden)]
pub static LAYOUT_OBJECT: &[u8] = include_bytes!(env!("BPFTABLES_LAYOUT_OBJECT"));

/// A hash of [`OBJECT`] and [`GUARD_OBJECT`], 16 hex digits: tells whether pinned programs are these.
pub const OBJECT_HASH: &str = env!("BPFTABLES_OBJECT_HASH");

/// The layouts' version that the object was built for.
pub const ABI_VERSION: u32 = bpftables_abi::ABI_VERSION;

#[cfg(test)]
mod tests {
    use super::{OBJECT, OBJECT_HASH};

    #[test]
    fn the_object_is_an_aligned_bpf_elf_file() {
        assert_eq!(OBJECT.as_ptr().addr() % 8, 0);
        assert_eq!(&OBJECT[..4], b"\x7fELF");
        // e_machine: EM_BPF
        assert_eq!(u16::from_le_bytes([OBJECT[18], OBJECT[19]]), 247);
        assert_eq!(OBJECT_HASH.len(), 16);
    }
}
