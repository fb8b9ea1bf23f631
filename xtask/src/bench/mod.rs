//! `cargo xtask bench`: ours, netfilter's iptables and nft side by side, in one run on one machine.

mod backend;
mod commit;
mod connect;
mod devices;
mod forward;
mod frames;
mod import;
mod report;
mod rules;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::project::{self, Project, Tools};
use crate::{Ours, netns, setup};

use backend::Backend;
use report::{Report, Row};

/// The command line of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct Options {
    /// Fewer sizes, shorter runs: minutes, not a quarter of an hour
    #[arg(long)]
    quick: bool,
    /// Only these groups
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Group>,
    /// Only rulesets (or services) up to this many
    #[arg(long, value_name = "N")]
    up_to: Option<usize>,
    /// Packets: only by these (to profile one)
    #[arg(long, value_enum, value_delimiter = ',')]
    by: Vec<Backend>,
    /// What plays our part (to prove the bench itself)
    #[arg(long, value_enum, default_value_t, hide = true)]
    ours: Ours,
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    /// 64-byte UDP packets through a router, by number of rules
    Forward,
    /// TCP connections to a service among many
    Connect,
    /// iptables-restore of kube-proxy rulesets: time and memory
    Restore,
    /// One -A at 5,000 and at 225,515 rules
    Append,
    /// kube-proxy's --noflush update of one service among 10,000, and among 20,000
    Update,
    /// Devices that appear: how long until ours are attached, and the agent's memory
    Devices,
    /// netfilter's connections, taken over by the first rule that asks for tracking
    Import,
}

/// What every group needs.
struct Bench {
    ours: Tools,
    legacy: Tools,
    /// Where rulesets are written for the tools to read.
    dir: PathBuf,
    quick: bool,
    up_to: usize,
    /// Who forwards; empty: everybody.
    by: Vec<Backend>,
}

impl Bench {
    /// Runs of each measurement; their median is the result.
    fn runs(&self) -> usize {
        if self.quick { 5 } else { 9 }
    }

    /// How long one run of traffic lasts.
    fn run_time(&self) -> Duration {
        Duration::from_millis(if self.quick { 150 } else { 300 })
    }

    /// The longest that a command may take.
    fn limit(&self) -> Duration {
        Duration::from_secs(if self.quick { 60 } else { 180 })
    }

    /// Writes a ruleset where a tool can read it.
    fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// Runs the groups, prints the table, keeps the JSON.
///
/// # Errors
/// Setup or build fail. A measurement that fails is a row that says so, not the end.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::run(false)?;
    let project = Project::find()?;
    let legacy = Tools::legacy()?;
    let ours = match options.ours {
        Ours::Bpf => Tools::ours(&project, &project.build()?)?,
        Ours::Legacy => legacy.clone(),
    };
    project::become_root()?;
    netns::start(ours.admin.as_deref())?;
    let dir = project.target.join("bench");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let bench = Bench {
        ours,
        legacy,
        dir: dir.clone(),
        quick: options.quick,
        up_to: options.up_to.unwrap_or(usize::MAX),
        by: options.by.clone(),
    };
    let mut report = Report::new(dir, options.quick)?;
    for group in Group::value_variants() {
        if !options.only.is_empty() && !options.only.contains(group) {
            continue;
        }
        let mut keep = |row: Row| report.add(row);
        match group {
            Group::Forward => forward::run(&bench, &mut keep)?,
            Group::Connect => connect::run(&bench, &mut keep)?,
            Group::Restore => commit::restore(&bench, &mut keep)?,
            Group::Append => commit::append(&bench, &mut keep)?,
            Group::Update => commit::update(&bench, &mut keep)?,
            Group::Devices => devices::run(&bench, &mut keep)?,
            Group::Import => import::run(&bench, &mut keep)?,
        }
        report.save()?;
    }
    report.print();
    Ok(())
}

/// The middle value; of an even number, the mean of the two in the middle.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let upper = *sorted.get(half)?;
    Some(if sorted.len() % 2 == 1 { upper } else { (sorted[half - 1] + upper) / 2.0 })
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_and_of_nothing_there_is_none() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
