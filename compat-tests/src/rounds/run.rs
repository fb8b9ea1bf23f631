//! Runs rounds in a pair of worlds, and makes those that differ small.

use super::Round;
use super::draw::Draw;
use crate::run::{Outcome, run};
use crate::scenario::parse;
use crate::suite::{Pair, subject};
use crate::world::{Family, Kind, Node};
use crate::{Result, diff};
use std::time::Duration;

/// What the router has besides: groups of devices, a realm.
pub const SETUP: [&str; 3] = ["link set eth1 group 5", "link set eth2 group 261", "link set tun0 group 5"];

/// A pair of worlds that rounds are run in, one after the other.
struct Runner {
    family: Family,
    pair: Pair,
    /// How many rounds were run.
    count: usize,
}

impl Runner {
    fn new(family: Family, subject: Kind) -> Result<Self> {
        let mut pair = Pair::new(subject, family)?;
        pair.both(|world| {
            let lines: String = SETUP.iter().map(|line| format!("{line}\n")).collect();
            world.net(Node::R).ip_batch(&lines)
        })?;
        if family == Family::V6 {
            // Such a change has a device say its groups once more.
            std::thread::sleep(Duration::from_millis(300));
        }
        Ok(Self { family, pair, count: 0 })
    }

    /// What both saw.
    fn both(&mut self, round: &Round, patience: Duration) -> Result<(Outcome, Outcome)> {
        self.count += 1;
        let mut all = parse(&format!("### round\n{}---\n{}\n", round.rules(self.count), round.steps.join("\n")))?;
        let mut sc = all.remove(0);
        sc.family = self.family;
        let (a, b) = self.pair.both(|world| {
            world.restore(&sc.rules, &[])?;
            world.forget_connections()?;
            let loaded = crate::scenario::Scenario { rules: String::new(), ..sc.clone() };
            run(world, &loaded, patience)
        })?;
        Ok((a, b))
    }

    /// The difference, if there is one.
    fn difference(&mut self, round: &Round, patience: Duration) -> Result<Option<String>> {
        let (a, b) = self.both(round, patience)?;
        Ok((a.text != b.text).then(|| diff::lines(&a.text, &b.text, "legacy", "subject")))
    }
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
    let mut runner = Runner::new(family, subject())?;
    for n in range {
        let round = Round::new(family, Draw::new(seed ^ n << 32).bits());
        let name = format!("round {n} of {family:?}, seed {seed}");
        report.rounds += 1;
        let (a, b) = runner.both(&round, Duration::ZERO).map_err(|e| format!("{e}\n{}", round.scenario(&name)))?;
        report.evidence += a.evidence;
        if a.text == b.text {
            continue;
        }
        // Seen alone and slowly, too?
        runner = Runner::new(family, subject())?;
        if runner.difference(&round, Duration::from_millis(20))?.is_none() {
            eprintln!(
                "note: {name} differs only after others:\n{}",
                diff::lines(&a.text, &b.text, "legacy", "subject")
            );
            report.fleeting += 1;
            continue;
        }
        let mut twice = Runner::new(family, Kind::Legacy)?;
        if !twice.settled(&round)? {
            report.undecided += 1;
            eprintln!(
                "note: {name} is different each time in legacy:\n{}",
                diff::lines(&a.text, &b.text, "legacy", "subject")
            );
            continue;
        }
        let (small, difference) = shrink(&mut runner, &mut twice, round)?;
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
                    // A round without steps is no scenario.
                    let smaller =
                        if less.steps.is_empty() { None } else { runner.difference(&less, Duration::ZERO)? };
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
