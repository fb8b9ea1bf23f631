//! What holds for matches of every kind.

#![allow(clippy::disallowed_methods, reason = "tests read files")]

mod support;

use bpftables_ruleset::{Family, Ruleset};
use std::collections::BTreeSet;
use std::path::Path;
use support::{restore, run, saved, words};

/// Rules that legacy 1.8.11 does not read as it prints them: it leaves something out, or takes less than it prints.
const LOSSY: &[&str] = &[
    "-A INPUT -m cluster --cluster-local-nodemask 0x80000000 --cluster-total-nodes 32 --cluster-hash-seed 0x00000001",
    "-A INPUT -p dccp -m dccp --dccp-types ",
    "-A INPUT -m hashlimit --hashlimit-upto 1/sec --hashlimit-burst 5 --hashlimit-name a b",
    "-A INPUT -p ipcomp -m ipcomp",
    "-A FORWARD -m physdev --physdev-in ",
    "-A FORWARD -m physdev --physdev-in a b",
    "-A INPUT -m recent --update --seconds 60 --name a b --mask 255.255.255.255 --rsource",
    "-A INPUT -m time --monthdays  --datestop 2038-01-19T03:14:07",
    "-A INPUT -m time --weekdays  --datestop 2038-01-19T03:14:07",
    "-A INPUT -m time",
    "-A INPUT -m srh --srh-psid a::1/4294967295",
];

/// Each rule that legacy printed with `-S` after a single command of a fixture, with the family and the table of its case.
fn printed() -> Vec<(Family, String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut rules = Vec::new();
    for (family, folder) in [(Family::V4, folder.clone()), (Family::V6, folder.join("ip6"))] {
        let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let is_match = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("match"));
        for path in files.iter().filter(|path| is_match(path)) {
            let text = std::fs::read_to_string(path).unwrap();
            let (mut table, mut edits) = ("filter", 0);
            for line in text.lines() {
                if let Some(name) = line.strip_prefix("@ ") {
                    (table, edits) = (name, 0);
                } else if line.starts_with("$ ") && !line.contains(" -S ") && !line.contains(" -L ") {
                    edits += 1;
                } else if edits > 1 {
                    // Such a rule may stand on others before it.
                } else if let Some(rule) = line.strip_prefix("1 ").filter(|rule| rule.starts_with("-A ")) {
                    rules.push((family, table.to_owned(), rule.to_owned()));
                }
            }
        }
    }
    rules
}

#[test]
fn what_legacy_prints_is_read_and_printed_again_to_the_letter() {
    let mut names = BTreeSet::new();
    let mut count = 0;
    for (family, table, rule) in printed().into_iter().filter(|(.., rule)| !LOSSY.contains(&rule.as_str())) {
        let chain = rule.split(' ').nth(1).unwrap();
        let own = if chain == "UC" { ":UC - [0:0]\n" } else { "" };
        let mut rules = Ruleset::new(family);
        let answer = restore(&mut rules, format!("*{table}\n{own}{rule}\nCOMMIT\n").as_bytes(), false, false);
        // Legacy remarks on some (a reversed range), and takes them.
        assert_eq!(answer.code, 0, "{rule} {}", answer.err);
        let again = saved(&rules, false);
        assert!(again.lines().any(|line| line == rule), "{rule}\n{again}");
        names.extend(rule.split(" -m ").skip(1).map(|rest| rest.split(' ').next().unwrap().to_owned()));
        count += 1;
    }
    assert!(count > 700, "only {count} rules");
    assert!(names.len() > 55, "only {names:?}");
}

/// The kernel on which the fixtures were made has no IPVS, so these stand on 1.8.11's source alone.
#[test]
fn ipvs_is_read_and_printed_as_the_source_of_legacy_does() {
    let cases = [
        ("--ipvs", "--ipvs"),
        ("! --ipvs", "! --ipvs"),
        ("--ipvs --vproto tcp", "--vproto 6"),
        ("! --vproto 17", "! --vproto 17"),
        ("--vaddr 1.2.3.4", "--vaddr 1.2.3.4"),
        ("! --vaddr 1.2.3.4/255.255.255.0", "! --vaddr 1.2.3.4/24"),
        ("--vport http", "--vport 80"),
        ("--vdir original", "--vdir ORIGINAL"),
        ("--vdir REPLY", "--vdir REPLY"),
        ("! --vmethod masq", "! --vmethod MASQ"),
        (
            "--vportctl 21 --vmethod GATE --vport 8080 --vaddr 10.0.0.0/8 --vproto udp",
            "--vproto 17 --vaddr 10.0.0.0/8 --vport 8080 --vmethod GATE --vportctl 21",
        ),
    ];
    for (given, kept) in cases {
        let mut rules = Ruleset::new(Family::V4);
        let answer = run(&mut rules, &words(&format!("-A INPUT -m ipvs {given}")));
        assert_eq!((answer.code, answer.err.as_str()), (0, ""), "{given}");
        let listed = run(&mut rules, &words("-S INPUT")).out;
        assert_eq!(listed, format!("-P INPUT ACCEPT\n-A INPUT -m ipvs {kept}\n"));
    }
    let refused = [
        ("", "IPVS: At least one option is required"),
        ("! --ipvs --vport 80", "! --ipvs cannot be together with other options"),
        ("--vdir up", "ipvs: Bad value for \"--vdir\" option: \"up\""),
        ("--vmethod NAT", "ipvs: Bad value for \"--vmethod\" option: \"NAT\""),
        ("! --vdir REPLY", "ipvs: option \"--vdir\" cannot be inverted.\n"),
        ("--vport nope", "Port \"nope\" does not resolve to anything.\n"),
    ];
    for (given, message) in refused {
        let answer = run(&mut Ruleset::new(Family::V4), &words(&format!("-A INPUT -m ipvs {given}")));
        let whole = format!(
            "iptables v1.8.11 (bpf): {message}\nTry `iptables -h' or 'iptables --help' for more information.\n"
        );
        assert_eq!((answer.code, answer.err), (2, whole));
    }
}

#[test]
fn every_match_explains_itself() {
    for (family, program) in [(Family::V4, "iptables"), (Family::V6, "ip6tables")] {
        for (_, _, rule) in printed().into_iter().filter(|(own, ..)| *own == family) {
            for name in rule.split(" -m ").skip(1).map(|rest| rest.split(' ').next().unwrap()) {
                let help = support::help(program, family, name);
                // eui64 has no options, and nothing to say.
                assert!(name == "eui64" || help.contains("match options"), "{program} -m {name} -h: {help}");
            }
        }
    }
}
