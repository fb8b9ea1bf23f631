//! Rounds: whole rulesets and traffic drawn from a seed, run beside legacy, and compared byte for byte.
//!
//! A round is a [`Scenario`](crate::scenario::Scenario) that nobody wrote: rules in five tables with chains that jump to each other, then
//! conversations, and what disturbs them. What comes out must be equal: every packet that anybody received, and `iptables-save -c`.
//! `docs/deviations.md` says where it is not; what leads there is not drawn, and the place that avoids it names the deviation.
//!
//! `BPFTABLES_SEED` and `BPFTABLES_ROUNDS` say which rounds are run, `BPFTABLES_ROUND=N` runs that one alone. A round that differs is shrunk and printed as
//! a file that the `scenario` tool runs. So a soak is
//!
//! ```text
//! BPFTABLES_SEED=$RANDOM BPFTABLES_ROUNDS=1000000 cargo test --release -p bpftables-compat-tests --test rounds
//! ```

pub mod draw;
mod matches;
mod matches6;
mod pools;
mod rules;
pub mod run;
mod targets;
mod traffic;

use crate::world::Family;
use draw::Draw;
use std::fmt::Write as _;

/// What a round is about, which its rules and its traffic both heed.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// Whose rules and packets.
    pub family: Family,
    /// Rules may ask for connections. Legacy puts fragments together then, so there are none (docs/deviations.md, "Fragments").
    pub stateful: bool,
    /// Rules may reject.
    pub reject: bool,
    /// Rules may put connections into zones.
    pub zones: bool,
}

/// Where a rule stands.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    family: Family,
    table: &'static str,
    /// The hooks from which packets may come.
    hooks: &'a [&'static str],
    /// In a chain of one's own.
    user: bool,
    stateful: bool,
    want: Want,
    /// The rule is for TCP alone.
    tcp: bool,
    /// The rule is for segments that open connections.
    syn: bool,
}

impl Place<'_> {
    /// Whether packets come from no other hooks than these.
    fn only(&self, hooks: &[&str]) -> bool {
        self.hooks.iter().all(|hook| hooks.contains(hook))
    }

    /// Whether rules may look at what a connection is beyond its state.
    fn connections(&self) -> bool {
        // docs/deviations.md: between a CT rule and the end of raw, legacy asks the rule's template.
        self.stateful && (self.table != "raw" || !self.want.zones)
    }
}

/// A table of a round.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its chains with their policies, `-` for chains of one's own.
    pub chains: Vec<(String, &'static str)>,
    /// Its rules, `-A CHAIN ...`.
    pub rules: Vec<String>,
}

/// Rules and traffic.
#[derive(Debug, Clone)]
pub struct Round {
    /// Whose.
    pub family: Family,
    /// All five tables.
    pub tables: Vec<Table>,
    /// What happens.
    pub steps: Vec<String>,
}

impl Round {
    /// Draws a round.
    pub fn new(family: Family, seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let stateful = draw.percent(75);
        let zones = stateful && draw.percent(12);
        let want = Want { family, stateful, reject: draw.percent(60), zones };
        let tables = rules::tables(&mut draw, want);
        let mut steps = traffic::steps(&mut draw, want);
        if steps.iter().any(|step| step.contains("proto=47")) {
            // docs/deviations.md: an error about a GRE packet that is INVALID may be RELATED. So there are none.
            steps.retain(|step| !step.contains(" error "));
            for step in steps.iter_mut().filter(|step| step.contains(" reply ")) {
                *step = step.replace(" hl=1", " hl=64").replace(" ttl=1", " ttl=64");
            }
        }
        Self { family, tables, steps }
    }

    /// Input of `iptables-restore`. Names of lists and tables of buckets end in `n`, so that no round finds what another left.
    pub fn rules(&self, n: usize) -> String {
        let mut out = String::new();
        for table in &self.tables {
            let _ = writeln!(out, "*{}", table.name);
            for (chain, policy) in &table.chains {
                let _ = writeln!(out, ":{chain} {policy} [0:0]");
            }
            for rule in &table.rules {
                let _ = writeln!(out, "{rule}");
            }
            out += "COMMIT\n";
        }
        out.replace("{n}", &n.to_string())
    }

    /// The round as a file of scenarios.
    pub fn scenario(&self, name: &str) -> String {
        let family = if self.family == Family::V6 { "@ipv6\n" } else { "" };
        let rules = self.rules(0);
        let asked = if rules.contains("devgroup") { &run::SETUP[..] } else { &[] };
        let setup: String = asked.iter().map(|line| format!("@ip r {line}\n")).collect();
        format!("### {name}\n{family}{setup}{rules}---\n{}\n", self.steps.join("\n"))
    }
}
