//! Recorded clients and real rulesets. Needs root, the binary under test, and the corpus (`BPFTABLES_CORPUS`).

use bpftables_compat_tests::replay::{self, Report};
use bpftables_compat_tests::{suite, world};

fn check(what: &str, report: &Report, least: usize) {
    eprintln!("{what}: {} compared; left out for later issues:\n{}", report.compared, report.left_out_text());
    assert!(report.compared >= least, "{what}: only {} compared, expected at least {least}", report.compared);
    let shown: Vec<&String> = report.different.iter().take(12).collect();
    let text: String = shown.iter().map(|d| format!("\n{d}\n")).collect();
    assert!(report.different.is_empty(), "{text}\n{what}: {} of {} differ", report.different.len(), report.compared);
}

fn session(name: &str, least: usize) {
    let file = world::corpus().expect("the corpus").join("clients").join(name);
    let report = replay::session(&file, suite::subject()).unwrap_or_else(|e| panic!("{name}: {e}"));
    check(name, &report, least);
}

#[test]
fn kube_proxy_is_answered_as_it_was_recorded() {
    session("kube-proxy-1.20.2.jsonl.gz", 300);
}

#[test]
fn cni_plugins_are_answered_as_they_were_recorded() {
    session("cni.jsonl.gz", 180);
}

#[test]
fn netavark_is_answered_as_it_was_recorded() {
    session("netavark.jsonl.gz", 300);
}

#[test]
fn fail2ban_is_answered_as_it_was_recorded() {
    session("fail2ban.jsonl.gz", 75);
}

#[test]
fn ufw_is_answered_as_it_was_recorded() {
    session("ufw.jsonl.gz", 900);
}

#[test]
fn shorewall_is_answered_as_it_was_recorded() {
    session("shorewall.jsonl.gz", 330);
}

#[test]
fn public_rulesets_are_saved_as_by_legacy() {
    let dir = world::corpus().expect("the corpus").join("rulesets");
    let report = replay::rulesets(&dir, suite::subject()).expect("the rulesets can be read");
    check("rulesets", &report, 40);
}

#[test]
fn dumps_of_kube_proxy_come_back_byte_for_byte() {
    for n in [10, 1000] {
        let file = world::corpus().expect("the corpus").join(format!("kube-proxy/iptables-save-{n}.gz"));
        let difference = replay::round_trip(&file, suite::subject()).expect("the dump can be restored");
        assert!(difference.is_none(), "iptables-save-{n}:\n{}", difference.unwrap_or_default());
    }
}
