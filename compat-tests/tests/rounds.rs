//! Random rulesets and random traffic beside legacy. Needs root and the binary under test.

use bpftables_compat_tests::rounds::Round;
use bpftables_compat_tests::rounds::router::Router;
use bpftables_compat_tests::rounds::run::{Report, rounds};
use bpftables_compat_tests::world::Family;
use std::collections::BTreeSet;

/// Another seed tries others; a fixed one means that a failure is due to the change.
const SEED: u64 = 20_261_126;
/// Of each family. (`BPFTABLES_ROUNDS` and `BPFTABLES_SEED` try more, which changes of programs want.)
const ROUNDS: u64 = 700;

fn check(family: Family) {
    let start = std::time::Instant::now();
    let Report { rounds, evidence, failures, fleeting, undecided } =
        rounds(family, ROUNDS, SEED).expect("rounds can be run");
    eprintln!(
        "{rounds} rounds of {family:?} in {:?}, {evidence} things seen, {fleeting} fleeting, {undecided} undecided",
        start.elapsed()
    );
    assert!(failures.is_empty(), "{} rounds differ:\n{}", failures.len(), failures.join("\n"));
    assert!(evidence > rounds * 20, "only {evidence} packets and counters were seen in {rounds} rounds");
    assert!(undecided * 50 <= rounds, "{undecided} of {rounds} rounds differed in legacy itself");
    assert!(fleeting * 200 <= rounds, "{fleeting} of {rounds} rounds differed only after others");
}

#[test]
fn random_rules_and_traffic_of_ipv4_give_what_they_give_in_legacy() {
    check(Family::V4);
}

#[test]
fn random_rules_and_traffic_of_ipv6_give_what_they_give_in_legacy() {
    check(Family::V6);
}

/// What coverage.md calls native and rounds leave out, each with the reason.
const NOT_DRAWN: [(Family, &str, &str); 2] =
    [(Family::V4, "-j SET", DRAWN_WITH_SETS), (Family::V6, "-j SET", DRAWN_WITH_SETS)];
const DRAWN_WITH_SETS: &str = "tests/sets.rs draws sets of all types together with the rules that change them";

/// What of a table of coverage.md is native in a family, as rules name it.
fn native(family: Family) -> BTreeSet<String> {
    let text = include_str!("../../docs/coverage.md");
    let mut word = "";
    let mut found = BTreeSet::new();
    for line in text.lines() {
        match line {
            "## Matches" => word = "-m",
            "## Targets" => word = "-j",
            _ => {}
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, v4, v6, ..] = &cells[..] else { continue };
        if let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`'))
            && (if family == Family::V4 { v4 } else { v6 }).starts_with("native")
        {
            found.insert(format!("{word} {name}"));
        }
    }
    found
}

/// The rounds that are run where nobody asks for others.
fn drawn(family: Family) -> Vec<Round> {
    (0..ROUNDS).map(|n| Round::of(family, SEED, n)).collect()
}

#[test]
fn whatever_runs_natively_is_drawn_or_has_a_reason() {
    for family in [Family::V4, Family::V6] {
        let native = native(family);
        assert!(native.len() > 60, "coverage.md names only {native:?}");
        let mut seen = BTreeSet::new();
        for round in drawn(family) {
            for rule in round.tables.iter().flat_map(|table| &table.rules) {
                let words: Vec<&str> = rule.split_whitespace().collect();
                seen.extend(words.windows(2).map(|pair| pair.join(" ")));
            }
        }
        for name in native {
            let reason = NOT_DRAWN.iter().find(|(of, what, _)| *of == family && *what == name);
            assert!(
                seen.contains(&name) != reason.is_some(),
                "{family:?}: {name} is neither drawn nor has a reason, or both"
            );
        }
    }
}

#[test]
fn rounds_have_what_connections_and_chains_can_be() {
    for family in [Family::V4, Family::V6] {
        let all = drawn(family);
        let with = |what: &dyn Fn(&Round) -> bool| all.iter().filter(|round| what(round)).count();
        let step = |words: &'static str| with(&|round| round.steps.iter().any(|step| step.contains(words)));
        for (words, least) in [
            (" frag=", 10),
            (" error ", 100),
            ("sctp ", 50),
            // Opened and closed by both at once, closed by one, broken off, and gone on with afterwards.
            (" reply S ack=0", 50),
            (" reply FA seq=5001", 10),
            (" reply FA", 100),
            (" reply R", 50),
            (" S seq=900000", 10),
            (" as=1000:", 50),
            ("ipset ", 10),
        ] {
            let count = step(words);
            assert!(count >= least, "{family:?}: {count} rounds have {words:?}");
        }
        let again = with(&|round| round.steps.windows(2).any(|two| two[0] == two[1]));
        assert!(again > 100, "{family:?}: {again} rounds send something again");
        let open = with(&|round| {
            let opened = round.steps.iter().filter(|step| step.contains(" S seq=100")).count();
            let answered = round.steps.iter().filter(|step| step.contains(" reply SA")).count();
            opened > answered
        });
        assert!(open > 50, "{family:?}: {open} rounds leave a connection half open");
        let deep = with(&|round| {
            round.tables.iter().any(|table| {
                let jump = |from: &str, to: usize| {
                    table.rules.iter().any(|rule| rule.starts_with(from) && rule.ends_with(&format!("-j U{to}")))
                };
                (0..7).all(|n| jump(&format!("-A U{n} "), n + 1))
                    && ["-A P", "-A I", "-A F", "-A O"].iter().any(|from| jump(from, 0))
            })
        });
        assert!(deep > 50, "{family:?}: {deep} rounds have chains eight deep");
        for router in Router::ALL {
            let there = with(&|round| round.router == router);
            assert!(there > all.len() / 10, "{family:?}: {there} rounds are run by {router:?}");
        }
        let proxies = with(&|round| {
            round.setup.iter().any(|line| line.contains("listen")) && round.rules(0).contains("-j TPROXY")
        });
        assert!(proxies > 10, "{family:?}: {proxies} rounds have a proxy and its rule");
    }
}
