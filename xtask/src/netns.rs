//! Network namespaces that are gone at the end: of the value, of a panic, of Ctrl-C, and, failing all of
//! these, at the next start.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};

use crate::sys;

/// All our namespaces are called `PREFIX` + pid of the xtask that made them + `-` + a name.
const PREFIX: &str = "bpftables-x";

/// What must go when we are interrupted.
#[derive(Default)]
struct Registry {
    names: Vec<String>,
    children: Vec<u32>,
    detach: Option<(PathBuf, Vec<String>)>,
    closed: bool,
}

static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { names: Vec::new(), children: Vec::new(), detach: None, closed: false });

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cleans up after earlier runs that were killed, and arranges for Ctrl-C, SIGTERM and SIGHUP to clean up
/// after this one. `admin` is our admin command, which detaches what a namespace still has.
///
/// # Errors
/// A signal handler is set already.
pub(crate) fn start(admin: Option<&Path>) -> Result<()> {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if let Some(pid) = owner.and_then(|pid| pid.parse::<u32>().ok())
            && !Path::new(&format!("/proc/{pid}")).exists()
        {
            detach(admin, &name);
            delete(&name);
        }
    }
    registry().detach = admin.map(|admin| (admin.to_path_buf(), Vec::new()));
    ctrlc::set_handler(|| {
        let mut registry = registry();
        registry.closed = true;
        for pid in std::mem::take(&mut registry.children) {
            sys::kill(pid);
        }
        if let Some((admin, names)) = registry.detach.take() {
            names.iter().for_each(|name| detach(Some(&admin), name));
        }
        std::mem::take(&mut registry.names).iter().for_each(|name| delete(name));
        eprintln!("interrupted; everything is removed");
        std::process::exit(130);
    })
    .context("cannot set the handler of Ctrl-C")
}

fn delete(name: &str) {
    let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
}

/// Removes programs and pins of ours from the namespace; the namespace's end would, too, but only with a
/// later command of ours.
fn detach(admin: Option<&Path>, name: &str) {
    if let Some(admin) = admin {
        let _ = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{name}"))
            .arg(admin)
            .arg("uninstall-hooks")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// A network namespace, deleted when dropped.
#[derive(Debug)]
pub(crate) struct Netns {
    /// Its name under /run/netns.
    pub(crate) name: String,
    detach: Option<PathBuf>,
}

impl Netns {
    /// Makes one with its loopback up and IPv6 off (no neighbour discovery moves a counter).
    ///
    /// # Errors
    /// Not root, or we are being interrupted.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let name = format!("{PREFIX}{}-{name}", std::process::id());
        {
            let mut registry = registry();
            if registry.closed {
                bail!("interrupted");
            }
            let output = Command::new("ip").args(["netns", "add", &name]).output().context("cannot run ip")?;
            succeeded(&output, &format!("ip netns add {name}"))?;
            registry.names.push(name.clone());
        }
        let netns = Self { name, detach: None };
        netns.sysctl(&[("net.ipv6.conf.all.disable_ipv6", "1"), ("net.ipv6.conf.default.disable_ipv6", "1")])?;
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// From now on, dropping this namespace first runs `admin uninstall-hooks` in it.
    pub(crate) fn detach_with(&mut self, admin: &Path) {
        self.detach = Some(admin.to_path_buf());
        if let Some((_, names)) = &mut registry().detach {
            names.push(self.name.clone());
        }
    }

    /// A command that runs inside. bpffs stays as it is outside: only the network namespace is entered.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg("--").arg(program);
        command
    }

    /// Runs a program inside and returns its output.
    ///
    /// # Errors
    /// It cannot be run, or exits other than 0; its messages are in the error.
    pub(crate) fn run<P: AsRef<std::ffi::OsStr>>(&self, program: P, args: &[&str]) -> Result<String> {
        let what = format!("{} {}", program.as_ref().to_string_lossy(), args.join(" "));
        let output = self.command(program).args(args).output().with_context(|| format!("cannot run {what}"))?;
        succeeded(&output, &what)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Lines of ip(8), without the leading `ip`.
    ///
    /// # Errors
    /// ip refuses one of them.
    pub(crate) fn ip(&self, lines: &str) -> Result<()> {
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run ip")?;
        // A write fails only when ip has ended, and then its status tells.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(lines.as_bytes()));
        let output = child.wait_with_output()?;
        succeeded(&output, &format!("ip -n {} -batch:\n{lines}\n", self.name))
    }

    /// Sets sysctls of this namespace.
    ///
    /// # Errors
    /// The kernel has no such sysctl, or refuses the value.
    pub(crate) fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.inside(|| {
            for (key, value) in settings {
                let path = format!("/proc/sys/{}", key.replace('.', "/"));
                // A kernel without IPv6 has nothing to switch off.
                if key.starts_with("net.ipv6.") && !Path::new(&path).exists() {
                    continue;
                }
                std::fs::write(&path, value).with_context(|| format!("cannot set {key} to {value}"))?;
            }
            Ok(())
        })?
    }

    /// Runs a closure on a thread of its own inside the namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    sys::enter_netns(&self.name).with_context(|| format!("cannot enter {}", self.name))?;
                    Ok(work())
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        detach(self.detach.as_deref(), &self.name);
        let mut registry = registry();
        registry.names.retain(|name| *name != self.name);
        if let Some((_, names)) = &mut registry.detach {
            names.retain(|name| *name != self.name);
        }
        delete(&self.name);
    }
}

/// A veth pair: `device` in `a` and `peer` in `b`, both up, with fixed MAC addresses.
///
/// # Errors
/// ip refuses.
pub(crate) fn veth(a: &Netns, device: &str, a_mac: &str, b: &Netns, peer: &str, b_mac: &str) -> Result<()> {
    a.ip(&format!(
        "link add {device} address {a_mac} type veth peer name {peer} address {b_mac} netns {}\nlink set {device} up\n",
        b.name
    ))?;
    b.ip(&format!("link set {peer} up"))
}

/// A server of ours that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Server(Child);

impl Server {
    /// Starts `xtask serve`, on one CPU if that is given, and returns when it listens.
    ///
    /// # Errors
    /// It cannot bind; its message is in the error.
    pub(crate) fn start(netns: &Netns, name: &str, port: u16, cpu: Option<usize>) -> Result<Self> {
        let mut child = {
            let mut registry = registry();
            if registry.closed {
                bail!("interrupted");
            }
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["serve", "--netns", &netns.name, "--name", name, "--port", &port.to_string()]);
            if let Some(cpu) = cpu {
                command.args(["--cpu", &cpu.to_string()]);
            }
            let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start a server")?;
            registry.children.push(child.id());
            child
        };
        let mut line = String::new();
        let heard = child.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        let server = Self(child);
        match heard {
            Some(Ok(_)) if line.trim() == "listening" => Ok(server),
            _ => bail!("the server {name} did not come up"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut registry = registry();
        registry.children.retain(|pid| *pid != self.0.id());
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn succeeded(output: &Output, what: &str) -> Result<()> {
    if !output.status.success() {
        bail!("`{what}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
