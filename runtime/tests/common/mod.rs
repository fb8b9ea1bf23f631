//! A network namespace for one test.

use bpftables_runtime::{Engine, sys::ns};

/// Runs a test in a new network namespace on a thread of its own, and removes what it left. Needs root.
///
/// # Panics
/// When the test does, or when no namespace can be made.
pub(crate) fn in_namespace<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(64 << 20);
        let run = move || {
            ns::unshare_network().expect("a network namespace (needs root)");
            let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
            assert!(up.expect("ip of iproute2").success());
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
            let mut engine = Engine::open().expect("an engine");
            engine.uninstall().expect("everything removed");
            result
        };
        let result = thread.spawn_scoped(scope, run).expect("a thread").join();
        match result {
            Ok(Ok(value)) => value,
            Ok(Err(panic)) | Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
