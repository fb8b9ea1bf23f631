//! Why the kernel said that something is not permitted.

use crate::sys::ns;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// The number of the first user namespace's file (`PROC_USER_INIT_INO`).
const FIRST_USER_NAMESPACE: u64 = 0xefff_fffd;

/// Whether the calling process is in another user namespace than the first: the kernel lets nobody there load programs.
fn is_elsewhere() -> bool {
    fs::metadata("/proc/self/ns/user").is_ok_and(|file| file.ino() != FIRST_USER_NAMESPACE)
}

/// Whether the calling thread may attach and detach programs. To remove a pin, or to write to a map, the kernel asks for less.
pub(crate) fn may_attach() -> bool {
    ns::may_administer_the_network() && !is_elsewhere()
}

/// Which right the calling process may lack, for people.
#[must_use]
pub(crate) fn lacking() -> String {
    if is_elsewhere() {
        return "eBPF needs capabilities of the first user namespace, and this process is in another one".to_owned();
    }
    let missing = |of: &[ns::Capability]| ns::missing_capabilities(of).unwrap_or_default();
    match (missing(&ns::NEEDED), ns::effective_uid()) {
        (missing, 0) if !missing.is_empty() => format!("missing: {}", missing.join(", ")),
        (missing, _) if !missing.is_empty() => "expected root with CAP_NET_ADMIN and CAP_SYS_ADMIN".to_owned(),
        _ => match missing(&ns::NEEDED_AT_TIMES) {
            missing if missing.is_empty() => {
                "no capability is missing: a security module or a filter of system calls?".to_owned()
            }
            missing => format!("perhaps for want of {}", missing.join(", ")),
        },
    }
}
