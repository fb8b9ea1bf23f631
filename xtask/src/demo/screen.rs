//! What the demo shows at the end.

use super::traffic::Outcome;
use super::{Side, cluster};

/// Rules worth a line: what it stands for, and what its saved text contains.
const SHOWN: &[(&str, &[&str])] = &[
    ("nat PREROUTING -> KUBE-SERVICES", &["nat -A PREROUTING ", "-j KUBE-SERVICES"]),
    ("nat OUTPUT -> KUBE-SERVICES", &["nat -A OUTPUT ", "-j KUBE-SERVICES"]),
    ("nat ClusterIP of web", &["nat -A KUBE-SERVICES ", "demo/web:http cluster IP"]),
    ("nat ClusterIP of solo", &["nat -A KUBE-SERVICES ", "demo/solo:http cluster IP"]),
    ("nat NodePort of web", &["nat -A KUBE-NODEPORTS ", "demo/web:http"]),
    ("nat NodePort of sticky", &["nat -A KUBE-NODEPORTS ", "demo/sticky:http"]),
    ("nat KUBE-MARK-MASQ", &["nat -A KUBE-MARK-MASQ ", "--set-xmark 0x4000/0x4000"]),
    ("nat MASQUERADE", &["nat -A KUBE-POSTROUTING ", "-j MASQUERADE"]),
    ("filter FORWARD of marked", &["filter -A KUBE-FORWARD ", "--mark 0x4000/0x4000"]),
    ("filter FORWARD established", &["filter -A KUBE-FORWARD ", "RELATED,ESTABLISHED"]),
    ("filter REJECT, no endpoints", &["filter -A KUBE-SERVICES ", "demo/empty:http has no endpoints"]),
];

/// Lines of a long listing that are shown.
const LISTED: usize = 6;

/// Prints the screen.
pub(super) fn show(ours: &Side, legacy: &Side, requests: u32) {
    println!("One node, four pods, a client outside; {requests} requests of each kind, one connection each.\n");
    println!("{:<42} {:^29} {:^29}", "", "ours", "legacy");
    let columns = format!("{:>9}  {:^13} {:>5}", "well", "by web-0,1,2", "ms");
    println!("{:<42} {columns} {columns}", "requests");
    for (mine, theirs) in ours.outcomes.iter().zip(&legacy.outcomes) {
        println!("{:<42} {} {}", mine.label, cell(mine), cell(theirs));
    }
    let total = |side: &Side| format!("{:>9}  {:^13} {:>5}", "", "", side.elapsed.as_millis());
    println!("{:<42} {} {}", "together", total(ours), total(legacy));
    let restore = |side: &Side| format!("{:>9}  {:^13} {:>5.0}", "", "", side.restore.wall_ms);
    println!("{:<42} {} {}", "iptables-restore of the ruleset", restore(ours), restore(legacy));

    println!("\n{:<42} {:>29} {:>29}", "counters [packets:bytes]", "ours", "legacy");
    for (label, parts) in SHOWN {
        let count = |side: &Side| match side.counters.find(parts) {
            Some((packets, bytes)) => format!("[{packets}:{bytes}]"),
            None => "absent".to_owned(),
        };
        println!("{label:<42} {:>29} {:>29}", count(ours), count(legacy));
    }

    println!("\nconnections, by our own listing (`bpftables conntrack list`):");
    let total = ours.connections.lines().count();
    ours.connections.lines().take(LISTED).for_each(|line| println!("  {line}"));
    println!(
        "  ... {total} lines in all; `conntrack -L` of the legacy node has {}",
        legacy.connections.lines().count()
    );
    if let Some(status) = &ours.status {
        println!("\n`bpftables status`:");
        status.lines().for_each(|line| println!("  {line}"));
    }
    println!("\nnetfilter's own, in our node:");
    for (command, output) in &ours.netfilter {
        let state = match output.lines().count() {
            0 => "empty".to_owned(),
            lines => format!("{lines} lines"),
        };
        println!("  {command:<24} {state}");
    }
}

fn cell(outcome: &Outcome) -> String {
    let ended = format!("{}/{}", outcome.as_expected(), outcome.requests);
    let by: Vec<String> = (0..cluster::BACKENDS)
        .map(|index| outcome.answers.get(&format!("web-{index}")).copied().unwrap_or(0).to_string())
        .collect();
    let by = if outcome.refused > 0 && outcome.answered() == 0 { "refused".to_owned() } else { by.join(" ") };
    format!("{ended:>9}  {by:^13} {:>5}", outcome.elapsed.as_millis())
}
