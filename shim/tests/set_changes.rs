//! SET: what rules of legacy make of the kernel's sets, and what the agent makes of them for ours. Needs root, iptables-legacy and ipset.

#[path = "common/daemon.rs"]
mod daemon;
#[path = "../../runtime/tests/common/mod.rs"]
mod netns;
#[path = "common/own.rs"]
mod own;

use daemon::Agent;
use netns::{in_namespace, ip};
use own::temporary;
use std::net::{IpAddr, UdpSocket};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// The binary.
const BINARY: &str = env!("CARGO_BIN_EXE_xtables-bpf-multi");
/// Sets of both families, and what is in them at first.
const SETS: [&str; 19] = [
    "create ip hash:ip",
    "create nm hash:ip netmask 24",
    "create t hash:ip timeout 600",
    "create never hash:ip timeout 600",
    "create e hash:ip timeout 600",
    "create pp hash:ip,port",
    "create pip hash:ip,port,ip",
    "create bip bitmap:ip range 127.0.0.0/24",
    "create port bitmap:port range 0-10000",
    "create full hash:ip maxelem 2 hashsize 64",
    "create ip6 hash:ip family inet6",
    "create pip6 hash:ip,port,ip family inet6",
    "create gone hash:ip",
    "create n hash:net",
    "create n24 hash:net timeout 600",
    "create np hash:net,port",
    "create pn hash:ip,port,net",
    "create n6 hash:net family inet6",
    "create info hash:ip skbinfo",
];
const ELEMENTS: [&str; 7] = [
    "add n24 10.9.0.0/24",
    "add e 127.0.0.3 timeout 20",
    "add gone 127.0.0.2",
    "add gone 127.0.0.9",
    "add info 127.0.0.2 skbmark 0x5",
    "add info 127.0.0.3 skbmark 0x5",
    "add t 127.0.0.9 timeout 0",
];
const RULES: &str = "*filter
-A INPUT -p udp -j SET --add-set ip src
-A INPUT -p udp -j SET --add-set nm src
-A INPUT -p udp -j SET --add-set t src
-A INPUT -p udp -j SET --add-set never src --timeout 0
-A INPUT -p udp -j SET --add-set e src --exist --timeout 300
-A INPUT -p udp -j SET --add-set pp src,dst
-A INPUT -p udp -j SET --add-set pip src,dst,dst
-A INPUT -p udp -j SET --add-set bip src
-A INPUT -p udp -j SET --add-set port dst
-A INPUT -p udp -j SET --add-set full src
-A INPUT -p udp -j SET --del-set gone src
-A INPUT -p udp -j SET --add-set n src
-A INPUT -p udp -j SET --add-set n24 src
-A INPUT -p udp -j SET --add-set np src,dst
-A INPUT -p udp -j SET --add-set pn src,dst,dst
-A INPUT -p udp -s 127.0.0.2 -j SET --add-set info src
-A INPUT -p udp -s 127.0.0.3 -j SET --add-set info src --exist
-A INPUT -p udp -s 127.0.0.4 -j SET --del-set ip src
COMMIT
";
const RULES6: &str = "*filter
-A INPUT -p udp -j SET --add-set ip6 src
-A INPUT -p udp -j SET --add-set pip6 src,dst,dst
-A INPUT -p udp -j SET --add-set n6 src
-A INPUT -p udp -j SET --add-set port dst
-A INPUT -p udp -m udp --dport 6003 -m set --match-set port dst -j SET --del-set port dst
COMMIT
";

/// Whose rules they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Legacy,
    Ours,
}

