//! The in-kernel programs of bpftables: the bytes of the object that clang made from `c/`.
//!
//! The programs are fixed; a rule change never compiles, loads or verifies one. Their layouts mirror `bpftables_abi`; the test
//! `layout` reads the object's BTF and fails on any size or offset that differs.

/// Aligns the object's bytes as ELF readers want them.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static ALIGNED4: &Aligned<[u8]> = &Aligned(*include_bytes!(env!("BPFTABLES_OBJECT4")));
static ALIGNED6: &Aligned<[u8]> = &Aligned(*include_bytes!(env!("BPFTABLES_OBJECT6")));

/// The programs of one address family.
#[derive(Clone, Copy, Debug)]
pub struct Object {
    /// The object file (ELF, BPF target, little endian), aligned to 8 bytes.
    pub bytes: &'static [u8],
    /// A hash of `bytes` and [`GUARD_OBJECT`], 16 hex digits: tells whether pinned programs are these.
    pub hash: &'static str,
    /// An object of nothing but the types of `c/abi.h`, for the test of layouts.
    #[doc(hidden)]
    pub layouts: &'static [u8],
}

static GUARD_ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!(env!("BPFTABLES_GUARD_OBJECT")));

/// The object file of the guard, likewise aligned.
pub static GUARD_OBJECT: &[u8] = &GUARD_ALIGNED.0;

/// The programs of IPv4.
pub static OBJECT4: Object = Object {
    bytes: &ALIGNED4.0,
    hash: env!("BPFTABLES_OBJECT_HASH4"),
    layouts: include_bytes!(env!("BPFTABLES_LAYOUT_OBJECT4")),
};

/// The programs of IPv6.
pub static OBJECT6: Object = Object {
    bytes: &ALIGNED6.0,
    hash: env!("BPFTABLES_OBJECT_HASH6"),
    layouts: include_bytes!(env!("BPFTABLES_LAYOUT_OBJECT6")),
};

/// The layouts' version that the object was built for.
pub const ABI_VERSION: u32 = bpftables_abi::ABI_VERSION;

#[cfg(test)]
mod tests {
    use super::{OBJECT4, OBJECT6};

    #[test]
    fn the_objects_are_aligned_bpf_elf_files() {
        for object in [&OBJECT4, &OBJECT6] {
            assert_eq!(object.bytes.as_ptr().addr() % 8, 0);
            assert_eq!(&object.bytes[..4], b"\x7fELF");
            // e_machine: EM_BPF
            assert_eq!(u16::from_le_bytes([object.bytes[18], object.bytes[19]]), 247);
            assert_eq!(object.hash.len(), 16);
        }
        assert_ne!(OBJECT4.hash, OBJECT6.hash);
    }
}
