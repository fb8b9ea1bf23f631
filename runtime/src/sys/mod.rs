//! The one seam between this crate and the kernel's raw interfaces: the only `unsafe` of the crate is below here.

pub mod bpf;
pub mod cgroup;
pub mod clock;
pub mod grace;
pub mod ipset;
pub mod mmap;
pub mod ns;
pub mod wait;
pub mod xtables;
