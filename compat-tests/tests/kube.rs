//! Real kube-proxy rulesets carry traffic: every kind of service in them, from outside, from a pod, from the host.
//! Needs root, the binary under test, and the corpus.
//!
//! Backends are drawn at random, so which one answered is summed up by service before the comparison.

use bpftables_compat_tests::sockets::{Ask, Server, tcp_get};
use bpftables_compat_tests::world::{Kind, Node, World, corpus};
use bpftables_compat_tests::{Result, diff, replay, suite};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// A service as its dump has it.
struct Service {
    address: Ipv4Addr,
    port: u16,
    /// The chain of its backends; none when it has no endpoints.
    chain: Option<String>,
}

fn word<'a>(line: &'a str, after: &str) -> Option<&'a str> {
    let mut w = line.split_whitespace();
    w.find(|x| *x == after)?;
    w.next()
}

fn services(dump: &str) -> Vec<Service> {
    dump.lines()
        .filter(|l| l.starts_with("-A KUBE-SERVICES -d "))
        .filter_map(|l| {
            let target = word(l, "-j")?;
            Some(Service {
                address: word(l, "-d")?.strip_suffix("/32")?.parse().ok()?,
                port: word(l, "--dport")?.parse().ok()?,
                chain: (target != "REJECT").then(|| target.to_owned()),
            })
        })
        .collect()
}

fn node_ports(dump: &str, chain: &str) -> Vec<u16> {
    dump.lines()
        .filter(|l| l.starts_with(&format!("-A {chain} ")))
        .filter_map(|l| word(l, "--dport")?.parse().ok())
        .collect()
}

fn node(dump: &str, kind: Kind) -> Result<World> {
    let mut w = World::new(kind, usize::from(kind == Kind::Ours))?;
    w.net(Node::R).sysctls(&["net/ipv4/conf/all/route_localnet=1"])?;
    w.net(Node::R).ip_batch(
        "route add 10.200.0.0/16 via 10.2.0.2\nroute add 10.77.0.0/16 via 10.3.0.2\nroute add default via 10.1.0.2\n",
    )?;
    w.net(Node::S).ip_batch("route add local 10.200.0.0/16 dev lo\n")?;
    w.net(Node::T).ip_batch("addr add 10.77.0.5/32 dev lo\n")?;
    w.restore(dump, &[])?;
    let server = Server::start(w.net(Node::S).handle()?, true, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 8080), None)?;
    w.servers.push(server);
    Ok(w)
}

fn get(w: &World, from: Node, source: [u8; 4], to: Ipv4Addr, port: u16) -> String {
    let ask = Ask {
        from: SocketAddrV4::new(source.into(), 0),
        to: SocketAddrV4::new(to, port),
        request: 10,
        response: 100,
        mark: 0,
        timeout: Duration::from_secs(1),
    };
    let said = w.net(from).run(move || tcp_get(ask));
    // The port is random; the address that the server saw is not.
    said.rsplit_once(':').map_or(said.clone(), |(head, _)| head.to_owned())
}

/// Counters with random choices summed by service.
fn counters(saved: &str) -> String {
    let mut service_of: BTreeMap<&str, &str> = BTreeMap::new();
    for l in saved.lines() {
        if let Some((_, r)) = l.split_once("-A KUBE-SVC-")
            && let (Some(svc), Some(sep)) = (r.split_whitespace().next(), word(l, "-j"))
            && sep.starts_with("KUBE-SEP-")
        {
            service_of.insert(sep, svc);
        }
    }
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    let mut out = String::new();
    let mut table = "";
    for l in saved.lines() {
        table = l.strip_prefix('*').unwrap_or(table);
        if l.contains("-A KUBE-SEP-") && l.contains("-j DNAT") {
            let chain = word(l, "-A").unwrap_or_default();
            let packets = l[1..].split(':').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or_default();
            *sums.entry(service_of.get(chain).copied().unwrap_or("?")).or_default() += packets;
        } else if l.contains("-A KUBE-SEP-") || l.contains("-j KUBE-SEP-") {
            // random
        } else if table == "nat" {
            out += &format!("{l}\n");
        } else {
            // Segments of a TCP stack vary in number.
            out += &format!("{}\n", l.split_once("] ").map_or(l, |x| x.1).split(" [").next().unwrap_or_default());
        }
    }
    for (svc, n) in sums {
        out += &format!("{svc}: {n} connections to backends\n");
    }
    out
}

