//! What the first rule that asks for tracking costs where netfilter knows connections: they are taken over by netlink.

use std::net::UdpSocket;

use anyhow::{Context, Result, ensure};

use super::Bench;
use super::backend::Backend;
use super::report::Row;
use crate::measure::{Measured, measure};
use crate::netns::Netns;

/// As many as the issue names, and none: what the command takes without them.
const CONNECTIONS: [usize; 2] = [0, 100_000];

pub(super) fn run(bench: &Bench, keep: &mut impl FnMut(Row)) -> Result<()> {
    let Some(admin) = &bench.ours.admin else { return Ok(()) };
    for connections in CONNECTIONS.into_iter().filter(|count| *count <= bench.up_to) {
        let results = (0..3)
            .map(|_| once(bench, admin, connections))
            .collect::<Result<Vec<Measured>>>()
            .with_context(|| format!("import of {connections}"));
        let times = match &results {
            Ok(results) => Ok(results.iter().map(|m| m.wall_ms).collect()),
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        keep(Row::new("import", "time", connections, Backend::Ours, "ms", times));
        let peak = results.map(|results| results.iter().map(|m| m.peak_kib as f64 / 1024.0).collect());
        keep(Row::new("import", "process, peak", connections, Backend::Ours, "MiB", peak));
    }
    Ok(())
}

/// The programs are loaded already, so that only the taking over is measured.
fn once(bench: &Bench, admin: &std::path::Path, connections: usize) -> Result<Measured> {
    let mut netns = Netns::new("ours-import")?;
    Backend::Ours.adopt(bench, &mut netns);
    netns.run(&bench.legacy.iptables, &["-t", "raw", "-A", "OUTPUT", "-m", "conntrack", "--ctstate", "NEW"])?;
    netns.run(&bench.legacy.iptables, &["-A", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED"])?;
    netns.inside(|| -> Result<()> {
        let socket = UdpSocket::bind("127.0.0.1:0").context("no socket")?;
        for number in 0..u32::try_from(connections)? {
            let to = std::net::Ipv4Addr::from_bits(0x7f01_0000 + number);
            // The error that the one before had is this one's.
            let _ = socket.send_to(b"x", (to, 9));
        }
        Ok(())
    })??;
    let known: usize = netns.run("cat", &["/proc/sys/net/netfilter/nf_conntrack_count"])?.trim().parse()?;
    netns.run(&bench.ours.iptables, &["-A", "INPUT", "-p", "tcp"])?;
    let iptables = bench.ours.iptables.to_string_lossy();
    let argv = [&*iptables, "-A", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT"];
    let measured = measure(&netns.name, None, bench.limit(), &argv)?;
    let status = netns.run(admin, &["status"])?;
    let taken: usize = status
        .lines()
        .find_map(|line| line.strip_prefix("connections  ")?.split(' ').next()?.parse().ok())
        .context("status names no connections")?;
    ensure!(taken * 100 >= connections * 99 && taken <= known, "{taken} connections were taken over of {known}");
    Ok(measured)
}
