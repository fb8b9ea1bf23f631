//! Runs rounds in a pair of worlds, and makes those that differ small.

use super::Round;
use super::router::Router;
use crate::run::{Outcome, run};
use crate::scenario::parse;
use crate::suite::{Pair, subject};
use crate::world::{Family, Kind};
use crate::{Result, diff};
use std::collections::BTreeMap;
use std::time::Duration;

/// A pair of worlds that rounds are run in, one after the other.
struct Runner {
    family: Family,
    pair: Pair,
    /// How many rounds were run.
    count: usize,
}

impl Runner {
    fn new(family: Family, router: Router, subject: Kind) -> Result<Self> {
        let mut pair = Pair::new(subject, family, in_vrf())?;
        let setup: String = router.setup(family).iter().map(|line| format!("@{line}\n")).collect();
        let mut all = parse(&format!("### setup\n{setup}---\nsleep 0\n"))?;
        let mut sc = all.remove(0);
        sc.family = family;
        pair.both(|world| run(world, &sc, Duration::ZERO))?;
        if family == Family::V6 {
            // Such a change has a device say its groups once more.
            std::thread::sleep(Duration::from_millis(300));
        }
        Ok(Self { family, pair, count: 0 })
    }

    /// What both saw. (docs/deviations.md, "REJECT": an error about a RST quotes its whole sum. So what is quoted may have either.)
    fn both(&mut self, round: &Round, patience: Duration) -> Result<(Outcome, Outcome)> {
        self.count += 1;
        let setup: String = round.setup.iter().map(|line| format!("@{line}\n")).collect();
        let rules = round.rules(self.count);
        let mut all = parse(&format!("### round\n@partial-quotes\n{setup}{rules}---\n{}\n", round.steps.join("\n")))?;
        let mut sc = all.remove(0);
        (sc.family, sc.vrf) = (self.family, in_vrf());
        let (mut a, mut b) = self.pair.both(|world| {
            world.restore(&sc.rules, &[])?;
            world.forget_connections()?;
            let loaded = crate::scenario::Scenario { rules: String::new(), ..sc.clone() };
            run(world, &loaded, patience)
        })?;
        if round.unordered {
            a.text = sorted(&a.text);
            b.text = sorted(&b.text);
        }
        Ok((a, b))
    }

    /// The difference, if there is one.
    fn difference(&mut self, round: &Round, patience: Duration) -> Result<Option<String>> {
        let (a, b) = self.both(round, patience)?;
        Ok((a.text != b.text).then(|| diff::lines(&a.text, &b.text, "legacy", "subject")))
    }
}

/// What was received in each step in the order of its text.
fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    for step in lines.chunk_by_mut(|a, b| a.starts_with("    ") && b.starts_with("    ")) {
        step.sort_unstable();
    }
    lines.join("\n") + "\n"
}

