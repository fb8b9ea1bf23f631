//! Network namespaces for one test.
#![allow(dead_code, reason = "each test binary uses a part")]

use bpftables_ruleset::Family;
use bpftables_runtime::{Engine, sys::ns};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// Runs a test in a new network namespace on a thread of its own, and removes what it left. Needs root.
///
/// # Panics
/// When the test does, or when no namespace can be made.
pub(crate) fn in_namespace<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(64 << 20);
        let run = move || {
            ns::unshare_network().expect("a network namespace (needs root)");
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
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

/// Runs `ip -batch` in the calling thread's namespace.
///
/// # Panics
/// When a line fails.
pub(crate) fn ip(lines: &str) {
    let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("ip of iproute2");
    child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("ip reads");
    assert!(child.wait().expect("ip ends").success(), "{lines}");
}

/// Runs a command in the calling thread's namespace.
///
/// # Panics
/// When it fails.
pub(crate) fn run(command: &str) {
    let mut words = command.split(' ');
    let status = Command::new(words.next().expect("a program")).args(words).status();
    assert!(status.expect("the program is there").success(), "{command}");
}

/// Makes a router of the calling thread's namespace, between two others that send what is not their own by it: `in` leads to the first, 10.1.0.2
/// or fd01::2, `out` to the second, 10.2.0.2 or fd02::2.
pub(crate) fn router(family: Family) -> [Other; 2] {
    let others = [Other::new(), Other::new()];
    let v4 = family == Family::V4;
    let nets = if v4 { ["10.1.0.", "10.2.0."] } else { ["fd01::", "fd02::"] };
    let (length, nodad) = if v4 { (24, "") } else { (64, " nodad") };
    for ((other, net), device) in others.iter().zip(nets).zip(["in", "out"]) {
        ip(&format!(
            "link add {device} type veth peer name eth0 netns {}\nlink set {device} up\naddr add {net}1/{length} dev {device}{nodad}\n",
            other.path()
        ));
        other.run(move || {
            ip(&format!("link set eth0 up\naddr add {net}2/{length} dev eth0{nodad}\nroute add default via {net}1\n"));
        });
    }
    run(if v4 { "sysctl -q -w net.ipv4.ip_forward=1" } else { "sysctl -q -w net.ipv6.conf.all.forwarding=1" });
    others
}

type Job = Box<dyn FnOnce() + Send>;

/// Another network namespace, held by a thread that lives in it.
pub(crate) struct Other {
    path: String,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Other {
    pub(crate) fn new() -> Self {
        let (ready, path) = channel();
        let (jobs, queue) = channel::<Job>();
        let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(move || {
            ns::unshare_network().expect("a network namespace (needs root)");
            ip("link set lo up\n");
            let own = std::fs::read_link("/proc/thread-self").expect("/proc");
            ready.send(format!("/proc/{}/ns/net", own.display())).expect("the test waits");
            for job in queue {
                job();
            }
        });
        Self { path: path.recv().expect("a namespace"), jobs: Some(jobs), thread: thread.ok() }
    }

    /// Under which ip(8) finds it.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Runs a closure there.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tx, rx) = channel();
        let job = Box::new(move || drop(tx.send(job())));
        self.jobs.as_ref().expect("alive").send(job).expect("the thread lives");
        rx.recv().expect("the job ended well")
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
