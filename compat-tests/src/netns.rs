//! Network namespaces without names: each is held by a thread that lives in it, and goes with it.
//!
//! No mount and no entry in `/run/netns` is left behind, even when the test is killed.

use crate::{Result, sys};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// So many commands of ipset(8) are given to it at once.
const MANY: usize = 30;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace and the thread that runs closures in it.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Netns {
    /// Makes an empty namespace (only `lo`, down) whose thread, and the programs it starts, run on one CPU.
    pub fn new(cpu: usize) -> Result<Self> {
        let (ready_tx, ready_rx) = channel();
        let (jobs, queue) = channel::<Job>();
        let thread = std::thread::Builder::new().name("netns".into()).spawn(move || {
            let opened = sys::unshare_net()
                .and_then(|()| sys::pin_to_cpu(cpu))
                .and_then(|()| File::open("/proc/thread-self/ns/net"));
            let ok = opened.is_ok();
            let _ = ready_tx.send(opened);
            if ok {
                while let Ok(job) = queue.recv() {
                    job();
                }
            }
        })?;
        let fd = ready_rx.recv()?.map_err(|e| format!("cannot make a network namespace: {e}"))?;
        Ok(Self { fd: fd.into(), jobs: Some(jobs), thread: Some(thread) })
    }

    /// The path under which ip(8) finds this namespace, while this process lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }

    /// Another handle on the namespace, to enter it from a thread of one's own.
    pub fn handle(&self) -> Result<OwnedFd> {
        Ok(self.fd.try_clone()?)
    }

    /// Runs a closure on the namespace's thread and returns its result.
    pub fn run<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> T {
        let (tx, rx) = channel();
        let job = Box::new(move || drop(tx.send(f())));
        self.jobs.as_ref().expect("alive until drop").send(job).expect("the namespace's thread is alive");
        rx.recv().expect("a job on the namespace's thread panicked")
    }

    /// Runs a program in the namespace, feeding `stdin`, and waits for it.
    pub fn command(&self, mut cmd: Command, stdin: &[u8]) -> Result<Output> {
        let input = stdin.to_vec();
        let what = format!("{cmd:?}");
        self.run(move || -> std::io::Result<Output> {
            let mut child = cmd.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
            let mut pipe = child.stdin.take().expect("stdin is piped");
            let writer = std::thread::spawn(move || drop(pipe.write_all(&input)));
            let out = child.wait_with_output();
            let _ = writer.join();
            out
        })
        .map_err(|e| format!("cannot run {what}: {e}").into())
    }

    /// Starts a program in the namespace.
    pub fn start(&self, mut cmd: Command) -> Result<Child> {
        let what = format!("{cmd:?}");
        self.run(move || cmd.spawn()).map_err(|e| format!("cannot run {what}: {e}").into())
    }

    /// Runs `ip -batch` with the given lines, of IPv6 where they begin with `-6`; any failing line is an error.
    pub fn ip_batch(&self, lines: &str) -> Result<()> {
        let mut cmd = Command::new("ip");
        let ipv6 = lines.strip_prefix("-6 ");
        cmd.args(ipv6.map(|_| "-6")).args(["-batch", "-"]);
        let lines = ipv6.unwrap_or(lines);
        let out = self.command(cmd, lines.as_bytes())?;
        if out.status.success() {
            return Ok(());
        }
        Err(format!("ip -batch failed: {}\n{lines}", String::from_utf8_lossy(&out.stderr)).into())
    }

    /// Runs ipset(8) with each line, or, if they are many, with all; what fails is told.
    pub fn ipset(&self, lines: &[String]) -> Result<Vec<String>> {
        let mut said = Vec::new();
        let many = lines.len() > MANY;
        let all = [format!("{}\n", lines.join("\n"))];
        for line in if many { &all[..] } else { lines } {
            let mut cmd = Command::new("ipset");
            let out = if many {
                self.command(
                    {
                        cmd.arg("restore");
                        cmd
                    },
                    line.as_bytes(),
                )?
            } else {
                self.command(
                    {
                        cmd.args(line.split_whitespace());
                        cmd
                    },
                    b"",
                )?
            };
            if !out.status.success() {
                let text = String::from_utf8_lossy(&out.stderr);
                said.push(format!("ipset exit {:?}: {}", out.status.code(), text.trim()));
            }
        }
        Ok(said)
    }

    /// Waits until devices can send: a link comes up some time after both its ends were set up.
    pub fn wait_running(&self, devices: &[&'static str]) -> Result<()> {
        let devices = devices.to_vec();
        self.run(move || {
            let start = std::time::Instant::now();
            for dev in devices {
                while !sys::is_running(dev)? {
                    if start.elapsed() > std::time::Duration::from_secs(5) {
                        return Err(format!("{dev} has no carrier after 5 s").into());
                    }
                    std::thread::sleep(std::time::Duration::from_micros(300));
                }
            }
            Ok(())
        })
    }

    /// Writes sysctls of the namespace, given as `net/ipv4/ip_forward=1`. A name with a leading `?` may be absent.
    pub fn sysctls(&self, settings: &[&str]) -> Result<()> {
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        self.run(move || {
            for s in settings {
                let (optional, s) = match s.strip_prefix('?') {
                    Some(rest) => (true, rest.to_owned()),
                    None => (false, s),
                };
                let (path, value) = s.split_once('=').ok_or("a sysctl is written path=value")?;
                if let Err(e) = std::fs::write(format!("/proc/sys/{path}"), value)
                    && !optional
                {
                    return Err(format!("cannot set sysctl {s}: {e}").into());
                }
            }
            Ok(())
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