impl Runner {
    /// Whether both, which are legacy, see the same, three times.
    fn settled(&mut self, round: &Round) -> Result<bool> {
        for _ in 0..3 {
            if self.difference(round, Duration::ZERO)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether the router's devices are members of a VRF (`COMPAT_VRF`).
fn in_vrf() -> bool {
    std::env::var_os("COMPAT_VRF").is_some()
}

/// What came of a number of rounds.
#[derive(Debug, Default)]
pub struct Report {
    /// Rounds that were run.
    pub rounds: usize,
    /// Packets, answers and counted rules that legacy showed.
    pub evidence: usize,
    /// Rounds that differ, as scenarios.
    pub failures: Vec<String>,
    /// Rounds that differed only among others.
    pub fleeting: usize,
    /// Rounds in which legacy differs from itself: it drew a port.
    pub undecided: usize,
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a number")))
}

/// Runs rounds of a family: `rounds` of them, or as many as the environment says. Stops at the third that differs.
pub fn rounds(family: Family, rounds: u64, seed: u64) -> Result<Report> {
    let seed = number("BPFTABLES_SEED").unwrap_or(seed);
    let rounds = number("BPFTABLES_ROUNDS").unwrap_or(rounds);
    let range = match number("BPFTABLES_ROUND") {
        Some(one) => one..one + 1,
        None => 0..rounds,
    };
    eprintln!("rounds {range:?} of {family:?}: BPFTABLES_SEED={seed}");
    let mut report = Report::default();
    let mut runners = BTreeMap::new();
    for n in range {
        let mut round = Round::of(family, seed, n);
        if in_vrf() {
            if round.router == Router::Bridged {
                continue;
            }
            round.by_vrf();
        }
        let name = format!("round {n} of {family:?}, seed {seed}");
        report.rounds += 1;
        let router = round.router;
        let runner = match runners.entry(router) {
            std::collections::btree_map::Entry::Occupied(at) => at.into_mut(),
            std::collections::btree_map::Entry::Vacant(at) => at.insert(Runner::new(family, router, subject())?),
        };
        let (a, b) = runner.both(&round, Duration::ZERO).map_err(|e| format!("{e}\n{}", round.scenario(&name)))?;
        report.evidence += a.evidence;
        if a.text == b.text {
            continue;
        }
        // Seen alone and slowly, too?
        *runner = Runner::new(family, router, subject())?;
        if runner.difference(&round, Duration::from_millis(20))?.is_none() {
            eprintln!(
                "note: {name} differs only after others:\n{}",
                diff::lines(&a.text, &b.text, "legacy", "subject")
            );
            report.fleeting += 1;
            continue;
        }
        let mut twice = Runner::new(family, router, Kind::Legacy)?;
        if !twice.settled(&round)? {
            report.undecided += 1;
            eprintln!(
                "note: {name} is different each time in legacy:\n{}",
                diff::lines(&a.text, &b.text, "legacy", "subject")
            );
            continue;
        }
        let (small, difference) = shrink(runner, &mut twice, round)?;
        report.failures.push(format!("{}\n{difference}", small.scenario(&name)));
        if report.failures.len() > 2 {
            break;
        }
    }
    Ok(report)
}

/// Drops rules and steps, from halves down to single ones, as long as a difference stays.
fn shrink(runner: &mut Runner, twice: &mut Runner, mut round: Round) -> Result<(Round, String)> {
    let mut shown = runner.difference(&round, Duration::ZERO)?.unwrap_or_else(|| "not seen again".to_owned());
    let mut again = true;
    while again {
        again = false;
        let tables = round.tables.len();
        for part in (0..=tables).rev() {
            let len = |round: &Round| round.tables.get(part).map_or(round.steps.len(), |table| table.rules.len());
            let mut piece = len(&round).div_ceil(2);
            while piece > 0 {
                let mut at = 0;
                while at < len(&round) {
                    let mut less = round.clone();
                    let lines = match less.tables.get_mut(part) {
                        Some(table) => &mut table.rules,
                        None => &mut less.steps,
                    };
                    let to = (at + piece).min(lines.len());
                    lines.drain(at..to);
                    // A round without steps is no scenario, nor is one whose rules are refused for want of others.
                    let smaller = match less.steps.is_empty() {
                        true => None,
                        false => runner.difference(&less, Duration::ZERO).unwrap_or_default(),
                    };
                    match smaller {
                        Some(difference) if twice.settled(&less)? => (round, shown, again) = (less, difference, true),
                        _ => at += piece,
                    }
                }
                piece /= 2;
            }
        }
    }
    // Chains and policies that nothing needs.
    for n in 0..round.tables.len() {
        let table = &mut round.tables[n];
        let rules = table.rules.join("\n") + "\n";
        table.chains.retain(|(chain, policy)| {
            *policy != "-" || rules.contains(&format!(" {chain} ")) || rules.contains(&format!(" {chain}\n"))
        });
    }
    let untouched =
        |table: &super::Table| table.rules.is_empty() && table.chains.iter().all(|(_, policy)| *policy == "ACCEPT");
    round.tables.retain(|table| !untouched(table));
    Ok((round, shown))
}
