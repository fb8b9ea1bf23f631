//! Random rulesets and random traffic beside legacy. Needs root and the binary under test.

use bpftables_compat_tests::rounds::run::{Report, rounds};
use bpftables_compat_tests::world::Family;

/// Another seed tries others; a fixed one means that a failure is due to the change.
const SEED: u64 = 20_261_126;

fn check(family: Family) {
    let start = std::time::Instant::now();
    let Report { rounds, evidence, failures, fleeting, undecided } =
        rounds(family, 1000, SEED).expect("rounds can be run");
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
