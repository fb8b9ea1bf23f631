//! `bpftables conntrack` and `status` for both families. Needs root.

#[path = "common/daemon.rs"]
mod daemon;
#[path = "../../runtime/tests/common/mod.rs"]
mod netns;
#[path = "common/own.rs"]
mod own;

use bpftables_abi::conn::{LINE_SPILT, TUPLE_WAYS, TupleLine};
use bpftables_abi::maps;
use bpftables_ruleset::Family;
use bpftables_runtime::Engine;
use bpftables_runtime::sys::bpf::{self, Map};
use daemon::Agent;
use netns::{in_namespace, ip};
use own::temporary;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The binary.
const BINARY: &str = env!("CARGO_BIN_EXE_xtables-bpf-multi");

fn ours(words: &str) -> Output {
    // A lock of each namespace's own: others of the machine are not waited for.
    Command::new(BINARY).args(words.split(' ')).env("XTABLES_LOCKFILE", temporary("lock")).output().unwrap()
}

/// Standard output of a command that has to work.
fn run(words: &str) -> String {
    let out = ours(words);
    assert!(out.status.success(), "{words}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// A datagram from this host to itself, and its answer.
fn exchange(host: &str, port: u16) {
    let (server, client) = (UdpSocket::bind((host, port)).unwrap(), UdpSocket::bind((host, 0)).unwrap());
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    client.send_to(b"x", (host, port)).unwrap();
    let (n, from) = server.recv_from(&mut [0; 8]).unwrap();
    server.send_to(&[0; 2][..n], from).unwrap();
    client.recv(&mut [0; 8]).unwrap();
}

fn track_both() {
    ip("addr add fd00::1/64 dev lo nodad\n");
    run("iptables -A INPUT -m conntrack --ctstate NEW");
    run("ip6tables -A INPUT -m conntrack --ctstate NEW");
}

#[test]
fn connections_of_both_families_are_listed_deleted_and_counted() {
    in_namespace(|| {
        track_both();
        exchange("127.0.0.1", 7001);
        exchange("fd00::1", 7001);
        exchange("fd00::1", 7002);
        let all = run("bpftables conntrack list");
        assert_eq!((all.lines().count(), all.matches("src=fd00::1 dst=fd00::1").count()), (3, 4), "{all}");
        let listed = ours("bpftables conntrack list -f ipv4");
        assert_eq!(listed.stdout.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(String::from_utf8_lossy(&listed.stderr), "bpftables: 1 flow entries have been shown.\n");
        assert_eq!(run("bpftables conntrack count"), "3\n");
        assert_eq!(run("bpftables conntrack -C -f ipv6 -u SEEN_REPLY"), "2\n");
        let wrong = ours("bpftables conntrack list -p udp --state ESTABLISHED");
        let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
        assert_eq!((wrong.status.code(), &*said), (Some(2), "bpftables: protocol 17 has no such --state\n"));
        assert_eq!(run("bpftables conntrack list -s fd00::/16 --dport 7002").lines().count(), 1);
        let json: serde_json::Value = serde_json::from_str(&run("bpftables conntrack list --json -f ipv6")).unwrap();
        assert_eq!(json[0]["original"]["source"], "fd00::1");
        let status = run("bpftables status");
        let counts: Vec<&str> = status.lines().filter(|line| line.starts_with("connections ")).collect();
        assert_eq!(counts.len(), 2, "{status}");
        assert!(
            counts[0].starts_with("connections  1 of at most ") && counts[1].starts_with("connections  2 of at most ")
        );
        assert!(status.contains("family       IPv4\n") && status.contains("family       IPv6\n"), "{status}");
        let json: serde_json::Value = serde_json::from_str(&run("bpftables status --json")).unwrap();
        let families = json["families"].as_array().unwrap();
        assert_eq!((families.len(), &json["neighbours"]), (2, &serde_json::json!([])), "{json}");
        let six = &families[1];
        assert_eq!((&six["family"], &six["connections"]), (&"IPv6".into(), &2.into()));
        assert_eq!(six["tables"], serde_json::json!([{"name": "filter", "rules": 1, "user_chains": 0}]));
        assert_eq!((&six["devices"][0]["name"], &six["devices"][0]["egress"]), (&"lo".into(), &"ours".into()));
        let new = six["statistics"].as_array().unwrap().iter().find(|statistic| statistic["name"] == "conn_new");
        assert_eq!(new.unwrap()["count"], 2);
        let ended = run("bpftables conntrack delete -d fd00::1 --dport 7001 --json");
        let ended: serde_json::Value = serde_json::from_str(&ended).unwrap();
        assert_eq!((ended.as_array().unwrap().len(), &ended[0]["original"]["destination_port"]), (1, &7001.into()));
        assert_eq!(ours("bpftables conntrack delete --dport 7001 -f ipv6 --json").stdout, b"[]\n");
        assert_eq!(run("bpftables conntrack list").lines().count(), 2);
        assert_eq!(run("bpftables conntrack flush"), "2 connections ended\n");
        assert_eq!(run("bpftables conntrack list"), "");
        let file = temporary("image");
        let size = |family: &str| {
            run(&format!("bpftables dump-image{family} {}", file.display()));
            std::fs::metadata(&file).unwrap().len()
        };
        assert!(size("") > 0 && size(" -6") > 0);
        std::fs::remove_file(&file).unwrap();
    });
}

#[test]
fn status_tells_whether_an_agent_serves_and_what_waits_for_one() {
    in_namespace(|| {
        let agent = || -> Vec<String> {
            let status = run("bpftables status");
            status.lines().filter_map(|line| line.strip_prefix("agent        ").map(str::to_owned)).collect()
        };
        run("iptables -A INPUT -p udp --dport 9 -j DROP");
        let none = "none serves this network namespace: the next command that changes a rule attaches to new devices";
        assert_eq!(agent(), [none]);
        run("iptables -A INPUT -p udp --dport 9 -j LOG");
        run("iptables -t raw -A PREROUTING -p udp --dport 10 -j TRACE");
        let waiting = ["LOG writes nothing until bpftablesd runs", "TRACE writes nothing until bpftablesd runs"];
        assert_eq!(agent(), [none, waiting[0], waiting[1]]);
        let json = || {
            serde_json::from_str::<serde_json::Value>(&run("bpftables status --json")).unwrap()["families"][0].clone()
        };
        assert_eq!((&json()["agent"], &json()["unheard"]), (&false.into(), &serde_json::json!(waiting)));
        let _agent = Agent::start(&[]);
        let begin = Instant::now();
        while agent() != ["serves this network namespace"] {
            assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", agent());
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!((&json()["agent"], &json()["unheard"]), (&true.into(), &serde_json::json!([])));
    });
}

#[test]
fn what_connections_carried_is_told_once_a_rule_asks() {
    in_namespace(|| {
        track_both();
        exchange("127.0.0.1", 7001);
        let before = run("bpftables conntrack list");
        assert!(!before.contains("packets="), "{before}");
        for iptables in ["iptables", "ip6tables"] {
            run(&format!(
                "{iptables} -A INPUT -m connbytes --connbytes 1000 --connbytes-dir both --connbytes-mode bytes"
            ));
        }
        exchange("127.0.0.1", 7002);
        exchange("fd00::1", 7003);
        assert!(!run("bpftables conntrack list --dport 7001").contains("packets="), "what came before is not counted");
        for (port, bytes) in [(7002, 29), (7003, 49)] {
            let listed = run(&format!("bpftables conntrack list --dport {port}"));
            let counts: Vec<&str> =
                listed.split(' ').filter(|word| word.starts_with("packets=") || word.starts_with("bytes=")).collect();
            let each = ["packets=1".to_owned(), format!("bytes={bytes}")];
            assert_eq!(counts, [&*each[0], &*each[1], &*each[0], &*each[1]], "{listed}");
        }
        let json: serde_json::Value =
            serde_json::from_str(&run("bpftables conntrack list --dport 7002 --json")).unwrap();
        assert_eq!((&json[0]["original"]["bytes"], &json[0]["reply"]["packets"]), (&29.into(), &1.into()));
    });
}

#[test]
fn a_watcher_sees_connections_begin_change_and_end() {
    in_namespace(|| {
        track_both();
        exchange("127.0.0.1", 7001);
        let mut watch = Command::new(BINARY);
        watch.args(["bpftables", "conntrack", "watch", "--interval", "20", "-p", "udp", "--dport", "7002"]);
        let mut child = watch.stdout(Stdio::piped()).spawn().unwrap();
        let mut ends = Command::new(BINARY);
        ends.args(["bpftables", "conntrack", "-E", "-p", "udp", "--dport", "7002", "-e", "destroy", "-o", "timestamp"]);
        let mut ends = ends.stdout(Stdio::piped()).spawn().unwrap();
        let mut ended = BufReader::new(ends.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        // It has to have looked once.
        std::thread::sleep(Duration::from_millis(1500));
        let (server, client) = (UdpSocket::bind("[fd00::1]:7002").unwrap(), UdpSocket::bind("[fd00::1]:0").unwrap());
        let port = client.local_addr().unwrap().port();
        client.send_to(b"x", "[fd00::1]:7002").unwrap();
        let tuple = |sport: u16, dport: u16| format!("src=fd00::1 dst=fd00::1 sport={sport} dport={dport}");
        let (there, back) = (tuple(port, 7002), tuple(7002, port));
        let line = lines.next().unwrap();
        assert!(
            line.starts_with("    [NEW] udp      17 ") && line.ends_with(&format!("{there} [UNREPLIED] {back}")),
            "{line}"
        );
        server.send_to(b"y", client.local_addr().unwrap()).unwrap();
        let line = lines.next().unwrap();
        assert!(line.starts_with(" [UPDATE] udp      17 ") && line.ends_with(&format!("{there} {back}")), "{line}");
        // The other one looks less often, and has to have seen it.
        std::thread::sleep(Duration::from_millis(500));
        run("bpftables conntrack flush");
        assert_eq!(lines.next().unwrap(), format!("[DESTROY] udp      17 {there} {back}"));
        let line = ended.next().unwrap();
        let (time, event) = line.split_once(']').unwrap();
        assert!(time.starts_with("[1") && time.split('.').nth(1).is_some_and(|micros| micros.len() == 6), "{line}");
        assert_eq!(event, format!("\t[DESTROY] udp      17 {there} {back}"));
        for mut child in [child, ends] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    });
}

/// Of the only table there is.
fn limits() -> String {
    let shown = run("bpftables conntrack limit");
    assert_eq!(shown.lines().count(), 2, "{shown}");
    shown.lines().next().unwrap().to_owned() + "\n"
}

#[test]
fn the_limit_of_a_table_holds_and_is_raised_as_far_as_there_is_room() {
    in_namespace(|| {
        run("iptables -A INPUT -m conntrack --ctstate NEW");
        let shown = limits();
        let room: u32 = shown.trim().rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(shown, format!("IPv4: {room} connections at most, room for {room}\n"));
        // Recorded for the whole machine: whatever happens, tests that run beside this one get the old number again.
        let more = ours(&format!("bpftables conntrack limit {}", room + 1));
        let back = run(&format!("bpftables conntrack limit {room}"));
        assert_eq!((more.status.code(), back.as_str()), (Some(1), ""));
        let said = String::from_utf8_lossy(&more.stderr).into_owned();
        assert!(
            said.contains(&format!("room for {room} connections only")) && said.contains("uninstall-hooks"),
            "{said}"
        );
        assert_eq!(limits(), shown);
        // Where nothing is loaded, too, what was set can be looked up, and that it is forgotten. Other tests' tables are never so small.
        let to_come = || run("bpftables conntrack limit").lines().last().unwrap().to_owned();
        let unloaded = netns::Other::new();
        let small = run(&format!("bpftables conntrack limit {}", room - 1));
        let set = [to_come(), unloaded.run(|| run("bpftables conntrack limit"))];
        let forgotten = ours("bpftables conntrack limit --default");
        assert_eq!(small, "");
        let (limit, why) = (room - 1, "set on this machine until it boots");
        assert_eq!(set[0], format!("tables that are made from now on: {limit} connections at most, {why}"));
        assert_eq!(set[1], format!("nothing is loaded in this network namespace\n{}\n", set[0]));
        let said = String::from_utf8_lossy(&forgotten.stderr).into_owned();
        let kept = format!("bpftables: IPv4: the table that is there keeps its limit of {limit} connections; ");
        assert!(forgotten.status.success() && said.starts_with(&kept), "{said}");
        assert!(to_come().ends_with(" connections at most, nf_conntrack_max"), "{}", to_come());
        assert_eq!(ours("bpftables conntrack limit 0").status.code(), Some(2));
    });
}

#[test]
fn the_table_is_made_when_rules_begin_to_track() {
    for (family, iptables, host) in [(Family::V4, "iptables", "127.0.0.1"), (Family::V6, "ip6tables", "fd00::1")] {
        in_namespace(|| {
            ip("addr add fd00::1/64 dev lo nodad\n");
            run(&format!("{iptables} -A INPUT -p udp --dport 7000 -j DROP"));
            let name = if family == Family::V4 { "IPv4" } else { "IPv6" };
            let shown = limits();
            assert!(shown.starts_with(name) && shown.ends_with(" at most, no rule tracks them yet\n"), "{shown}");
            let limit: usize = shown.split(' ').nth(1).unwrap().parse().unwrap();
            assert!(Tuples::open(family).1 < 64);
            exchange(host, 7001);
            assert_eq!(run("bpftables conntrack list"), "");
            run(&format!("{iptables} -A INPUT -m conntrack --ctstate INVALID -j DROP"));
            assert!(Tuples::open(family).1 as usize * TUPLE_WAYS > 2 * limit);
            let shown = limits();
            assert_eq!(shown, format!("{name}: {limit} connections at most, room for {limit}\n"));
            for n in 0..200 {
                exchange(host, 7001 + n);
            }
            assert_eq!(run("bpftables conntrack list").lines().count(), 200);
            assert_eq!(Tuples::open(family).count().0.iter().sum::<usize>(), 400);
        });
    }
}

/// A way that leads to a number which no connection has.
const TAKEN: u64 = u64::MAX >> 2;

/// The table of tuples of a family: what a test finds in it, and writes.
struct Tuples(Map<u32, TupleLine>, u32);

impl Tuples {
    fn open(family: Family) -> Self {
        let status = Engine::open().unwrap().status(family).unwrap().unwrap();
        let path = PathBuf::from(status.location).join("maps").join(maps::TUPLES);
        let lines = bpf::map_info(bpf::open_pinned(&path).unwrap().as_fd()).unwrap().max_entries;
        Self(Map::new(bpf::open_pinned(&path).unwrap()).unwrap(), lines)
    }

    /// All lines anew: those that are asked for without a free way.
    fn fill(&self, full: impl Fn(u32) -> bool) {
        let lines: Vec<u32> = (0..self.1).collect();
        let line = |i: &u32| TupleLine { head: 0, ways: [if full(*i) { TAKEN } else { 0 }; TUPLE_WAYS] };
        self.0.set_many(&lines, &lines.iter().map(line).collect::<Vec<_>>()).unwrap();
    }

    /// Keys of connections in even lines and in odd ones, and lines of which a key is in another.
    fn count(&self) -> ([usize; 2], usize) {
        let (mut keys, mut spilt) = ([0; 2], 0);
        for i in 0..self.1 {
            let line = self.0.get(&i).unwrap().unwrap();
            assert_eq!(line.head & !LINE_SPILT, 0, "line {i} is locked");
            spilt += usize::from(line.head == LINE_SPILT);
            keys[i as usize % 2] += line.ways.iter().filter(|way| ![0, TAKEN].contains(*way)).count();
        }
        (keys, spilt)
    }
}

#[test]
fn keys_without_room_in_their_line_go_to_the_second_and_then_nowhere() {
    const CONNECTIONS: u16 = 64;
    in_namespace(|| {
        track_both();
        for (family, host) in [(Family::V4, "127.0.0.1"), (Family::V6, "fd00::1")] {
            let tuples = Tuples::open(family);
            let exchanges = || (0..CONNECTIONS).for_each(|n| exchange(host, 7000 + n));
            // A line's second is one of the other half.
            tuples.fill(|line| line % 2 == 0);
            exchanges();
            let (keys, spilt) = tuples.count();
            assert_eq!(keys, [0, usize::from(2 * CONNECTIONS)], "each connection has two keys");
            assert!(spilt > 0);
            let option = if family == Family::V4 { "ipv4" } else { "ipv6" };
            let listed = run(&format!("bpftables conntrack list -f {option}"));
            let answered = listed.lines().filter(|line| !line.contains("UNREPLIED")).count();
            assert_eq!(answered, usize::from(CONNECTIONS), "both keys of each were found: {listed}");
            // What is flushed gives its keys back, from both lines, when its number is met; new ones find room.
            run("bpftables conntrack flush");
            exchanges();
            let (keys, _) = tuples.count();
            assert_eq!(keys, [0, usize::from(2 * CONNECTIONS)], "no key of an ended connection is left");
            // Nowhere is room: no connection, no packet.
            run("bpftables conntrack flush");
            tuples.fill(|_| true);
            let (server, client) = (UdpSocket::bind((host, 7999)).unwrap(), UdpSocket::bind((host, 0)).unwrap());
            server.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            client.send_to(b"x", (host, 7999)).unwrap();
            assert!(server.recv(&mut [0; 8]).is_err());
            tuples.fill(|_| false);
            exchanges();
        }
    });
}
