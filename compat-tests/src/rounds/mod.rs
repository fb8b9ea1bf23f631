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
mod matches_local;
mod matches_way;
mod pools;
pub mod router;
mod rules;
pub mod run;
mod sctp;
mod sets;
mod targets;
mod traffic;

use crate::world::Family;
use draw::Draw;
use router::Router;
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
    /// Where the round is run.
    pub router: Router,
    /// Rules may send copies to this network, and nothing else does.
    pub tee: Option<usize>,
    /// Rules may ask for a rate.
    pub rates: bool,
    /// Rules ask for sets that change meanwhile.
    pub sets: bool,
    /// The router has sockets.
    pub sockets: bool,
    /// Rules may give packets to sockets.
    pub proxy: bool,
    /// The network whose prefix rules may translate.
    pub prefix: usize,
}

impl Want {
    fn new(draw: &mut Draw, family: Family, prefix: usize) -> Self {
        let stateful = draw.percent(75);
        let zones = stateful && draw.percent(12);
        let router = Router::any(draw);
        let bridged = router == Router::Bridged;
        let tee = (!bridged && draw.percent(6)).then(|| draw.from_to(3, 4));
        let sockets = !bridged && tee.is_none() && draw.percent(15);
        Self {
            family,
            stateful,
            // docs/deviations.md, "TEE": an answer to a copy comes behind the answer to the packet, and whoever got both replies to the last.
            reject: tee.is_none() && draw.percent(60),
            zones,
            router,
            tee,
            rates: draw.percent(5),
            sets: draw.percent(5),
            sockets,
            proxy: sockets && router == Router::Climbing && draw.percent(60),
            prefix,
        }
    }

    /// How many networks, from the first on, rules and packets name.
    fn nets(&self) -> usize {
        self.tee.unwrap_or(4) - 1
    }
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

    /// Whether a rule sees packets in legacy's order.
    fn in_order(&self) -> bool {
        // docs/deviations.md: a copy passes OUTPUT and POSTROUTING behind its packet, not amid its rules.
        self.want.tee.is_none() || self.only(&["PREROUTING", "INPUT", "FORWARD"])
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
    /// Where.
    pub router: Router,
    /// Several packets of one step may arrive in any order.
    pub unordered: bool,
    /// What the router has besides, as steps.
    pub setup: Vec<String>,
    /// All five tables.
    pub tables: Vec<Table>,
    /// What happens.
    pub steps: Vec<String>,
}

impl Round {
    /// For a router whose devices are members of the VRF `blue`: every other rule that names a device names the VRF, and there are none that
    /// are refused beside one (docs/deviations.md, "VRF devices").
    fn by_vrf(&mut self) {
        const REFUSED: [&str; 6] =
            ["-j TEE", "-j TPROXY", "-m socket", "--limit-iface-in", "--limit-iface-out", "--accept-local"];
        for table in &mut self.tables {
            table.rules.retain(|rule| !REFUSED.iter().any(|words| rule.contains(words)));
            for rule in table.rules.iter_mut().step_by(2) {
                for device in ["eth0", "eth1", "eth2", "tun0"] {
                    for way in ["-i", "-o"] {
                        *rule = rule.replace(&format!("{way} {device} "), &format!("{way} blue "));
                    }
                }
            }
        }
    }

    /// Draws round `n` of a seed.
    pub fn of(family: Family, seed: u64, n: u64) -> Self {
        Self::new(family, Draw::new(seed ^ n << 32).bits())
    }

    /// Draws a round.
    pub fn new(family: Family, seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        // By a draw of its own, so that the others stay what they were.
        let want = Want::new(&mut draw, family, Draw::new(!seed).from_to(1, 3));
        let tables = rules::tables(&mut draw, want);
        let mut steps = traffic::steps(&mut draw, want);
        if steps.iter().any(|step| step.contains("proto=47")) {
            // docs/deviations.md: an error about a GRE packet that is INVALID may be RELATED. So there are none.
            steps.retain(|step| !step.contains(" error "));
            for step in steps.iter_mut().filter(|step| step.contains(" reply ")) {
                *step = step.replace(" hl=1", " hl=64").replace(" ttl=1", " ttl=64");
            }
        }
        let mut setup = Vec::new();
        if want.sockets {
            setup.extend(router::sockets(&mut draw, family, want.proxy));
        }
        if want.sets {
            setup.push(sets::fill(&mut draw, family));
        }
        Self { family, router: want.router, unordered: want.tee.is_some(), setup, tables, steps }
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
        let asked = |line: &String| match line {
            line if line.contains(" group ") => rules.contains("devgroup"),
            line if line.starts_with("ipset") => rules.contains("-m set"),
            line if line.contains("syncookies") => self.setup.iter().any(|line| line.contains("listen tcp")),
            line if line.contains("lookup 100") || line.contains("table 100") => rules.contains("TPROXY"),
            _ => true,
        };
        let setup = self.router.setup(self.family).into_iter().filter(asked).chain(self.setup.iter().cloned());
        let setup: String = setup.map(|line| format!("@{line}\n")).collect();
        format!("### {name}\n{family}@partial-quotes\n{setup}{rules}---\n{}\n", self.steps.join("\n"))
    }
}
