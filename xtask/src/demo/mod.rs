//! `cargo xtask demo`: a node, four pods and a client outside, each a network namespace; a kube-proxy
//! ruleset restored by legacy iptables and then, in an identical cluster, by ours; the same requests by
//! curl; and what each made of them.

mod cluster;
mod counters;
mod screen;
mod traffic;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::project::{self, Project, Tools};
use crate::{Ours, measure, netns, setup};

use cluster::Cluster;
use counters::Counters;
use traffic::Outcome;

/// The command line of `cargo xtask demo`.
#[derive(Args)]
pub(crate) struct Options {
    /// Requests of each kind
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=5000))]
    requests: u32,
    /// What plays our part (to prove the demo itself)
    #[arg(long, value_enum, default_value_t, hide = true)]
    ours: Ours,
}

/// All that one side did.
struct Side {
    restore: measure::Measured,
    outcomes: Vec<Outcome>,
    /// All requests together.
    elapsed: Duration,
    counters: Counters,
    /// Our own listings; legacy has `conntrack -L` and no status.
    connections: String,
    status: Option<String>,
    /// What netfilter's own tables hold in this node: (command, its output).
    netfilter: Vec<(String, String)>,
}

/// Runs both sides and shows the screen.
///
/// # Errors
/// Setup or build fail, a request failed or was answered by the wrong pod, or the two sides differ where
/// nothing is random.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::run(false)?;
    let project = Project::find()?;
    let legacy = Tools::legacy()?;
    let ours = match options.ours {
        Ours::Bpf => {
            let binary = project.build()?;
            Tools::ours(&project, &binary)?
        }
        Ours::Legacy => legacy.clone(),
    };
    project::become_root()?;
    netns::start(ours.admin.as_deref())?;
    // Always the same text, so one file serves whoever runs this, and stays to be read.
    let rules = project.target.join("demo.rules");
    std::fs::write(&rules, cluster::services().restore_text())
        .with_context(|| format!("cannot write {}", rules.display()))?;
    let sides = side("l", &legacy, &rules, options.requests)
        .context("with legacy iptables")
        .and_then(|left| Ok((left, side("o", &ours, &rules, options.requests).context("with ours")?)));
    let _ = std::fs::remove_file(&rules);
    let (legacy_side, ours_side) = sides?;
    screen::show(&ours_side, &legacy_side, options.requests);
    let mut complaints = Vec::new();
    for (name, side) in [("legacy", &legacy_side), ("ours", &ours_side)] {
        for outcome in &side.outcomes {
            complaints.extend(outcome.complaint().map(|c| format!("{name}: {c}")));
        }
    }
    complaints.extend(ours_side.counters.differences(&legacy_side.counters));
    if options.ours == Ours::Bpf {
        for (command, output) in &ours_side.netfilter {
            if !output.trim().is_empty() {
                complaints.push(format!("`{command}` is not empty in our node"));
            }
        }
    }
    if !complaints.is_empty() {
        bail!("the demo failed:\n  {}", complaints.join("\n  "));
    }
    println!("\nEvery request was answered as it should be, and every counter that is not up to chance is equal.");
    Ok(())
}

fn side(name: &str, tools: &Tools, rules: &std::path::Path, requests: u32) -> Result<Side> {
    let cluster = Cluster::new(name, tools)?;
    let restore_program = tools.restore.to_string_lossy();
    let restore = measure::measure(&cluster.node.name, Some(rules), Duration::from_secs(60), &[&restore_program])?;
    let start = Instant::now();
    let outcomes = traffic::flows().iter().map(|flow| flow.run(&cluster, requests)).collect::<Result<Vec<_>>>()?;
    let elapsed = start.elapsed();
    let counters = Counters::parse(&cluster.node.run(&tools.save, &["-c"])?);
    let (connections, status) = match &tools.admin {
        Some(admin) => (cluster.node.run(admin, &["conntrack", "list"])?, Some(cluster.node.run(admin, &["status"])?)),
        None => (cluster.node.run("conntrack", &["-L"])?, None),
    };
    let mut netfilter = Vec::new();
    for command in ["iptables-legacy-save", "nft list ruleset", "conntrack -L"] {
        let mut words = command.split(' ');
        let program = words.next().unwrap_or_default();
        let output = cluster.node.run(program, &words.collect::<Vec<_>>())?;
        netfilter.push((command.to_owned(), output));
    }
    Ok(Side { restore, outcomes, elapsed, counters, connections, status, netfilter })
}

/// Requests by pod, in the pods' order.
type Answers = BTreeMap<String, usize>;
