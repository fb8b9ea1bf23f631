//! How long a device that appears waits for our programs, among up to a thousand others; and what the agent holds.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Bench;
use super::backend::Backend;
use super::report::Row;
use crate::kube::Cluster;
use crate::netns::Netns;

const DEVICES: usize = 1000;
/// Services whose ruleset has about 1,000 rules, and 225,515.
const RULES: [(usize, usize); 2] = [(87, 1000), (20_000, 225_515)];
const GROUP: &str = "devices";
/// Longer than any device waits that is not forgotten.
const PATIENCE: Duration = Duration::from_secs(30);

/// Veth pairs are made one after the other, each once the one before is attached; the time is from the request to ip(8), which runs
/// already, to the agent's word that it is attached. So it is an upper bound: the request and the kernel's work on it are in it.
pub(super) fn run(bench: &Bench, keep: &mut impl FnMut(Row)) -> Result<()> {
    let Some(admin) = &bench.ours.admin else { return Ok(()) };
    let agent = admin.with_file_name("bpftablesd");
    let binary = std::fs::read_link(admin).with_context(|| format!("cannot read {}", admin.display()))?;
    if std::fs::symlink_metadata(&agent).is_err() {
        std::os::unix::fs::symlink(&binary, &agent).with_context(|| format!("cannot link {}", agent.display()))?;
    }
    let devices = DEVICES.min(bench.up_to);
    let measured = measure(bench, &agent, devices).context("devices");
    let (waits, memory) = match measured {
        Ok((waits, memory)) => (Ok(waits), Ok(memory)),
        Err(error) => (Err(anyhow::anyhow!("{error:#}")), Err(error)),
    };
    let percentile = |percent: usize| -> Result<Vec<f64>> {
        let mut sorted = match &waits {
            Ok(waits) => waits.clone(),
            Err(error) => bail!("{error:#}"),
        };
        sorted.sort_by(f64::total_cmp);
        Ok(sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().into_iter().collect())
    };
    keep(Row::new(GROUP, "to coverage, p50", devices, Backend::Ours, "ms", percentile(50)));
    keep(Row::new(GROUP, "to coverage, p99", devices, Backend::Ours, "ms", percentile(99)));
    let mib = |memory: Result<u64>| memory.map(|kib| vec![kib as f64 / 1024.0]);
    keep(Row::new(GROUP, "agent, memory", devices, Backend::Ours, "MiB", mib(memory)));
    for (services, rules) in RULES.into_iter().filter(|(_, rules)| *rules <= bench.up_to) {
        let memory = beside_rules(bench, &agent, services).with_context(|| format!("agent beside {rules} rules"));
        keep(Row::new(GROUP, "agent, memory by rules", rules, Backend::Ours, "MiB", mib(memory)));
    }
    Ok(())
}

/// KiB of an agent that serves a namespace with kube-proxy's rules.
fn beside_rules(bench: &Bench, agent: &std::path::Path, services: usize) -> Result<u64> {
    let mut netns = Netns::new("ours-agent")?;
    Backend::Ours.adopt(bench, &mut netns);
    let file = bench.file("agent.rules", &Cluster::large(services).restore_text())?;
    Backend::Ours.load(bench, &netns, &file)?;
    let mut agent = Running::agent(&netns, agent)?;
    // It goes on with what happens: a device, and the next commit.
    let mut ip = Running::ip(&netns)?;
    writeln!(ip.stdin()?, "link add d0 type veth peer name p0").context("ip takes no more")?;
    agent.attached("d0", Instant::now())?;
    netns.run(&bench.ours.iptables, &["-A", "INPUT", "-s", "192.0.2.1"])?;
    std::thread::sleep(Duration::from_secs(1));
    agent.memory()
}

/// Milliseconds that each device waited, and KiB of the agent at the end.
fn measure(bench: &Bench, agent: &std::path::Path, devices: usize) -> Result<(Vec<f64>, u64)> {
    let mut netns = Netns::new("ours-devices")?;
    Backend::Ours.adopt(bench, &mut netns);
    netns.run(&bench.ours.iptables, &["-P", "FORWARD", "DROP"])?;
    let mut agent = Running::agent(&netns, agent)?;
    let mut ip = Running::ip(&netns)?;
    let mut waits = Vec::with_capacity(devices);
    for number in 0..devices {
        let name = format!("d{number}");
        let begin = Instant::now();
        writeln!(ip.stdin()?, "link add {name} type veth peer name p{number}").context("ip takes no more")?;
        agent.attached(&name, begin)?;
        waits.push(begin.elapsed().as_secs_f64() * 1000.0);
        // Its peer is none of the next one's time.
        agent.attached(&format!("p{number}"), begin)?;
    }
    Ok((waits, agent.memory()?))
}

/// A process that ends with its value.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Receiver<String>,
    /// Devices that were attached, but not asked for yet.
    early: Vec<String>,
}

impl Running {
    fn agent(netns: &Netns, agent: &std::path::Path) -> Result<Self> {
        let mut command = netns.command(agent);
        command.arg("--this-namespace").env("NO_COLOR", "1").env("BPFTABLES_LOG", "info");
        let mut running = Self::start(command)?;
        // Once it serves the namespace it has said so.
        running.wait("taken up", Instant::now(), |line| line.contains("serving") || line.contains("taken up"))?;
        std::thread::sleep(Duration::from_secs(1));
        Ok(running)
    }

    fn ip(netns: &Netns) -> Result<Self> {
        let mut command = Command::new("ip");
        command.args(["-n", &netns.name, "-batch", "-"]);
        Self::start(command)
    }

    fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run a program")?;
        let stderr = child.stderr.take().context("no standard error")?;
        let (tell, said) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, said, early: Vec::new() })
    }

    fn stdin(&mut self) -> Result<&mut ChildStdin> {
        self.stdin.as_mut().context("no standard input")
    }

    /// Until the agent says that a device is attached.
    fn attached(&mut self, device: &str, begin: Instant) -> Result<()> {
        let said = format!("device=\"{device}\"");
        if let Some(at) = self.early.iter().position(|line| line.contains(&said)) {
            self.early.swap_remove(at);
            return Ok(());
        }
        self.wait(&said, begin, |line| line.contains("attached") && line.contains(&said))
    }

    fn wait(&mut self, what: &str, begin: Instant, wanted: impl Fn(&str) -> bool) -> Result<()> {
        loop {
            match self.said.recv_timeout(PATIENCE.saturating_sub(begin.elapsed())) {
                Ok(line) if wanted(&line) => return Ok(()),
                Ok(line) if line.contains("attached") => self.early.push(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => bail!("{what}: not within {} s", PATIENCE.as_secs()),
                Err(RecvTimeoutError::Disconnected) => bail!("{what}: the process ended"),
            }
        }
    }

    /// KiB that it holds in memory.
    fn memory(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        line.split_whitespace().next().context("no size")?.parse().context("no number")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
