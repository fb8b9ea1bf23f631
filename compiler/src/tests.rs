//! Whole images: errors, structure, sizes.

use crate::interp::{Pick, candidates, search, traverse};
use crate::testgen::{self, Header};
use crate::{CompileError, Image, Options, compile, explain, verify};
use bpftables_abi::image::{BASES_LINE, Chain as Descriptor, TABLES, chain_kind};
use bpftables_ruleset::eval::{self, Ct, Packet, Simulated, Verdict};
use bpftables_ruleset::matches::{Limit, Match, Physdev, Tcp};
use bpftables_ruleset::{
    AddrMatch, Chain, Family, Hook, IfacePattern, IpMatch, PortRange, Rule, Ruleset, Slot, TableKind, Target,
};
use std::net::{IpAddr, Ipv4Addr};

fn ruleset(input: Vec<Rule>, user: Vec<(&str, Vec<Rule>)>) -> Ruleset {
    let mut ruleset = Ruleset::new(Family::V4);
    let table = ruleset.table_mut(TableKind::Filter);
    table.builtin[0].rules = input;
    for (name, rules) in user {
        table.user.insert(name.into(), Chain { rules, ..Chain::new(name.into(), None) });
    }
    ruleset
}

fn plain(target: Target) -> Rule {
    Rule { slot: Slot(1), ..Rule::new(IpMatch::default(), vec![], target) }
}

fn addr(bits: u32, len: u32, invert: bool) -> Option<AddrMatch> {
    let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
    let ip = |bits: u32| IpAddr::V4(Ipv4Addr::from_bits(bits));
    Some(AddrMatch { addr: ip(bits & mask), mask: ip(mask), invert })
}

fn tcp(sport: PortRange, dport: PortRange, invert_dport: bool) -> Match {
    Match::Tcp(Tcp { sport, dport, invert_dport, ..Tcp::default() })
}

/// Numbers that look random and never change.
fn random(seed: &mut u64) -> u32 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 32) as u32
}

fn input_chain(image: &Image) -> Descriptor {
    let index = Hook::Input as usize * TABLES + TableKind::Filter as usize;
    let at = image.lines[BASES_LINE as usize + index / 16].word(index % 16);
    zerocopy::transmute!(search::line(image, at).unwrap().0)
}

#[test]
fn a_loop_is_refused_by_the_rule_that_closes_it_only_if_a_hook_reaches_it() {
    let chains = || vec![("A", vec![plain(Target::Jump("B".into()))]), ("B", vec![plain(Target::Goto("A".into()))])];
    assert!(compile(&ruleset(vec![], chains()), &Options::default()).is_ok());
    let error = compile(&ruleset(vec![plain(Target::Jump("A".into()))], chains()), &Options::default()).unwrap_err();
    let CompileError::Unsupported { place, reason } = &error else { panic!("{error}") };
    assert_eq!(&**reason, "the chains form a loop");
    assert!(["-A A -j B", "-A B -g A"].contains(&&*place.text), "{}", place.text);
}

#[test]
fn sixteen_nested_jumps_compile_and_seventeen_do_not() {
    let deep = |n: usize| {
        let names: Vec<String> = (0..n).map(|i| format!("C{i}")).collect();
        let next = |i: usize| names.get(i + 1).map(|to| plain(Target::Jump(to.as_str().into())));
        let user = names.iter().enumerate().map(|(i, name)| (name.as_str(), next(i).into_iter().collect())).collect();
        compile(&ruleset(vec![plain(Target::Jump("C0".into()))], user), &Options::default())
    };
    assert!(deep(16).is_ok());
    let error = deep(17).unwrap_err();
    assert_eq!(
        error.to_string(),
        "table filter, chain C15, rule 1: -A C15 -j C16: nested jumps: expected at most 16, got 17"
    );
}

