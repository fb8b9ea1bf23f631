//! What holds for any input: printing and reading again changes nothing, no bytes make the parser panic, and real rulesets pass.

#![allow(clippy::disallowed_methods, reason = "tests read files")]

mod support;

use bpftables_parser::restore::{Error, Kind, Options, Reader};
use bpftables_parser::{Invocation, ParseError, parse_command};
use bpftables_ruleset::{Family, NoCounters, Ruleset, TableKind};
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use support::{TestNames, corpus, gunzip, restore, run, saved};

fn options() -> Options<'static> {
    Options { family: Family::V4, program: "iptables-restore", counters: true, noflush: false, verbose: 0, table: None }
}

fn maybe(part: impl Strategy<Value = String> + 'static) -> BoxedStrategy<String> {
    prop_oneof![Just(String::new()), part].boxed()
}

fn not() -> BoxedStrategy<String> {
    prop_oneof![Just(String::new()), Just("! ".to_owned())].boxed()
}

fn address() -> BoxedStrategy<String> {
    let mask = prop_oneof![(0u32..33).prop_map(|n| n.to_string()), any::<[u8; 4]>().prop_map(dotted)];
    (any::<[u8; 4]>(), mask).prop_map(|(addr, mask)| format!("{}/{mask}", dotted(addr))).boxed()
}

fn dotted(bytes: [u8; 4]) -> String {
    std::net::Ipv4Addr::from(bytes).to_string()
}

fn ports() -> BoxedStrategy<String> {
    (any::<u16>(), any::<u16>()).prop_map(|(a, b)| format!("{}:{}", a.min(b), a.max(b))).boxed()
}

