//! Rulesets in the shape that kube-proxy leaves, of any size.

use bpftables_ruleset::matches::{Addrtype, Comment, Mark, Match, Statistic, StatisticMode, Tcp};
use bpftables_ruleset::targets::{MarkSet, Masquerade, NatRange};
use bpftables_ruleset::{AddrMatch, Chain, Family, IpMatch, PortRange, Rule, Ruleset, Slot, TableKind, Target};
use std::net::{IpAddr, Ipv4Addr};

fn host(bits: u32) -> Option<AddrMatch> {
    let addr = IpAddr::V4(Ipv4Addr::from_bits(bits));
    Some(AddrMatch { addr, mask: IpAddr::V4(Ipv4Addr::BROADCAST), invert: false })
}

fn comment(service: u32) -> Match {
    Match::Comment(Comment { text: format!("ns-{:02}/svc-{service:05}:p", service % 10).into() })
}

fn tcp(dport: Option<u16>) -> Match {
    let dport = dport.map_or(PortRange::ANY, |p| PortRange { lo: p, hi: p });
    Match::Tcp(Tcp { dport, ..Tcp::default() })
}

fn add(table: &mut bpftables_ruleset::Table, name: &str, rules: Vec<Rule>) {
    table.user.insert(name.into(), Chain { rules, ..Chain::new(name.into(), None) });
}

/// `services` services with three endpoints each, slots assigned. 20,000 are some 220,000 rules in 80,000 chains.
#[must_use]
pub fn kube_proxy(services: u32) -> Ruleset {
    let mut ruleset = Ruleset::new(Family::V4);
    let table = ruleset.table_mut(TableKind::Nat);
    let plain = |target: Target| Rule::new(IpMatch::default(), vec![], target);
    let mark = |value: u32, invert: bool| Match::Mark(Mark { value, mask: 0x4000, invert });
    let set = |value: u32, mask: u32| Target::Mark(MarkSet { value, mask });
    let on = |ip: IpMatch, matches: Vec<Match>, target: Target| Rule::new(ip, matches, target);
    for hook in [0, 2] {
        table.builtin[hook].rules.push(plain(Target::Jump("KUBE-SERVICES".into())));
    }
    table.builtin[3].rules.push(plain(Target::Jump("KUBE-POSTROUTING".into())));
    add(table, "KUBE-MARK-MASQ", vec![plain(set(0x4000, 0x4000))]);
    let masquerade = Target::Masquerade(Masquerade { ports: None, shifted: false, random: false, random_fully: true });
    let after = vec![
        on(IpMatch::default(), vec![mark(0x4000, true)], Target::Return),
        plain(set(0x4000, 0)),
        plain(masquerade),
    ];
    add(table, "KUBE-POSTROUTING", after);
    let mut dispatch = Vec::new();
    let is_tcp = Some((6, false));
    for service in 0..services {
        let svc = format!("KUBE-SVC-{service:016}");
        let cluster = IpMatch { dst: host(0x0a60_0001 + service), proto: is_tcp, ..IpMatch::default() };
        dispatch.push(on(cluster.clone(), vec![comment(service), tcp(Some(80))], Target::Jump(svc.as_str().into())));
        let mut rules = vec![on(
            IpMatch {
                src: host(0x0ac8_0000).map(|m| AddrMatch {
                    mask: IpAddr::V4(Ipv4Addr::new(255, 255, 0, 0)),
                    invert: true,
                    ..m
                }),
                ..cluster
            },
            vec![comment(service), tcp(Some(80))],
            Target::Jump("KUBE-MARK-MASQ".into()),
        )];
        for endpoint in 0..3u32 {
            let bits = 0x0ac8_0000 + service * 3 + endpoint;
            let sep = format!("KUBE-SEP-{:016}", service * 3 + endpoint);
            let mut matches = vec![comment(service)];
            if endpoint < 2 {
                let probability = 0x8000_0000 / (3 - endpoint);
                matches
                    .push(Match::Statistic(Statistic { mode: StatisticMode::Random { probability }, invert: false }));
            }
            rules.push(on(IpMatch::default(), matches, Target::Jump(sep.as_str().into())));
            let address = IpAddr::V4(Ipv4Addr::from_bits(bits));
            let to = NatRange {
                addrs: Some((address, address)),
                ports: Some(PortRange { lo: 8080, hi: 8080 }),
                base_port: None,
                random: false,
                random_fully: false,
                persistent: false,
            };
            let hairpin = IpMatch { src: host(bits), ..IpMatch::default() };
            let any = IpMatch { proto: is_tcp, ..IpMatch::default() };
            let endpoint_rules = vec![
                on(hairpin, vec![comment(service)], Target::Jump("KUBE-MARK-MASQ".into())),
                on(any, vec![comment(service), tcp(None)], Target::Dnat(to)),
            ];
            add(table, &sep, endpoint_rules);
        }
        add(table, &svc, rules);
    }
    let local =
        Addrtype { src: 0, invert_src: false, dst: 1 << 2, invert_dst: false, limit_in: false, limit_out: false };
    add(table, "KUBE-NODEPORTS", vec![]);
    dispatch.push(on(IpMatch::default(), vec![Match::Addrtype(local)], Target::Jump("KUBE-NODEPORTS".into())));
    add(table, "KUBE-SERVICES", dispatch);
    let mut slot = 0;
    for chain in table.builtin.iter_mut().chain(table.user.values_mut()) {
        chain.slot = Slot(slot);
        for (index, rule) in (1..).zip(&mut chain.rules) {
            rule.slot = Slot(slot + index);
        }
        slot += 1 + chain.rules.len() as u32;
    }
    ruleset
}

/// `count` rules in FORWARD that each name addresses, ports and protocol, all different; slots assigned.
#[must_use]
pub fn five_tuples(count: u32) -> Ruleset {
    let mut ruleset = Ruleset::new(Family::V4);
    let table = ruleset.table_mut(TableKind::Filter);
    table.builtin[1].rules = (0..count)
        .map(|index| {
            // An odd factor: all different, none in order.
            let mixed = index.wrapping_mul(0x9e37_79b1);
            let ip = IpMatch { src: host(mixed), dst: host(!mixed), proto: Some((6, false)), ..IpMatch::default() };
            let ports = |p: u32| PortRange { lo: p as u16, hi: p as u16 };
            let matches = match tcp(Some((mixed >> 16) as u16)) {
                Match::Tcp(t) => vec![Match::Tcp(Tcp { sport: ports(mixed >> 3), ..t })],
                other => vec![other],
            };
            Rule { slot: Slot(index + 3), ..Rule::new(ip, matches, Target::Drop) }
        })
        .collect();
    for (slot, chain) in (0..).zip(&mut table.builtin) {
        chain.slot = Slot(slot);
    }
    ruleset
}