#[test]
fn what_the_kernel_refuses_is_refused_by_name() {
    let any = PortRange::ANY;
    let cases = [
        (Match::Limit(Limit { average: 864_000_000, burst: 5 }), "-m limit overflows: a lower rate or burst is needed"),
        (tcp(any, any, false), "-m tcp needs -p tcp"),
    ];
    for (m, want) in cases {
        let rule = Rule { matches: vec![m], ..plain(Target::Accept) };
        match compile(&ruleset(vec![rule], vec![]), &Options::default()) {
            Err(CompileError::Unsupported { reason, .. }) => assert_eq!(&*reason, want),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_cannot_be_run_is_refused_in_chains_that_no_hook_reaches_too() {
    let iif = Some(IfacePattern { name: "eth0".into(), wildcard: false, invert: false });
    let mut lost = Rule { matches: vec![tcp(PortRange::ANY, PortRange::ANY, false)], ..plain(Target::Accept) };
    lost.ip.iif = iif;
    let ruleset = ruleset(vec![plain(Target::Accept)], vec![("LOST", vec![plain(Target::Accept), lost])]);
    match compile(&ruleset, &Options::default()) {
        Err(CompileError::Unsupported { place, reason }) => {
            assert_eq!(&*reason, "-m tcp needs -p tcp");
            assert!(place.to_string().contains("-i eth0"), "{place}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_of_devices_and_ports_can_be_asked_in_chains_that_no_hook_reaches() {
    let ports =
        Physdev { input: Some(("eth0".into(), false)), output: Some(("eth+".into(), true)), ..Physdev::default() };
    let mut lost = Rule { matches: vec![Match::Physdev(Box::new(ports))], ..plain(Target::Accept) };
    lost.ip.oif = Some(IfacePattern { name: "br".into(), wildcard: true, invert: true });
    compile(&ruleset(vec![], vec![("LOST", vec![lost])]), &Options::default()).unwrap();
}

#[test]
fn an_interface_matches_the_patterns_that_netfilter_would_match() {
    let patterns = [
        ("eth", true),
        ("eth", false),
        ("eth1", true),
        ("eth1", false),
        ("eth10", false),
        ("", true),
        ("wlan0", false),
    ];
    let rules = patterns.iter().map(|(name, wildcard)| {
        let iif = Some(IfacePattern { name: (*name).into(), wildcard: *wildcard, invert: false });
        Rule { ip: IpMatch { iif, ..IpMatch::default() }, ..plain(Target::None) }
    });
    let image = compile(&ruleset(rules.collect(), vec![]), &Options { list_max: 0, ..Options::default() }).unwrap();
    let chain = input_chain(&image);
    assert_eq!(chain.kind, chain_kind::BITVEC);
    for name in ["eth", "eth0", "eth1", "eth10", "eth100", "et", "wlan0", "wlan01", "", "lo"] {
        let want: Vec<u32> = (0..)
            .zip(&patterns)
            .filter(|(_, (p, wildcard))| if *wildcard { name.starts_with(p) } else { *p == name })
            .map(|(index, _)| index)
            .collect();
        let packet =
            Packet { data: vec![0x45; 20], iif: Some(name.into()), oif: None, local: false, mark: 0, ct: Ct::None };
        assert_eq!(candidates(&image, &chain, &packet, Pick::Strict).unwrap(), want, "{name}");
    }
}

#[test]
fn service_chains_are_dispatched_and_the_image_is_the_same_each_time() {
    let ruleset = testgen::kube_proxy(300);
    let image = compile(&ruleset, &Options::default()).unwrap();
    assert_eq!(image.lines, compile(&ruleset, &Options::default()).unwrap().lines);
    let text = explain::text(&ruleset, &Options::default()).unwrap();
    assert!(text.contains("nat KUBE-SERVICES: line 7, 301 rules, hash of 128 buckets, 1 residual\n"), "{text}");
    let dot = explain::dot(&ruleset).unwrap();
    assert_eq!(dot.matches(" -> ").count(), 2 + 1 + 300 * 5 + 300 * 3 + 1);
}

#[test]
fn a_small_ruleset_of_kube_proxy_is_explained_as_it_always_was() {
    let ruleset = testgen::kube_proxy(9);
    let vectors = Options { hash: false, ..Options::default() };
    insta::assert_snapshot!("kube_proxy_hash", explain::text(&ruleset, &Options::default()).unwrap());
    insta::assert_snapshot!("kube_proxy_vectors", explain::text(&ruleset, &vectors).unwrap());
    insta::assert_snapshot!("kube_proxy_graph", explain::dot(&testgen::kube_proxy(2)).unwrap());
}

/// Average candidates of `packets` random packets, the ruleset's own values in most of them.
fn candidates_of(image: &Image, rules: &[Rule], packets: usize) -> f64 {
    let chain = input_chain(image);
    assert_eq!(chain.kind, chain_kind::BITVEC, "no vectors");
    let mut seed = 7;
    let mut total = 0;
    for _ in 0..packets {
        let like = &rules[random(&mut seed) as usize % rules.len()];
        let of = |m: &Option<AddrMatch>, other: u32| match m {
            Some(AddrMatch { addr: IpAddr::V4(addr), invert: false, .. }) => *addr,
            _ => Ipv4Addr::from_bits(other),
        };
        let port = like.matches.iter().find_map(|m| match m {
            Match::Tcp(t) => Some((t.sport.lo, t.dport.lo)),
            _ => None,
        });
        let (sport, dport) = port.unwrap_or((1, 2));
        let header = Header {
            proto: 6,
            src: of(&like.ip.src, random(&mut seed)),
            dst: of(&like.ip.dst, random(&mut seed)),
            sport,
            dport,
            flags: 2,
            options: vec![],
            ip_options: 0,
            fragment: 0,
            cut: 100,
            ttl: 64,
        };
        let data = testgen::packet_bytes(&header);
        let packet = Packet { data, iif: None, oif: None, local: false, mark: 0, ct: Ct::None };
        total += candidates(image, &chain, &packet, Pick::First).unwrap().len();
    }
    total as f64 / packets as f64
}

/// Compiles rules in INPUT; lines of the image for each rule, and average candidates.
fn measure(rules: Vec<Rule>) -> (f64, f64) {
    let of = ruleset(rules, vec![]);
    let image = compile(&of, &Options { hash: false, ..Options::default() }).unwrap();
    let rules = &of.tables[0].builtin[0].rules;
    (image.lines.len() as f64 / rules.len() as f64, candidates_of(&image, rules, 20))
}

#[test]
fn five_tuple_rules_cost_few_lines_and_leave_few_candidates() {
    let mut seed = 1;
    let rules = (0..10_000).map(|_| {
        let (src, dst) = (addr(random(&mut seed), 32, false), addr(random(&mut seed), 32, false));
        let port = |p: u32| PortRange { lo: p as u16, hi: p as u16 };
        let (sport, dport) = (port(random(&mut seed)), port(random(&mut seed)));
        let ip = IpMatch { src, dst, proto: Some((6, false)), ..IpMatch::default() };
        Rule { ip, matches: vec![tcp(sport, dport, false)], ..plain(Target::Accept) }
    });
    let (lines, candidates) = measure(rules.collect());
    assert!(lines < 6.0 && candidates < 2.0, "{lines} lines a rule, {candidates} candidates");
}

#[test]
fn tables_of_hostile_rules_stay_within_their_budget() {
    let mut seed = 3;
    let mut next = || random(&mut seed);
    let port_ranges = (0..5_000).map(|_| {
        let (a, b) = (next() as u16, next() as u16);
        let ip = IpMatch { proto: Some((6, false)), ..IpMatch::default() };
        let range = PortRange { lo: a.min(b), hi: a.max(b) };
        Rule { ip, matches: vec![tcp(PortRange::ANY, range, next() % 2 == 0)], ..plain(Target::None) }
    });
    let ranges = measure(port_ranges.collect());
    let prefixes = (0..5_000).map(|_| {
        let (src, dst) =
            (addr(next(), 1 + next() % 32, next() % 2 == 0), addr(next(), 1 + next() % 32, next() % 2 == 0));
        Rule { ip: IpMatch { src, dst, ..IpMatch::default() }, ..plain(Target::None) }
    });
    let prefixes = measure(prefixes.collect());
    // Half of the rules know the source alone, half the destination alone: every class holds half of the rules.
    let halves = (0..20_000).map(|i| {
        let fact = addr(next(), 32, false);
        let ip = if i % 2 == 0 {
            IpMatch { src: fact, ..IpMatch::default() }
        } else {
            IpMatch { dst: fact, ..IpMatch::default() }
        };
        Rule { ip, ..plain(Target::None) }
    });
    let halves = measure(halves.collect());
    for (name, (lines, candidates)) in [("ranges", ranges), ("prefixes", prefixes), ("halves", halves)] {
        println!("{name}: {lines} lines a rule, {candidates} candidates");
        assert!(lines < 2.0 + 4.0 * 8.0, "{name}: {lines} lines a rule");
    }
    assert!(halves.1 < 200.0, "{} candidates", halves.1);
}

#[test]
fn the_verifier_finds_a_reference_that_points_nowhere() {
    let mut image = compile(&testgen::kube_proxy(20), &Options::default()).unwrap();
    assert_eq!(verify::verify(&image), Ok(()));
    // KUBE-SERVICES: its hash table beyond the end.
    let at = 7;
    let mut chain: Descriptor = zerocopy::transmute!(image.lines[at].0);
    assert_eq!(chain.kind, chain_kind::HASH);
    chain.hash_table = image.header().lines;
    image.lines[at] = crate::Line(zerocopy::transmute!(chain));
    assert!(verify::verify(&image).is_err());
}

#[test]
fn a_rule_that_drops_in_its_tcp_options_is_not_hidden_by_what_it_asks_later() {
    let port = |p| PortRange { lo: p, hi: p };
    let with_option = match tcp(PortRange::ANY, PortRange::ANY, false) {
        Match::Tcp(t) => Match::Tcp(Tcp { option: 5, ..t }),
        other => other,
    };
    let ip = IpMatch { proto: Some((6, false)), ..IpMatch::default() };
    let rule = |matches: Vec<Match>| Rule { ip: ip.clone(), matches, ..plain(Target::Accept) };
    let later = tcp(PortRange::ANY, port(443), false);
    let mut rules = vec![rule(vec![with_option, later])];
    rules.extend((1..20).map(|p| rule(vec![tcp(PortRange::ANY, port(p), false)])));
    let ruleset = ruleset(rules, vec![]);
    let image = compile(&ruleset, &Options::default()).unwrap();
    assert_eq!(input_chain(&image).kind, chain_kind::BITVEC);
    let src = Ipv4Addr::LOCALHOST;
    // Two words of options are announced, one is there.
    let (options, cut) = (vec![1; 8], 24);
    let header = Header {
        proto: 6,
        src,
        dst: src,
        sport: 1,
        dport: 80,
        flags: 2,
        options,
        ip_options: 0,
        fragment: 0,
        cut,
        ttl: 9,
    };
    let data = testgen::packet_bytes(&header);
    let mut packet = Packet { data, iif: None, oif: None, local: false, mark: 0, ct: Ct::None };
    let mut env = Simulated::default();
    let want = eval::traverse(&ruleset, TableKind::Filter, Hook::Input, &mut packet.clone(), &mut env);
    assert_eq!(want.verdict, Verdict::Hotdrop);
    let got = traverse(&image, TableKind::Filter, Hook::Input, &mut packet, &mut env, Pick::Strict);
    assert_eq!(got, Ok(want));
}
