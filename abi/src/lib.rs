//! The one home of everything that the kernel programs and user space share: the image's layout, map names, map values.
//!
//! Everything here is little-endian plain memory (`repr(C)`, no implicit padding) and mirrored by `ebpf/c/abi.h`; a test of the
//! `ebpf` crate reads the compiled object's BTF and fails on any size or offset that differs.
//!
//! Architecture Invariant: no other crate defines a layout, a code or a name that both sides use.

#![no_std]

pub mod conn;
pub mod event;
pub mod image;
pub mod maps;
pub mod ops;
pub mod parts;
pub mod sets;

/// The version of every layout in this crate. The runtime refuses pins of another version, and says how to go on.
pub const ABI_VERSION: u32 = 13;
