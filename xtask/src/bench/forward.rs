//! 64-byte UDP packets through a router: by backend, number of rules, and kind of connections.
//!
//! One pinned thread puts frames on a veth; the router and the far side run on the same CPU, in the softirq of
//! each frame, so that packets per second are one CPU's, and what a rule costs shows in full.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::backend::Backend;
use super::frames::{self, Flows, Link};
use super::report::Row;
use super::{Bench, rules};
use crate::netns::{Netns, veth};

/// What the packets are like, and whether connections are tracked.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    conntrack: bool,
    new: bool,
}

const CASES: [Case; 4] = [
    Case { name: "one flow", conntrack: false, new: false },
    Case { name: "flow per packet", conntrack: false, new: true },
    Case { name: "established, tracked", conntrack: true, new: false },
    Case { name: "new per packet, tracked", conntrack: true, new: true },
];

/// New tracked connections in one run: all runs of a cell together stay below the default size of
/// netfilter's table (262,144), which would drop what is beyond.
const TRACKED: u64 = 30_000;

const SOURCE_MAC: &str = "02:00:0a:0a:00:02";
const ROUTER_MACS: [&str; 2] = ["02:00:0a:0a:00:01", "02:00:0a:14:00:01"];
const SINK_MAC: &str = "02:00:0a:14:00:02";

/// source -- router -- sink
struct Path {
    source: Netns,
    router: Netns,
    sink: Netns,
}

impl Path {
    fn new(bench: &Bench, backend: Backend) -> Result<Self> {
        let name = backend.name().replace(' ', "-");
        let source = Netns::new(&format!("{name}-source"))?;
        let mut router = Netns::new(&format!("{name}-router"))?;
        backend.adopt(bench, &mut router);
        let sink = Netns::new(&format!("{name}-sink"))?;
        veth(&router, "r0", ROUTER_MACS[0], &source, "eth0", SOURCE_MAC)?;
        veth(&router, "r1", ROUTER_MACS[1], &sink, "eth0", SINK_MAC)?;
        // Nobody has the destination's address, but the router knows a neighbour for it: the packet ends in the
        // sink's route lookup, unanswered, at little cost.
        router.ip(&format!(
            "addr add 10.10.0.1/16 dev r0\naddr add 10.20.0.1/16 dev r1\n\
             neigh add 10.20.0.3 lladdr {SINK_MAC} dev r1\nneigh add 10.10.16.0 lladdr {SOURCE_MAC} dev r0\n"
        ))?;
        router.sysctl(&[
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.r0.rp_filter", "0"),
            ("net.ipv4.conf.r1.rp_filter", "0"),
        ])?;
        source.ip("addr add 10.10.0.2/16 dev eth0\n")?;
        sink.ip("addr add 10.20.0.2/16 dev eth0\n")?;
        for end in [&source, &sink] {
            end.sysctl(&[("net.ipv4.ip_forward", "0")])?;
        }
        Ok(Self { source, router, sink })
    }

    /// One run: packets per second that reached the sink.
    fn run(&self, flows: Flows, time: Duration, most: u64) -> Result<f64> {
        let before = frames::received(&self.sink, "eth0")?;
        let link = Link { from: mac(SOURCE_MAC), to: mac(ROUTER_MACS[0]) };
        let sent = frames::send(&self.source, link, flows, time, most)?;
        // What is still in a queue belongs to this run.
        std::thread::sleep(Duration::from_millis(10));
        let arrived = frames::received(&self.sink, "eth0")? - before;
        if arrived * 2 < sent.packets {
            bail!("{arrived} of {} packets arrived", sent.packets);
        }
        Ok(arrived as f64 / sent.elapsed.as_secs_f64())
    }

    fn answer(&self) -> Result<()> {
        frames::answer(&self.sink, Link { from: mac(SINK_MAC), to: mac(ROUTER_MACS[1]) })
    }
}

/// Measures every cell of the table. The backends of one line take turns, run by run, so that what else the
/// machine does meets them alike.
pub(super) fn run(bench: &Bench, keep: &mut impl FnMut(Row)) -> Result<()> {
    let sizes: &[usize] =
        if bench.quick { &[0, 10, 1000, 10_000, 50_000] } else { &[0, 10, 100, 1000, 10_000, 50_000] };
    for case in CASES {
        for &size in sizes.iter().filter(|size| **size <= bench.up_to) {
            let mut cells: Vec<(Backend, Result<Cell>)> = backends(case, size)
                .filter(|backend| bench.by.is_empty() || bench.by.contains(backend))
                .map(|backend| (backend, Cell::new(bench, case, size, backend)))
                .collect();
            for _ in 0..bench.runs() {
                for (_, cell) in &mut cells {
                    if let Ok(ready) = cell
                        && let Err(error) = ready.run(bench)
                    {
                        *cell = Err(error);
                    }
                }
            }
            for (backend, cell) in cells {
                let result = cell
                    .map(|cell| cell.values)
                    .with_context(|| format!("{} at {size} rules, {}", case.name, backend.name()));
                keep(Row::new("forward", case.name, size, backend, "packets/s", result));
            }
        }
    }
    Ok(())
}

fn backends(case: Case, size: usize) -> impl Iterator<Item = Backend> {
    [Backend::None, Backend::Ours, Backend::Legacy, Backend::Nft, Backend::NftSet].into_iter().filter(move |backend| {
        match backend {
            Backend::None => size == 0 && !case.conntrack,
            // Without elements the same as nft.
            Backend::NftSet => size > 0,
            _ => true,
        }
    })
}

/// One backend with its ruleset loaded, ready to run.
struct Cell {
    path: Path,
    case: Case,
    /// The number of the next new connection.
    next: u64,
    values: Vec<f64>,
}

impl Cell {
    fn new(bench: &Bench, case: Case, size: usize, backend: Backend) -> Result<Self> {
        let path = Path::new(bench, backend)?;
        let text = match backend {
            Backend::None => None,
            Backend::Ours | Backend::Legacy => Some(rules::iptables(size, case.conntrack)),
            Backend::Nft | Backend::NftSet => Some(rules::nft(size, case.conntrack, backend == Backend::NftSet)),
        };
        if let Some(text) = text {
            let file = bench.file("forward.rules", &text)?;
            backend.load(bench, &path.router, &file)?;
        }
        let mut cell = Self { path, case, next: 0, values: Vec::new() };
        // Warms caches up, and makes the one connection.
        cell.send(bench.run_time() / 8, 10_000)?;
        if case.conntrack && !case.new {
            cell.path.answer()?;
        }
        Ok(cell)
    }

    fn run(&mut self, bench: &Bench) -> Result<()> {
        let most = if self.case.conntrack && self.case.new { TRACKED } else { u64::MAX };
        let value = self.send(bench.run_time(), most)?;
        self.values.push(value);
        Ok(())
    }

    fn send(&mut self, time: Duration, most: u64) -> Result<f64> {
        /// More connections than one run can make.
        const APART: u64 = 1 << 24;
        let flows = if self.case.new { Flows::Each(self.next) } else { Flows::One };
        self.next += APART;
        self.path.run(flows, time, most)
    }
}

/// The bytes of a MAC address written as ip(8) takes it.
fn mac(text: &str) -> [u8; 6] {
    let mut bytes = [0; 6];
    for (byte, part) in bytes.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(part, 16).expect("a constant of this file");
    }
    bytes
}
