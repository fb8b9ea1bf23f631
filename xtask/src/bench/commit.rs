//! What a change of the ruleset takes: time, the process's memory, the kernel's memory.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::backend::Backend;
use super::report::Row;
use super::{Bench, rules};
use crate::kube::Cluster;
use crate::measure::{Measured, measure};
use crate::netns::{Netns, veth};
use crate::project::Tools;

const BACKENDS: [Backend; 2] = [Backend::Ours, Backend::Legacy];

/// Services whose ruleset has 10,000 rules, and 225,515.
const RESTORED: [(usize, usize); 2] = [(887, 10_000), (20_000, 225_515)];

/// iptables-restore of kube-proxy's rulesets.
pub(super) fn restore(bench: &Bench, keep: &mut impl FnMut(Row)) -> Result<()> {
    for (services, size) in RESTORED.into_iter().filter(|(_, rules)| *rules <= bench.up_to) {
        let file = bench.file("restore.rules", &Cluster::large(services).restore_text())?;
        let runs = if size > 100_000 { 2 } else { 5 };
        for backend in BACKENDS {
            let results = (0..runs)
                .map(|_| {
                    let node = Node::new(bench, backend)?;
                    let before = settled_kernel_kib()?;
                    let measured = backend.load(bench, &node.netns, &file)?;
                    // Frees of the kernel that wait for a grace period.
                    std::thread::sleep(Duration::from_millis(300));
                    Ok((measured, kernel_kib()? - before))
                })
                .collect::<Result<Vec<(Measured, i64)>>>()
                .with_context(|| format!("restore of {size} rules, {}", backend.name()));
            keep(Row::new("restore", "time", size, backend, "ms", column(&results, |(m, _)| m.wall_ms)));
            let peak = column(&results, |(m, _)| m.peak_kib as f64 / 1024.0);
            keep(Row::new("restore", "process, peak", size, backend, "MiB", peak));
            let kernel = column(&results, |(_, kib)| *kib as f64 / 1024.0);
            keep(Row::new("restore", "kernel", size, backend, "MiB", kernel));
        }
    }
    Ok(())
}

/// One -A at 5,000 rules of a chain, and at kube-proxy's 225,515: in the table that has the rules, for legacy replaces that one whole.
pub(super) fn append(bench: &Bench, keep: &mut impl FnMut(Row)) -> Result<()> {
    for size in [5000, RESTORED[1].1].into_iter().filter(|size| *size <= bench.up_to) {
        let (text, table, chain, runs) = match size {
            5000 => (rules::iptables(size, false), "filter", "FORWARD", 15),
            _ => (Cluster::large(RESTORED[1].0).restore_text(), "nat", "KUBE-NODEPORTS", 8),
        };
        let file = bench.file("append.rules", &text)?;
        let change = |run: usize, netns: &Netns, tools: &Tools| {
            let (iptables, source) = (tools.iptables.to_string_lossy(), format!("10.9.0.{run}"));
            let argv = [&*iptables, "-t", table, "-A", chain, "-s", &source, "-j", "RETURN"];
            measure(&netns.name, None, bench.limit(), &argv)
        };
        change_by_turns(bench, "append", "time", size, &file, runs, change, keep);
    }
    Ok(())
}

/// kube-proxy's ways to change one service among many: an endpoint goes, and comes back. Mostly it writes the chains that name every service,
/// and those of the one that changed; now and then, the chains of all.
pub(super) fn update(bench: &Bench, keep: &mut impl FnMut(Row)) -> Result<()> {
    for services in [10_000, RESTORED[1].0].into_iter().filter(|services| *services <= bench.up_to) {
        update_among(bench, services, keep)?;
    }
    Ok(())
}