fn command(program: &str, words: &[&str], stdin: &str) -> Output {
    let input = temporary("input");
    std::fs::write(&input, stdin).unwrap();
    let mut command = Command::new(program);
    let out = command
        .args(words)
        .env("XTABLES_LOCKFILE", temporary("lock"))
        .stdin(std::fs::File::open(&input).unwrap())
        .output();
    std::fs::remove_file(input).unwrap();
    let out = out.unwrap();
    assert!(out.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

fn tables(whose: Whose, name: &str, words: &[&str], stdin: &str) -> String {
    let out = match whose {
        Whose::Ours => command(BINARY, &[&[name][..], words].concat(), stdin),
        Whose::Legacy => {
            let (family, rest) = name.split_once("tables").unwrap();
            command(&format!("{family}tables-legacy{rest}"), words, stdin)
        }
    };
    String::from_utf8(out.stdout).unwrap()
}

/// All sets with their elements, in order, but for seeds; and times count in whole hundreds of seconds, for which the rules' own are far
/// enough apart.
fn sets() -> Vec<String> {
    let saved = String::from_utf8(command("ipset", &["save"], "").stdout).unwrap();
    let mut lines: Vec<String> = saved.lines().map(plain).collect();
    lines.sort();
    lines
}

fn plain(line: &str) -> String {
    let mut words = Vec::new();
    let mut all = line.split(' ');
    while let Some(word) = all.next() {
        match word {
            "initval" => drop(all.next()),
            "timeout" => {
                let seconds: u32 = all.next().unwrap().parse().unwrap();
                words.push(format!("timeout {}", seconds.div_ceil(100) * 100));
            }
            _ => words.push(word.to_owned()),
        }
    }
    words.join(" ")
}

fn send(from: &str, to: &str, port: u16) {
    let from: IpAddr = from.parse().unwrap();
    let to: IpAddr = to.parse().unwrap();
    UdpSocket::bind((from, 0)).unwrap().send_to(b"x", (to, port)).unwrap();
}

fn begin(whose: Whose) {
    ip("link set lo up\n");
    command("ipset", &["restore"], &format!("{}\n{}\n", SETS.join("\n"), ELEMENTS.join("\n")));
    tables(whose, "iptables-restore", &[], RULES);
    tables(whose, "ip6tables-restore", &[], RULES6);
}

fn packets() {
    for (from, port) in [("127.0.0.2", 5001), ("127.0.0.3", 5001), ("127.0.0.4", 5002), ("127.0.1.9", 5002)] {
        send(from, "127.0.0.1", port);
    }
    for port in [6001, 6002, 6003, 5001] {
        send("::1", "::1", port);
    }
}

/// The sets after the same packets of legacy's rules.
fn legacys() -> Vec<String> {
    in_namespace(|| {
        begin(Whose::Legacy);
        packets();
        let found = sets();
        tables(Whose::Legacy, "iptables", &["-F"], "");
        tables(Whose::Legacy, "ip6tables", &["-F"], "");
        found
    })
}

/// Until the sets are as wanted; how long it took.
fn eventually(wanted: &[String]) -> Duration {
    let begin = Instant::now();
    loop {
        let found = sets();
        if found == wanted {
            return begin.elapsed();
        }
        if begin.elapsed() > Duration::from_secs(8) {
            let missing: Vec<_> = wanted.iter().filter(|line| !found.contains(line)).collect();
            let more: Vec<_> = found.iter().filter(|line| !wanted.contains(line)).collect();
            panic!("legacy alone: {missing:#?}\nours alone: {more:#?}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_agent_brings_into_sets_what_legacys_rules_make_of_them() {
    let wanted = legacys();
    in_namespace(move || {
        begin(Whose::Ours);
        let _agent = Agent::start(&[]);
        // The agent is there once it brings something.
        send("::1", "::1", 6009);
        let begun = Instant::now();
        while !sets().contains(&"add port 6009".to_owned()) {
            assert!(begun.elapsed() < Duration::from_secs(15), "the agent brings nothing");
            std::thread::sleep(Duration::from_millis(5));
        }
        command("ipset", &["del", "port", "6009"], "");
        command("ipset", &["flush", "ip6"], "");
        command("ipset", &["flush", "pip6"], "");
        command("ipset", &["flush", "n6"], "");
        packets();
        let took = eventually(&wanted);
        println!("the sets were as legacy's after {took:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
        tables(Whose::Ours, "bpftables", &["uninstall-hooks"], "");
    });
}

#[test]
fn what_was_changed_without_an_agent_is_brought_by_the_next_one_and_by_commits() {
    let wanted = legacys();
    in_namespace(move || {
        begin(Whose::Ours);
        let before = sets();
        packets();
        assert_eq!(sets(), before, "something was brought");
        // What rules made of them holds all the same.
        tables(Whose::Ours, "iptables-restore", &["--noflush"], "*filter\n:OTHER - [0:0]\nCOMMIT\n");
        let agent = Agent::start(&[]);
        eventually(&wanted);
        drop(agent);
        command("ipset", &["flush", "ip"], "");
        send("127.0.0.2", "127.0.0.1", 5001);
        assert!(!sets().contains(&"add ip 127.0.0.2".to_owned()));
        tables(Whose::Ours, "iptables", &["-A", "OUTPUT", "-m", "set", "--match-set", "ip", "dst"], "");
        assert!(sets().contains(&"add ip 127.0.0.2".to_owned()), "the commit brought nothing");
        command("ipset", &["flush", "ip"], "");
        send("127.0.0.2", "127.0.0.1", 5001);
        tables(Whose::Ours, "bpftables", &["uninstall-hooks"], "");
        assert!(sets().contains(&"add ip 127.0.0.2".to_owned()), "the end brought nothing");
    });
}
