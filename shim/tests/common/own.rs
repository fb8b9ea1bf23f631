//! Files of one test's own.

use bpftables_runtime::sys::ns;
use std::path::{Path, PathBuf};

/// A file of the calling thread's network namespace, below what cargo builds.
pub(crate) fn temporary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{:x}", ns::netns_cookie().unwrap()))
}
