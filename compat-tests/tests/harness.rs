//! The harness itself: it must see a difference where there is one, and none where there is none. Needs root.

use bpftables_compat_tests::run::run;
use bpftables_compat_tests::scenario::Scenario;
use bpftables_compat_tests::suite::differences;
use bpftables_compat_tests::world::{Kind, Node, World};
use std::time::Duration;

fn outcome(rules: &str, steps: &str) -> String {
    let mut world = World::new(Kind::Legacy, 0).expect("a world");
    let sc = Scenario::new("x", rules, steps).expect("a scenario");
    run(&mut world, &sc, Duration::from_millis(5)).expect("the scenario runs").text
}

const STEPS: &str = "c> udp 10.1.0.10:1000 10.2.0.10:53 len=8\nc> tcp 10.1.0.10:1 10.2.0.10:80 S\ns reply SA\n";

#[test]
fn two_legacy_worlds_are_equal() {
    let sc = Scenario::new("equal", "*filter\n-A FORWARD -p udp -j DROP\nCOMMIT\n", STEPS).expect("a scenario");
    let found = differences(&[&sc], Kind::Legacy);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_verdict_a_counter_and_a_rewrite_that_differ_are_seen() {
    let base = outcome("*filter\n-A FORWARD -p udp -j ACCEPT\nCOMMIT\n", STEPS);
    let verdict = outcome("*filter\n-A FORWARD -p udp -j DROP\nCOMMIT\n", STEPS);
    assert!(
        base.contains("    s: 10.1.0.10:1000 > 10.2.0.10:53") && !verdict.contains("    s: 10.1.0.10:1000"),
        "{base}{verdict}"
    );
    let counter = outcome("*filter\n-A FORWARD -p udp -m udp --dport 54 -j ACCEPT\nCOMMIT\n", STEPS);
    assert!(base.contains("[1:36] -A FORWARD") && counter.contains("[0:0] -A FORWARD"), "{counter}");
    let rewrite = outcome("*nat\n-A POSTROUTING -o eth1 -j SNAT --to-source 10.2.0.99\nCOMMIT\n", STEPS);
    assert!(rewrite.contains("    s: 10.2.0.99:1000 > 10.2.0.10:53"), "{rewrite}");
}

#[test]
fn a_scenario_that_shows_nothing_is_a_failure() {
    let sc = Scenario::new("vacuous", "", "sleep 1\n").expect("a scenario");
    let found = differences(&[&sc], Kind::Legacy);
    assert!(found.iter().any(|f| f.what.contains("proves nothing")), "{found:?}");
}

#[test]
fn rules_that_legacy_refuses_are_a_failure_of_the_scenario() {
    let sc = Scenario::new("refused", "*filter\n-A NOSUCH -j DROP\nCOMMIT\n", STEPS).expect("a scenario");
    let found = differences(&[&sc], Kind::Legacy);
    assert!(found.iter().any(|f| f.what.contains("iptables-restore")), "{found:?}");
}

#[test]
fn namespaces_leave_nothing_behind() {
    let world = World::new(Kind::Legacy, 0).expect("a world");
    let dir = world.tools.dir.clone();
    let path = world.net(Node::R).path();
    assert!(dir.exists() && std::path::Path::new(&path).exists());
    drop(world);
    assert!(!dir.exists(), "{} is still there", dir.display());
}