fn a_match() -> BoxedStrategy<String> {
    let states = proptest::sample::subsequence(
        vec!["INVALID", "NEW", "ESTABLISHED", "RELATED", "UNTRACKED", "SNAT", "DNAT"],
        1..=7,
    );
    let types = proptest::sample::subsequence(vec!["UNICAST", "LOCAL", "BROADCAST", "MULTICAST"], 1..=4);
    prop_oneof![
        (not(), states).prop_map(|(not, states)| format!("-m conntrack {not}--ctstate {}", states.join(","))),
        (not(), address(), ports(), any::<u32>(), any::<u32>()).prop_map(|(not, addr, ports, a, b)| {
            format!(
                "-m conntrack {not}--ctorigsrc {addr} --ctrepldstport {ports} {not}--ctexpire {}:{} --ctdir REPLY",
                a.min(b),
                a.max(b)
            )
        }),
        (not(), any::<u32>(), any::<u32>()).prop_map(|(not, a, b)| format!("-m mark {not}--mark {a}/{b}")),
        (not(), any::<u32>()).prop_map(|(not, a)| format!("-m connmark {not}--mark {a:#x}")),
        (not(), types).prop_map(|(not, types)| format!("-m addrtype {not}--dst-type {}", types.join(","))),
        (not(), 0.0f64..=1.0).prop_map(|(not, p)| format!("-m statistic --mode random {not}--probability {p:.11}")),
        (not(), 1u32.., any::<u32>())
            .prop_map(|(not, n, p)| format!("-m statistic --mode nth {not}--every {n} --packet {}", p % n)),
        (1u32..=10_000, 0usize..4, 1u32..10_000).prop_map(|(rate, unit, burst)| {
            format!("-m limit --limit {rate}/{} --limit-burst {burst}", ["sec", "min", "hour", "day"][unit])
        }),
        (not(), "[a-zA-Z0-9_-]{1,20}", 1u32.., 0u32..65536).prop_map(|(not, name, seconds, hits)| {
            format!("-m recent {not}--update --name {name} --seconds {seconds} --hitcount {hits} --rdest")
        }),
        "[ -~äß]{0,60}".prop_map(|text| {
            format!("-m comment --comment \"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        }),
    ]
    .boxed()
}

fn protocol() -> BoxedStrategy<String> {
    let flags = proptest::sample::subsequence(vec!["FIN", "SYN", "RST", "PSH", "ACK", "URG"], 1..=6);
    prop_oneof![
        Just(String::new()),
        (not(), any::<u8>()).prop_map(|(not, n)| if n == 0 { String::new() } else { format!("{not}-p {n}") }),
        (not(), ports(), not(), flags).prop_map(|(not, ports, not2, flags)| {
            format!("-p tcp -m tcp {not}--dport {ports} {not2}--tcp-flags ALL {}", flags.join(","))
        }),
        (not(), ports(), any::<u16>())
            .prop_map(|(not, ports, port)| format!("-p udp -m udp {not}--sport {ports} --dport {port}")),
        (not(), any::<u8>(), any::<u8>())
            .prop_map(|(not, kind, code)| format!("-p icmp -m icmp {not}--icmp-type {kind}/{code}")),
        (not(), proptest::collection::vec(any::<u16>(), 1..=15)).prop_map(|(not, ports)| {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            format!("-p sctp -m multiport {not}--ports {}", ports.join(","))
        }),
    ]
    .boxed()
}

fn a_target() -> BoxedStrategy<String> {
    prop_oneof![
        Just(String::new()),
        Just("-j ACCEPT".to_owned()),
        Just("-j UC".to_owned()),
        Just("-g UC".to_owned()),
        Just("-j REJECT --reject-with icmp-admin-prohibited".to_owned()),
        (any::<u32>(), any::<u32>()).prop_map(|(a, b)| format!("-j MARK --set-xmark {a:#x}/{b:#x}")),
        (any::<u32>(), any::<u32>())
            .prop_map(|(a, b)| format!("-j CONNMARK --save-mark --nfmask {a:#x} --ctmask {b:#x}")),
        any::<u32>().prop_map(|a| format!("-j CONNMARK --and-mark {a}")),
    ]
    .boxed()
}

fn a_rule() -> BoxedStrategy<String> {
    let head = (not(), maybe(address()), maybe("[a-z]{1,10}[0-9]{0,4}\\+?"), protocol());
    let tail = (proptest::collection::vec(a_match(), 0..4), a_target(), any::<u64>(), any::<u64>());
    (head, tail)
        .prop_map(|((not, addr, device, protocol), (matches, target, packets, bytes))| {
            let addr = if addr.is_empty() { addr } else { format!("{not}-s {addr}") };
            let device = if device.is_empty() { device } else { format!("{not}-i {device}") };
            format!("[{packets}:{bytes}] -A FORWARD {addr} {device} {protocol} {} {target}", matches.join(" "))
        })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn printing_and_reading_again_changes_nothing(rules in proptest::collection::vec(a_rule(), 1..8)) {
        let input = format!("*filter\n:UC - [0:0]\n{}\nCOMMIT\n", rules.join("\n"));
        let mut first = Ruleset::new(Family::V4);
        let answer = restore(&mut first, input.as_bytes(), true, false);
        // Rates may be too low for their burst, which only the commit finds.
        prop_assume!(!answer.err.starts_with("iptables-restore: line"));
        // Legacy's own trap: `--mark` of a second connmark match goes to a mark match between the two.
        prop_assume!(!answer.err.contains("\"--mark\" can only be used once"));
        prop_assert_eq!(answer.code, 0, "{} {}", input, answer.err);
        let text = saved(&first, true);
        let mut second = Ruleset::new(Family::V4);
        let answer = restore(&mut second, text.as_bytes(), true, false);
        prop_assert_eq!(answer.code, 0, "{} {}", text, answer.err);
        prop_assert_eq!(&saved(&second, true), &text);
        let (Some(a), Some(b)) = (first.table(TableKind::Filter), second.table(TableKind::Filter)) else {
            return Err(TestCaseError::fail("no table"));
        };
        let equal = a.chains().zip(b.chains()).all(|(a, b)| {
            a.rules == b.rules
                && a.rules.iter().zip(&b.rules).all(|(a, b)| a.counters(&NoCounters) == b.counters(&NoCounters))
        });
        // A limit prints its rate in whole numbers, so the cost may differ; the text must not.
        prop_assert!(equal || text.contains("-m limit"), "{}", text);
    }

    #[test]
    fn a_rule_that_was_saved_can_be_deleted_by_its_text(rule in a_rule()) {
        let mut rules = Ruleset::new(Family::V4);
        let input = format!("*filter\n:UC - [0:0]\n{rule}\nCOMMIT\n");
        prop_assume!(restore(&mut rules, input.as_bytes(), false, false).code == 0);
        let text = saved(&rules, false);
        prop_assume!(!text.contains("-m limit"));
        let line = text.lines().find(|line| line.starts_with("-A FORWARD")).expect("the rule");
        let delete = format!("*filter\n{}\nCOMMIT\n", line.replacen("-A", "-D", 1));
        let answer = restore(&mut rules, delete.as_bytes(), false, true);
        prop_assert_eq!(answer.code, 0, "{} {}", delete, answer.err);
        prop_assert!(rules.table(TableKind::Filter).is_some_and(|table| table.base(bpftables_ruleset::Hook::Forward)
            .is_some_and(|chain| chain.rules.is_empty())));
    }
}

/// Words that get the parser further than bytes alone.
const WORDS: &[&str] = &[
    "SET",
    "set",
    "--add-set",
    "--del-set",
    "--map-set",
    "--map-mark",
    "--exist",
    "--timeout",
    "--match-set",
    "web",
    "src,dst",
    "--object-pinned",
    "/sys/fs/bpf/bpftables-says-yes",
    "-A",
    "-I",
    "-D",
    "-R",
    "-C",
    "-L",
    "-S",
    "-Z",
    "-P",
    "-N",
    "-X",
    "-E",
    "-F",
    "INPUT",
    "UC",
    "1",
    "0",
    "!",
    "-p",
    "tcp",
    "udp",
    "icmp",
    "-m",
    "-j",
    "-g",
    "-s",
    "-d",
    "-i",
    "-o",
    "-f",
    "-c",
    "-w",
    "-W",
    "-t",
    "nat",
    "filter",
    "--dport",
    "--sport",
    "80",
    "1:2",
    ":",
    "--tcp-flags",
    "SYN,ACK",
    "--syn",
    "state",
    "conntrack",
    "--ctstate",
    "NEW",
    "--ctexpire",
    "5:",
    "mark",
    "--mark",
    "1/2",
    "/",
    "limit",
    "--limit",
    "5/",
    "recent",
    "--set",
    "--name",
    "statistic",
    "--mode",
    "random",
    "--probability",
    "0.5",
    "multiport",
    "--ports",
    "1,2:3",
    "comment",
    "--comment",
    "DNAT",
    "--to",
    "1.2.3.4-5.6.7.8:80-90/100",
    "REJECT",
    "--reject-with",
    "MARK",
    "--set-mark",
    "CONNMARK",
    "--save-mark",
    "CT",
    "--notrack",
    "NETMAP",
    "10.0.0.0/24",
    "--",
    "-",
    "-h",
    "-V",
    "-4",
    "-6",
    "é",
    "",
    "--icmp-type",
    "3/4",
    "icmpv6",
    "--icmpv6-type",
    "::1",
    "fc00::/7",
    "1::/ffff::ff",
    "[fc00::1-fc00::2]:80",
    "[",
    "]",
    "addrtype",
    "--src-type",
    "LOCAL",
];

/// Counts an input that was tried; now and then it says how many there were.
fn executed() {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    if count.is_multiple_of(100_000) {
        eprintln!("{count} inputs");
    }
}

/// How many random bytes an input is made of, at most: enough for any of those below, and soon drawn.
const INPUT: u32 = 1024;

/// How long to fuzz, in ms: 3 s, or `BPFTABLES_FUZZ_SECONDS`.
fn budget() -> u64 {
    let seconds = std::env::var("BPFTABLES_FUZZ_SECONDS").ok().and_then(|text| text.parse::<u64>().ok());
    seconds.unwrap_or(3) * 1000
}

#[test]
fn damaged_fixtures_never_panic() {
    let cases: serde_json::Value = serde_json::from_str(include_str!("fixtures/restore.json")).expect("json");
    let inputs = cases.as_array().expect("a list").iter().map(|case| case["input"].as_str().expect("text").to_owned());
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let files = [folder.clone(), folder.join("ip6")].into_iter().flat_map(|folder| {
        let files = folder.read_dir().expect("fixtures").map(|entry| entry.expect("an entry").path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
    });
    let mut commands: Vec<String> = files.map(|path| std::fs::read_to_string(path).expect("a fixture")).collect();
    commands.sort();
    let commands = commands.iter().flat_map(|text| text.lines()).filter_map(|line| line.strip_prefix("$ "));
    let seeds: Vec<String> = inputs.chain(commands.map(|line| format!("*filter\n{line}\nCOMMIT\n"))).collect();
    arbtest::arbtest(|u| {
        let mut input = u.choose(&seeds)?.clone().into_bytes();
        for _ in 0..u.int_in_range(0..=6)? {
            let at = u.int_in_range(0..=input.len().saturating_sub(1))?;
            match u.int_in_range(0..=3)? {
                0 if at < input.len() => input[at] = u.arbitrary()?,
                1 if at < input.len() => {
                    input.remove(at);
                }
                2 => input.insert(at, u.arbitrary()?),
                _ => {
                    let word = u.choose(WORDS)?;
                    input.splice(at..at, word.bytes());
                }
            }
        }
        restore(&mut Ruleset::new(*u.choose(&Family::ALL)?), &input, u.arbitrary()?, u.arbitrary()?);
        executed();
        Ok(())
    })
    .size_max(INPUT)
    .budget_ms(budget());
}

#[test]
fn arbitrary_command_lines_never_panic() {
    arbtest::arbtest(|u| {
        let mut args = Vec::new();
        for _ in 0..u.int_in_range(0..=16)? {
            args.push(if u.ratio(5, 6)? { (*u.choose(WORDS)?).to_owned() } else { u.arbitrary::<String>()? });
        }
        run(&mut Ruleset::new(*u.choose(&Family::ALL)?), &args);
        executed();
        Ok(())
    })
    .size_max(INPUT)
    .budget_ms(budget());
}

#[test]
fn arbitrary_bytes_never_panic_in_a_restore() {
    arbtest::arbtest(|u| {
        let mut input: Vec<u8> = if u.arbitrary()? { b"*filter\n:UC - [0:0]\n".to_vec() } else { Vec::new() };
        for _ in 0..u.int_in_range(0..=40)? {
            if u.ratio(4, 5)? {
                input.extend_from_slice(u.choose(WORDS)?.as_bytes());
            } else {
                input.extend_from_slice(u.arbitrary::<&[u8]>()?);
            }
            input.push(*u.choose(b"  \n\"\\[:]")?);
        }
        restore(&mut Ruleset::new(*u.choose(&Family::ALL)?), &input, u.arbitrary()?, u.arbitrary()?);
        executed();
        Ok(())
    })
    .size_max(INPUT)
    .budget_ms(budget());
}

#[test]
fn bytes_that_are_no_text_are_refused_by_name() {
    let items: Vec<_> =
        Reader::new(&b"*filter\n-A INPUT -m comment --comment \xff\nCOMMIT\n"[..], options(), &TestNames).collect();
    assert!(matches!(&items[1], Err(Error::Parse { line: 2, error: ParseError::NotUtf8(_), .. })), "{items:?}");
}

#[test]
fn saves_of_kube_proxy_come_back_byte_for_byte() {
    let Some(corpus) = corpus() else { return };
    for services in [10, 1000] {
        let input = gunzip(&corpus.join(format!("kube-proxy/iptables-save-{services}.gz")));
        let text = String::from_utf8(input).expect("text");
        let expected: String =
            text.lines().filter(|line| !line.starts_with('#')).fold(String::new(), |all, line| all + line + "\n");
        let mut rules = Ruleset::new(Family::V4);
        let answer = restore(&mut rules, text.as_bytes(), true, false);
        assert_eq!((answer.code, answer.err.as_str()), (0, ""));
        // That save has the policies' counters and no rule's.
        let mut printed = String::new();
        for table in &rules.tables {
            bpftables_ruleset::text::save::table(table, false, &NoCounters, &mut printed).expect("a string");
        }
        assert!(printed == expected, "{services} services");
    }
}

/// Every rule line of the public rulesets is read.
#[test]
fn public_rulesets_are_read() {
    let Some(corpus) = corpus() else { return };
    let mut read = 0;
    let files = corpus.join("rulesets").read_dir().expect("rulesets");
    for path in files.map(|entry| entry.expect("an entry").path()) {
        if path.extension().is_none_or(|extension| extension != "v4") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("text");
        let mut table = "filter".to_owned();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name.trim().to_owned();
            }
            let rule = line.split_once("-A ").filter(|(before, _)| before.is_empty() || before.starts_with('['));
            let Some((_, rule)) = rule else { continue };
            let input = format!("*{table}\n-A {rule}\n");
            match Reader::new(input.as_bytes(), options(), &TestNames).nth(1) {
                Some(Ok(item)) => {
                    assert!(matches!(item.kind, Kind::Command(_)));
                    read += 1;
                }
                other => panic!("{}: {rule}: {other:?}", path.display()),
            }
        }
    }
    assert!(read > 4000, "only {read} rules were read");
}

/// The command lines that real programs gave to legacy: those that legacy took are read.
#[test]
fn recorded_sessions_of_clients_are_read() {
    let Some(corpus) = corpus() else { return };
    let mut read = 0;
    for path in corpus.join("clients").read_dir().expect("clients").map(|entry| entry.expect("an entry").path()) {
        let text = String::from_utf8(gunzip(&path)).expect("text");
        for line in text.lines() {
            let call: serde_json::Value = serde_json::from_str(line).expect("json");
            let argv: Vec<String> = call["argv"]
                .as_array()
                .expect("argv")
                .iter()
                .map(|arg| arg.as_str().expect("text").to_owned())
                .collect();
            let program = argv[0].rsplit('/').next().unwrap_or_default();
            if !matches!(program, "iptables" | "iptables-legacy") {
                continue;
            }
            let invocation = Invocation { family: Family::V4, restore: false, program: "iptables" };
            match parse_command(&argv[1..], invocation, &TestNames) {
                Ok(_) => read += 1,
                Err(error) => assert_eq!(
                    call["exit"].as_i64().or(call["exit_code"].as_i64()).or(call["rc"].as_i64()),
                    Some(i64::from(error.exit_code())),
                    "{argv:?}: {error}"
                ),
            }
        }
    }
    assert!(read > 100, "only {read} command lines");
}