fn update_among(bench: &Bench, services: usize, keep: &mut impl FnMut(Row)) -> Result<()> {
    let full = Cluster::large(services);
    let changed = services / 2;
    let mut fewer = full.clone();
    let gone = fewer.services[changed].endpoint_chain(2);
    fewer.services[changed].endpoints.truncate(2);
    let file = bench.file("update.rules", &full.restore_text())?;
    let (stale, one) = ([gone], [changed]);
    let all: Vec<usize> = (0..services).collect();
    for (what, written, runs) in [("time", &one[..], 6), ("time, all chains", &all[..], 4)] {
        let updates = [
            bench.file("update-fewer.rules", &fewer.update_text(written, &stale))?,
            bench.file("update-more.rules", &full.update_text(written, &[]))?,
        ];
        let change = |run: usize, netns: &Netns, tools: &Tools| {
            let restore = tools.restore.to_string_lossy();
            let argv = [&*restore, "-w", "5", "--noflush", "--counters"];
            measure(&netns.name, Some(&updates[run % 2]), bench.limit(), &argv)
        };
        change_by_turns(bench, "update", what, services, &file, runs, change, keep);
    }
    Ok(())
}

/// Loads the same ruleset on each side, then changes it `runs` times, the sides in turns.
#[expect(clippy::too_many_arguments, reason = "each is said by every caller")]
fn change_by_turns(
    bench: &Bench,
    group: &'static str,
    what: &'static str,
    size: usize,
    file: &Path,
    runs: usize,
    change: impl Fn(usize, &Netns, &Tools) -> Result<Measured>,
    keep: &mut impl FnMut(Row),
) {
    let mut sides = BACKENDS.map(|backend| {
        let node = Node::new(bench, backend).and_then(|node| {
            backend.load(bench, &node.netns, file)?;
            Ok(node)
        });
        (backend, node, Vec::new())
    });
    for run in 0..runs {
        for (backend, node, measured) in &mut sides {
            let tools = if *backend == Backend::Ours { &bench.ours } else { &bench.legacy };
            if let Ok(ready) = node {
                match change(run, &ready.netns, tools) {
                    Ok(one) => measured.push(one),
                    Err(error) => *node = Err(error),
                }
            }
        }
    }
    for (backend, node, measured) in sides {
        let result = node.map(|_| measured).with_context(|| format!("{group} at {size}, {}", backend.name()));
        keep(Row::new(group, what, size, backend, "ms", column(&result, |m| m.wall_ms)));
        if what == "time" {
            let peak = column(&result, |m| m.peak_kib as f64 / 1024.0);
            keep(Row::new(group, "process, peak", size, backend, "MiB", peak));
        }
    }
}

/// One figure of each run, or the error that there is instead.
fn column<T>(results: &Result<Vec<T>>, pick: impl Fn(&T) -> f64) -> Result<Vec<f64>> {
    match results {
        Ok(results) => Ok(results.iter().map(pick).collect()),
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    }
}

/// A namespace with a device other than lo.
struct Node {
    netns: Netns,
    _neighbour: Netns,
}

impl Node {
    fn new(bench: &Bench, backend: Backend) -> Result<Self> {
        let mut netns = Netns::new(&format!("{}-node", backend.name()))?;
        backend.adopt(bench, &mut netns);
        let neighbour = Netns::new(&format!("{}-neighbour", backend.name()))?;
        veth(&netns, "eth0", "02:00:c0:00:02:01", &neighbour, "eth0", "02:00:c0:00:02:02")?;
        netns.ip("addr add 192.0.2.1/24 dev eth0\n")?;
        Ok(Self { netns, _neighbour: neighbour })
    }
}

/// The same once the kernel has freed what earlier namespaces held, which it does some time after their end.
fn settled_kernel_kib() -> Result<i64> {
    let mut last = kernel_kib()?;
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(400));
        let now = kernel_kib()?;
        if now > last - 128 {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}

/// Memory that the kernel holds for itself and cannot give back: slabs, vmalloc (rulesets of netfilter,
/// maps of bpf) and per-CPU data, in KiB.
fn kernel_kib() -> Result<i64> {
    let text = std::fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let field = |name: &str| -> Result<i64> {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next())
            .and_then(|kib| kib.parse().ok())
            .with_context(|| format!("no {name} in /proc/meminfo"))
    };
    Ok(field("SUnreclaim")? + field("VmallocUsed")? + field("Percpu")?)
}
