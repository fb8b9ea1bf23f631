//! A machine as far as systemd can tell: its first process, in namespaces of its own, over a copy of this machine's root that is
//! forgotten at the end.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::sys;

/// Mounts and boots.
const BOOT: &str = include_str!("boot.sh");
/// How long a boot or an end may take; it is a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The machine; what it wrote to its disk lasts from boot to boot, and as long as this.
pub(super) struct Machine {
    dir: PathBuf,
    cgroup: PathBuf,
    running: Option<Child>,
}

impl Machine {
    /// A machine that is off. `dir` must be in a mount namespace of our own: the machine's disk is mounted there.
    ///
    /// # Errors
    /// A file system cannot be mounted.
    pub(super) fn new(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        mount(&["-t", "tmpfs", "-o", "mode=755", "bpftables"], dir)?;
        let groups = dir.join("cgroup");
        for name in ["up", "work", "root", "cgroup"] {
            fs::create_dir(dir.join(name)).with_context(|| format!("cannot make {name}"))?;
        }
        mount(&["-t", "cgroup2", "cgroup2"], &groups)?;
        let cgroup = groups.join(format!("bpftables-systemd-{}", std::process::id()));
        fs::create_dir(&cgroup).with_context(|| format!("cannot make {}", cgroup.display()))?;
        Ok(Self { dir: dir.to_owned(), cgroup, running: None })
    }

    /// A file of the machine's root, as long as it is off.
    pub(super) fn disk(&self, name: &str) -> PathBuf {
        self.dir.join("up").join(name)
    }

    /// Boots, and returns once systemd has started all that it was to start.
    ///
    /// # Errors
    /// The machine does not come up.
    pub(super) fn boot(&mut self) -> Result<()> {
        let members = self.cgroup.join("cgroup.procs");
        let log = fs::File::create(self.dir.join("console")).context("cannot make the console")?;
        // Its control groups are its own to arrange, below an empty one, so the shell enters that before it becomes unshare.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "sh", "-c", "echo $$ >\"$0\" && exec \"$@\""]).arg(members);
        command.args(["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child"]);
        command.args(["bash", "-c", BOOT, "boot"]).arg(&self.dir);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        self.running = Some(command.spawn().context("cannot run setpriv")?);
        let begin = Instant::now();
        loop {
            // `degraded`: a unit of this Debian failed, which is none of our business.
            let state = self.shell("systemctl is-system-running --wait").unwrap_or_default();
            if ["running\n", "degraded\n"].contains(&state.as_str()) {
                return Ok(());
            }
            let ended = self.running.as_mut().is_some_and(|child| child.try_wait().ok().flatten().is_some());
            if ended || begin.elapsed() > PATIENCE {
                let console = fs::read_to_string(self.dir.join("console")).unwrap_or_default();
                bail!("systemd does not come up ({}):\n{console}", state.trim());
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// Shuts down as a machine does.
    ///
    /// # Errors
    /// It does not end.
    pub(super) fn shut_down(&mut self) -> Result<()> {
        let first = self.first()?.to_string();
        // Which systemd takes for the power button.
        let told = Command::new("kill").args(["-s", "RTMIN+4", &first]).status().context("cannot run kill")?;
        ensure!(told.success(), "the machine cannot be told to end");
        let mut child = self.running.take().context("the machine is off")?;
        let begin = Instant::now();
        while child.try_wait()?.is_none() {
            if begin.elapsed() > PATIENCE {
                let console = fs::read_to_string(self.dir.join("console")).unwrap_or_default();
                self.running = Some(child);
                bail!("the machine does not shut down:\n{console}");
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Standard output of a script in the machine, as root.
    ///
    /// # Errors
    /// It fails; what it said is in the error.
    pub(super) fn shell(&self, script: &str) -> Result<String> {
        let output = self.command(script)?.output().context("cannot run nsenter")?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            bail!("`{script}` failed ({})\n{out}{err}", output.status);
        }
        Ok(out.into_owned())
    }

    fn command(&self, script: &str) -> Result<Command> {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first()?.to_string()]);
        command.args(["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--", "/bin/bash", "-euc", script]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        Ok(command)
    }

    /// The machine's first process, by the number that it has out here.
    fn first(&self) -> Result<u32> {
        let unshare = self.running.as_ref().context("the machine is off")?.id();
        let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).context("it is gone")?;
        children.split_whitespace().next().context("it has not begun")?.parse().context("no number")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let first = self.first();
        if let Some(mut child) = self.running.take() {
            // The others of its process namespace end with it.
            if let Ok(first) = first {
                sys::kill(first);
            }
            sys::kill(child.id());
            let _ = child.wait();
        }
        // The kernel removes no group that another is in.
        for _ in 0..50 {
            let mut remove = Command::new("find");
            remove.arg(&self.cgroup).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
            let _ = remove.stderr(Stdio::null()).status();
            if !self.cgroup.exists() {
                break;
            }
            sleep(Duration::from_millis(20));
        }
    }
}

fn mount(words: &[&str], at: &Path) -> Result<()> {
    let status = Command::new("mount").args(words).arg(at).status().context("cannot run mount")?;
    ensure!(status.success(), "cannot mount at {}", at.display());
    Ok(())
}
