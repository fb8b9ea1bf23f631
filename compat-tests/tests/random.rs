//! What is random by design is compared by distribution and uniqueness. Needs root and the binary under test.

use bpftables_compat_tests::run::run;
use bpftables_compat_tests::scenario::Scenario;
use bpftables_compat_tests::suite;
use bpftables_compat_tests::world::{Kind, World};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The report of a scenario in legacy and in the subject.
fn both(rules: &str, steps: &str) -> [(Kind, String); 2] {
    [Kind::Legacy, suite::subject()].map(|kind| {
        let sc = Scenario::new("random", rules, steps).expect("a scenario");
        let mut world = World::new(kind, 0).expect("a world");
        let out = run(&mut world, &sc, Duration::from_millis(1)).unwrap_or_else(|e| panic!("{kind:?}: {e}"));
        (kind, out.text)
    })
}

/// Packets that a rule counted.
fn counted(text: &str, rule: &str) -> u64 {
    let line =
        text.lines().find(|l| l.starts_with('[') && l.contains(rule)).unwrap_or_else(|| panic!("{rule}:\n{text}"));
    line[1..].split(':').next().and_then(|n| n.parse().ok()).expect("a counter")
}

/// Source address and port, destination address and port of every packet that node `node` received.
fn seen(text: &str, node: char) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|l| l.trim_start().strip_prefix(&format!("{node}: ")))
        .filter_map(|l| l.split_once(" > "))
        .map(|(a, b)| (a.to_owned(), b.split_whitespace().next().unwrap_or_default().to_owned()))
        .collect()
}

#[test]
fn statistic_random_lets_its_share_through() {
    let rules = "*filter\n-A FORWARD -m statistic --mode random --probability 0.25\n\
                 -A FORWARD -m statistic --mode random ! --probability 0.25\n\
                 -A FORWARD -m statistic --mode random --probability 0.01 -m comment --comment rare\nCOMMIT\n";
    for (kind, text) in both(rules, "repeat 600 c> udp 10.1.0.10:1 10.2.0.10:2 len=1\n") {
        // 600 draws: 150 expected with deviation 10.6; 6 expected with deviation 2.4.
        let some = counted(&text, "--probability 0.25000000000\n".trim());
        assert!((90..=210).contains(&some), "{kind:?}: {some} of 600 at 0.25");
        let others = counted(&text, "! --probability 0.25");
        assert!((390..=510).contains(&others), "{kind:?}: {others} of 600 at not 0.25");
        let few = counted(&text, "rare");
        assert!(few <= 25, "{kind:?}: {few} of 600 at 0.01");
    }
}

#[test]
fn source_ports_are_unique_while_there_are_enough() {
    let rules = "*nat\n-A POSTROUTING -o eth1 -p udp -j SNAT --to-source 10.2.0.100:3000-3199\nCOMMIT\n";
    for (kind, text) in both(rules, "repeat 150 c> udp 10.1.1.{i}:1000 10.2.0.10:53 len=1\n") {
        let packets = seen(&text, 's');
        assert_eq!(packets.len(), 150, "{kind:?}");
        let sources: BTreeSet<&String> = packets.iter().map(|(s, _)| s).collect();
        assert_eq!(sources.len(), 150, "{kind:?}: a source port was given twice");
        for s in sources {
            let (a, p) = s.split_once(':').expect("a port");
            assert!(a == "10.2.0.100" && (3000..=3199).contains(&p.parse::<u16>().unwrap_or(0)), "{kind:?}: {s}");
        }
    }
}

#[test]
fn a_full_port_range_refuses_what_it_cannot_map() {
    let rules = "*nat\n-A POSTROUTING -o eth1 -p udp -j SNAT --to-source 10.2.0.100:3000-3003\nCOMMIT\n";
    for (kind, text) in both(rules, "repeat 12 c> udp 10.1.1.{i}:1000 10.2.0.10:53 len=1\n") {
        let packets = seen(&text, 's');
        let sources: BTreeSet<&String> = packets.iter().map(|(s, _)| s).collect();
        assert_eq!(sources.len(), packets.len(), "{kind:?}: a source port was given twice");
        assert!((3..=4).contains(&packets.len()), "{kind:?}: {} connections in four ports", packets.len());
        assert_eq!(counted(&text, "-j SNAT"), 12, "{kind:?}");
    }
}

#[test]
fn fully_random_masquerading_spreads_its_ports() {
    let rules = "*nat\n-A POSTROUTING -o eth1 -j MASQUERADE --random-fully\nCOMMIT\n";
    for (kind, text) in both(rules, "repeat 200 c> tcp 10.1.0.10:{i} 10.2.0.10:80 S\n") {
        let packets = seen(&text, 's');
        let ports: BTreeSet<u16> = packets.iter().filter_map(|(s, _)| s.split(':').nth(1)?.parse().ok()).collect();
        assert_eq!((packets.len(), ports.len()), (200, 200), "{kind:?}: not unique");
        let low = ports.iter().filter(|p| **p < 1024).count();
        let spread = ports.iter().max().unwrap_or(&0) - ports.iter().min().unwrap_or(&0);
        assert!(spread > 20_000 || low > 100, "{kind:?}: ports within {spread}: {ports:?}");
    }
}

#[test]
fn a_range_of_destinations_is_used_whole_and_one_client_stays_with_one() {
    let rules = "*nat\n-A PREROUTING -d 10.9.9.9/32 -j DNAT --to-destination 10.2.0.10-10.2.0.13\nCOMMIT\n";
    let steps =
        "repeat 80 c> udp 10.1.1.{i}:1000 10.9.9.9:53 len=1\nrepeat 80 c> udp 10.1.1.{i}:1001 10.9.9.9:53 len=1\n";
    for (kind, text) in both(rules, steps) {
        let mut of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut used = BTreeSet::new();
        for (s, d) in seen(&text, 's') {
            let host = |x: &str| x.split(':').next().unwrap_or_default().to_owned();
            used.insert(host(&d));
            of.entry(host(&s)).or_default().insert(host(&d));
        }
        assert_eq!(of.len(), 80, "{kind:?}");
        assert_eq!(
            used.into_iter().collect::<Vec<_>>(),
            ["10.2.0.10", "10.2.0.11", "10.2.0.12", "10.2.0.13"],
            "{kind:?}"
        );
        let moved = of.values().filter(|d| d.len() > 1).count();
        assert_eq!(moved, 0, "{kind:?}: {moved} of 80 clients met two servers");
    }
}
