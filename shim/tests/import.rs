//! Connections that netfilter tracked go on under our rules. Needs root, and legacy's commands.

#[path = "common/live.rs"]
mod live;
#[path = "../../runtime/tests/common/mod.rs"]
mod netns;
#[path = "common/own.rs"]
mod own;

use live::{Live, world};
use netns::in_namespace;
use own::temporary;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The binary.
const BINARY: &str = env!("CARGO_BIN_EXE_xtables-bpf-multi");
/// How long words may take on a connection that lives.
const PATIENCE: Duration = Duration::from_secs(3);

/// Standard output of a command that has to work.
fn run(program: &str, words: &str, input: &str) -> String {
    let mut command = Command::new(program);
    command
        .args(words.split(' '))
        .env("XTABLES_LOCKFILE", temporary("lock"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{program} {words}");
    String::from_utf8(out.stdout).unwrap()
}

/// Only what is established gets in.
const SHUT: &str = "*nat\n-A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080\nCOMMIT\n\
                    *filter\n:INPUT DROP\n-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n\
                    -A INPUT -p ipv6-icmp -j ACCEPT\nCOMMIT\n";

#[test]
fn translated_connections_go_on_once_netfilters_rules_are_gone() {
    for (prefix, address) in [("", "10.50.1.1"), ("6", "[fd50::1]")] {
        in_namespace(|| {
            let there = world();
            let listener = TcpListener::bind(format!("{address}:8080")).unwrap();
            let legacy = |words: &str| run(&format!("ip{prefix}tables-legacy"), words, "");
            legacy("-t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080");
            let mut live = Live::open(&there, &listener, &format!("{address}:80"), PATIENCE);
            assert!(live.talks());
            legacy("-t nat -F");
            run(
                BINARY,
                &format!("ip{prefix}tables-restore"),
                &SHUT.replace("ipv6-icmp", if prefix.is_empty() { "icmp" } else { "ipv6-icmp" }),
            );
            assert!(live.talks(), "it is established, and translated");
            let listed = run(BINARY, "bpftables conntrack list -g", "");
            assert!(
                listed.contains("dport=80 ") && listed.contains("sport=8080") && listed.contains("[ASSURED]"),
                "{listed}"
            );
            // The test can fail: who is forgotten is shut out.
            run(BINARY, "bpftables conntrack flush", "");
            run(BINARY, &format!("ip{prefix}tables -I INPUT -p tcp --tcp-flags SYN NONE -j DROP"), "");
            assert!(!live.talks(), "an unknown connection is neither established nor translated");
        });
    }
}

#[test]
fn what_netfilter_still_translates_is_left_to_it_and_the_rest_is_known() {
    in_namespace(|| {
        let there = world();
        let (plain, translated) =
            (TcpListener::bind("10.50.1.1:7000").unwrap(), TcpListener::bind("10.50.1.1:8080").unwrap());
        run("iptables-legacy", "-t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080", "");
        let mut known = Live::open(&there, &plain, "10.50.1.1:7000", PATIENCE);
        let mut theirs = Live::open(&there, &translated, "10.50.1.1:80", PATIENCE);
        assert!(known.talks() && theirs.talks());
        run(
            BINARY,
            "iptables-restore",
            "*filter\n:INPUT DROP\n-A INPUT -p tcp --dport 80 -j ACCEPT\n-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\nCOMMIT\n",
        );
        assert!(known.talks(), "it is established");
        let listed = run(BINARY, "bpftables conntrack list -g", "");
        assert_eq!(listed, "");
        assert!(theirs.talks(), "netfilter goes on to translate it");
    });
}