fn traffic(n: usize, kind: Kind) -> Result<String> {
    let dump = replay::gunzip(&corpus()?.join(format!("kube-proxy/iptables-save-{n}.gz")))?;
    let w = node(&dump, kind)?;
    let mut out = String::new();
    let all = services(&dump);
    assert!(all.len() >= n, "{} services in a dump of {n}", all.len());
    let step = (n / 20).max(1);
    let (with, without): (Vec<_>, Vec<_>) = all.iter().partition(|s| s.chain.is_some());
    for s in with.iter().step_by(step).chain(without.iter().step_by(2)) {
        for (node, from) in [(Node::C, [10, 1, 0, 2]), (Node::T, [10, 77, 0, 5]), (Node::R, [0, 0, 0, 0])] {
            out += &format!("{} {}:{} {}\n", node.letter(), s.address, s.port, get(&w, node, from, s.address, s.port));
        }
    }
    let open = node_ports(&dump, "KUBE-NODEPORTS");
    assert!(!open.is_empty(), "no node ports in the dump");
    let closed = node_ports(&dump, "KUBE-EXTERNAL-SERVICES");
    for port in open.iter().step_by(step).chain(&closed) {
        for (node, from, to) in [
            (Node::C, [10, 1, 0, 2], [10, 1, 0, 1]),
            (Node::C, [10, 1, 0, 2], [10, 2, 0, 1]),
            (Node::T, [10, 77, 0, 5], [10, 3, 0, 1]),
            (Node::R, [0, 0, 0, 0], [10, 2, 0, 1]),
            (Node::R, [127, 0, 0, 1], [127, 0, 0, 1]),
        ] {
            out += &format!("{} node port {to:?}:{port} {}\n", node.letter(), get(&w, node, from, to.into(), *port));
        }
    }
    out += &counters(&w.save()?);
    Ok(out)
}

fn compare(n: usize) {
    let legacy = traffic(n, Kind::Legacy).expect("legacy carries the traffic");
    assert!(legacy.contains("answered, server saw 10.2.0.1"), "masqueraded answers expected:\n{legacy}");
    assert!(legacy.contains("answered, server saw 10.77.0.5"), "a pod's own address expected:\n{legacy}");
    let ours = traffic(n, suite::subject()).expect("the subject carries the traffic");
    assert!(legacy == ours, "{}", diff::lines(&legacy, &ours, "legacy", "subject"));
}

#[test]
fn services_of_a_cluster_with_ten_are_answered_as_by_legacy() {
    compare(10);
}

#[test]
fn services_of_a_cluster_with_a_thousand_are_answered_as_by_legacy() {
    compare(1000);
}

#[test]
fn every_backend_of_a_service_gets_its_share_and_reaches_itself() {
    let dump = replay::gunzip(&corpus().expect("the corpus").join("kube-proxy/iptables-save-10.gz")).expect("the dump");
    for kind in [Kind::Legacy, suite::subject()] {
        let w = node(&dump, kind).expect("the node can be built");
        let all = services(&dump);
        let s = &all[0];
        let chain = s.chain.as_deref().expect("a service with endpoints");
        for _ in 0..90 {
            let said = get(&w, Node::C, [10, 1, 0, 2], s.address, s.port);
            assert_eq!(said, "answered, server saw 10.2.0.1", "{kind:?}");
        }
        let saved = w.save().expect("iptables-save");
        let seps: Vec<&str> = saved
            .lines()
            .filter(|l| l.contains(&format!("-A {chain} ")))
            .filter_map(|l| word(l, "-j"))
            .filter(|t| t.starts_with("KUBE-SEP-"))
            .collect();
        assert_eq!(seps.len(), 3);
        let mut endpoints = Vec::new();
        for sep in seps {
            let rule = saved
                .lines()
                .find(|l| l.contains(&format!("-A {sep} ")) && l.contains("-j DNAT"))
                .expect("a DNAT rule");
            let hits: u64 = rule[1..].split(':').next().and_then(|n| n.parse().ok()).expect("a counter");
            // 90 draws of 1/3: 30 expected, deviation 4.5.
            assert!((4..=56).contains(&hits), "{kind:?}: {sep} got {hits} of 90");
            let to = word(rule, "--to-destination").expect("a destination");
            endpoints.push(to.split(':').next().unwrap_or_default().parse::<Ipv4Addr>().expect("an address"));
        }
        // Hairpin: every endpoint asks its own service; some draws hit itself, all must be answered.
        for e in endpoints {
            for _ in 0..8 {
                let said = get(&w, Node::S, e.octets(), s.address, s.port);
                assert_eq!(said, "answered, server saw 10.2.0.1", "{kind:?}: from {e}");
            }
        }
    }
}
