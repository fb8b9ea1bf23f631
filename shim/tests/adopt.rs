//! Netfilter's rules become ours and go back, with their connections. Needs root, iptables-legacy and iptables-nft.

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
use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The binary.
const BINARY: &str = env!("CARGO_BIN_EXE_xtables-bpf-multi");
/// How long words may take on a connection that lives.
const PATIENCE: Duration = Duration::from_secs(5);
/// Handovers that are killed, of each kind.
const KILLS: u64 = 6;

fn command(program: &str, words: &str) -> Command {
    let mut command = Command::new(program);
    command.args(words.split(' ').filter(|word| !word.is_empty())).env("XTABLES_LOCKFILE", temporary("lock"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn call(program: &str, words: &str, input: &str) -> Output {
    let mut child = command(program, words).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Standard output of a command that has to work.
fn run(program: &str, words: &str, input: &str) -> String {
    let out = call(program, words, input);
    assert!(out.status.success(), "{program} {words}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Rules as some `iptables-save` shows them, without counters and comments.
fn rules(text: &str) -> String {
    let wanted = |line: &&str| line.starts_with('-') || line.starts_with('*') || line.starts_with(':');
    let without = |line: &str| line.split(" [").next().unwrap().to_owned() + "\n";
    let mut tables: Vec<String> = Vec::new();
    for line in text.lines().filter(wanted) {
        if line.starts_with('*') {
            tables.push(String::new());
        }
        tables.last_mut().unwrap().push_str(&without(line));
    }
    // Of tables without rules nothing is to be said.
    tables.retain(|table| table.contains("\n-A ") || table.contains(" DROP"));
    tables.sort();
    tables.concat()
}

/// A closed host with one service behind a translation, in a text that every save gives back.
fn service(v6: bool) -> String {
    let icmp = if v6 { "ipv6-icmp" } else { "icmp" };
    format!(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
         -A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8080\n\
         -A OUTPUT -p tcp -m tcp --dport 81 -j REDIRECT --to-ports 8080\nCOMMIT\n\
         *filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:open - [0:0]\n\
         -A INPUT -p {icmp} -j ACCEPT\n\
         -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -j open\n\
         -A open -p tcp -m tcp --dport 8080 --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j ACCEPT\nCOMMIT\n"
    )
}

#[test]
fn rules_and_connections_become_ours_and_go_back() {
    for (prefix, address, kind) in
        [("", "10.50.1.1", "legacy"), ("6", "[fd50::1]", "legacy"), ("", "10.50.1.1", "nft"), ("6", "[fd50::1]", "nft")]
    {
        in_namespace(|| {
            let there = world();
            let listener = TcpListener::bind(format!("{address}:8080")).unwrap();
            let (save, restore) = (format!("ip{prefix}tables-{kind}-save"), format!("ip{prefix}tables-{kind}-restore"));
            run(&restore, "", &service(prefix == "6"));
            let before = rules(&run(&save, "", ""));
            assert_eq!(before.matches("-A ").count(), 6);
            let mut first = Live::open(&there, &listener, &format!("{address}:80"), PATIENCE);
            assert!(first.talks());

            let said = run(BINARY, "bpftables adopt --dry-run", "");
            assert!(said.contains("6 rules of iptables-"), "{said}");
            assert_eq!(rules(&run(BINARY, &format!("ip{prefix}tables-save"), "")), "");
            let said = run(BINARY, "bpftables adopt", "");
            assert!(said.starts_with(&format!("adopted 6 rules of iptables-{kind} for IPv")), "{said}");
            assert_eq!(rules(&run(&save, "", "")), "", "netfilter has none any more");
            let counted = run(BINARY, &format!("ip{prefix}tables-save -c"), "");
            assert_eq!(rules(&run(BINARY, &format!("ip{prefix}tables-save"), "")), before);
            assert!(
                counted.contains("[1:") && !counted.contains("[0:0] -A PREROUTING"),
                "counters come along: {counted}"
            );
            assert!(first.talks(), "{kind}: it is established, and translated");
            let mut second = Live::open(&there, &listener, &format!("{address}:80"), PATIENCE);
            assert!(second.talks());
            assert_eq!(run(BINARY, "bpftables adopt", ""), "netfilter has no rules here\n");

            let said = run(BINARY, &format!("bpftables release --to {kind}"), "");
            assert!(said.contains("released 6 rules for IPv") && said.contains(", 0 not taken"), "{said}");
            assert_eq!(rules(&run(&save, "", "")), before);
            assert_eq!(rules(&run(BINARY, &format!("ip{prefix}tables-save"), "")), "");
            assert!(first.talks() && second.talks(), "{kind}: both are established, and translated");
            let mut third = Live::open(&there, &listener, &format!("{address}:80"), PATIENCE);
            assert!(third.talks());
            // The test can fail: who is forgotten is shut out.
            run("conntrack", "-F", "");
            run(&format!("ip{prefix}tables-{kind}"), "-I INPUT -p tcp --tcp-flags SYN NONE -j DROP", "");
            assert!(!first.talks());
        });
    }
}

#[test]
fn what_is_refused_leaves_both_sides_as_they_were() {
    in_namespace(|| {
        let legacy = |words: &str| run("iptables-legacy", words, "");
        let ours = || rules(&run(BINARY, "iptables-save", ""));
        let refused = |words: &str, reason: &str| {
            let theirs = rules(&run("iptables-legacy-save", "", ""));
            let before = ours();
            let out = call(BINARY, words, "");
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert_eq!(out.status.code(), Some(1), "{said}");
            assert!(said.contains(reason), "{said}");
            assert_eq!((rules(&run("iptables-legacy-save", "", "")), ours()), (theirs, before));
        };
        legacy("-A INPUT -p tcp --dport 22 -j ACCEPT");
        legacy("-A FORWARD -j NFQUEUE --queue-num 3");
        refused("bpftables adopt", "-A FORWARD -j NFQUEUE --queue-num 3: -j NFQUEUE can't be run");
        assert_eq!(ours(), "");
        legacy("-D FORWARD 1");
        run("iptables-nft", "-A INPUT -p tcp --dport 23 -j DROP", "");
        refused("bpftables adopt", "both iptables-legacy and iptables-nft have rules");
        run(BINARY, "iptables -A INPUT -p tcp --dport 24 -j DROP", "");
        refused("bpftables adopt --from legacy", "bpftables has other rules for IPv4 already");
        refused("bpftables release --to legacy", "iptables-legacy has other rules for IPv4 already");
        let text = run("iptables-nft-save", "", "");
        assert!(text.contains("--dport 23"));
        run(BINARY, "iptables -F", "");
        run(BINARY, "bpftables adopt --from legacy", "");
        assert!(ours().contains("--dport 22 -j ACCEPT"));
        assert!(run("iptables-nft-save", "", "").contains("--dport 23"), "those of nft were not asked for");
        // What netfilter cannot take goes back to where it was.
        run(BINARY, "iptables -t raw -A PREROUTING -j CT --zone 5", "");
        let before = ours();
        let missing = call(BINARY, "bpftables release --to legacy", "");
        if missing.status.success() {
            run(BINARY, "bpftables adopt --from legacy", "");
            assert_eq!(ours(), before);
        } else {
            assert_eq!(ours(), before);
        }
    });
}

#[test]
fn rules_of_nf_tables_are_never_overlooked() {
    in_namespace(|| {
        // As on a host that has nft, or nothing of netfilter's, but no iptables-nft.
        let bare = |words: &str| {
            let out = command(BINARY, words).env("PATH", "/nonexistent").output().unwrap();
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (out.status.code(), text(out.stdout), text(out.stderr))
        };
        let all = ["bpftables adopt", "bpftables adopt --dry-run", "bpftables adopt --from nft"];
        assert_eq!(bare("bpftables adopt"), (Some(0), "netfilter has no rules here\n".to_owned(), String::new()));
        // Tables without rules do nothing.
        run("ip6tables-nft", "-N open", "");
        assert_eq!(bare("bpftables adopt"), (Some(0), "netfilter has no rules here\n".to_owned(), String::new()));
        for (rule, undo, tables) in [
            ("ip6tables-nft -P FORWARD DROP", "ip6tables-nft -P FORWARD ACCEPT", "ip6 filter"),
            ("ip6tables-nft -t raw -A OUTPUT -j ACCEPT", "ip6tables-nft -t raw -F", "ip6 raw"),
        ] {
            let (program, words) = rule.split_once(' ').unwrap();
            run(program, words, "");
            for words in all {
                let said = format!(
                    "bpftables: ip6tables-nft-save is needed, and is not there: rules of iptables-nft are in force (tables {tables})\n"
                );
                assert_eq!(bare(words), (Some(1), String::new(), said), "{words}");
            }
            let (program, words) = undo.split_once(' ').unwrap();
            run(program, words, "");
        }
        // Others' are told of, wherever they are.
        run("nft", "-f -", "table inet theirs { chain in { type filter hook input priority 0; policy drop; }; }");
        run("nft", "-f -", "table ip filter { chain input { type filter hook input priority 0; accept; }; }");
        let others = "nft has rules that are not iptables', and stay in force (tables inet theirs, ip filter)\n";
        let said = |first: &str| (Some(0), format!("{first}\n{others}"), String::new());
        assert_eq!(bare("bpftables adopt"), said("netfilter has no rules of iptables here"));
        assert_eq!(bare("bpftables adopt --from nft"), said("iptables-nft has no rules here"));
        run("ip6tables-legacy", "-A INPUT -j ACCEPT", "");
        let out = run(BINARY, "bpftables adopt --from legacy", "");
        assert_eq!(out, format!("adopted 1 rule of iptables-legacy for IPv6, 0 connections\n{others}"));
    });
}

#[test]
fn who_waits_for_the_lock_says_so_and_how_long() {
    in_namespace(|| {
        let lock = temporary("lock");
        let file = std::fs::File::create(&lock).unwrap();
        file.lock().unwrap();
        let waiting =
            format!("bpftables: waiting for the xtables lock ({}), which another app is holding\n", lock.display());
        let busy = format!(
            "bpftables: Can't lock {}: Resource temporarily unavailable\nAnother app is currently holding the xtables lock. ",
            lock.display()
        );
        for words in ["bpftables adopt", "bpftables release", "bpftables uninstall-hooks"] {
            let refused = |wait: &str| {
                let out = call(BINARY, &format!("{words} {wait}"), "");
                (out.status.code(), String::from_utf8(out.stderr).unwrap())
            };
            assert_eq!(refused("-w 1"), (Some(4), format!("{waiting}{busy}Stopped waiting after 1s.\n")));
            assert_eq!(refused("-w0"), (Some(4), format!("{busy}Perhaps you want to use the -w option?\n")));
        }
        let child = command(BINARY, "bpftables adopt -w").spawn().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        drop(file);
        let out = child.wait_with_output().unwrap();
        assert_eq!((out.status.code(), String::from_utf8(out.stderr).unwrap()), (Some(0), waiting));
        assert_eq!(out.stdout, b"netfilter has no rules here\n");
    });
}

#[test]
fn who_is_killed_amid_a_handover_leaves_rules_in_force_and_the_next_one_ends_it() {
    in_namespace(|| {
        let there = world();
        let listener = TcpListener::bind("10.50.1.1:8080").unwrap();
        run("iptables-legacy-restore", "", &service(false));
        run("ip6tables-legacy-restore", "", &service(true));
        let before = rules(&run("iptables-legacy-save", "", ""));
        let mut live = Live::open(&there, &listener, "10.50.1.1:80", PATIENCE);
        let closed = UdpSocket::bind(("0.0.0.0", 9999)).unwrap();
        closed.set_nonblocking(true).unwrap();
        let far = there.run(|| UdpSocket::bind(("0.0.0.0", 9999)).unwrap());
        let probe = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let (done, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let killed = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    sent.fetch_add(u64::from(far.send_to(b"x", "10.50.1.1:9999").is_ok()), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_micros(500));
                }
            });
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let (mut random, mut killed) = (7_u64, 0);
                for round in 0..KILLS {
                    for words in ["bpftables adopt", "bpftables release --to legacy"] {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        let mut child = command(BINARY, words).spawn().unwrap();
                        // Most of the time is that of the kernel looking through programs, when nothing is done yet.
                        let begin = Instant::now();
                        let held = || probe.send_to(b"x", ("127.0.0.1", 9)).is_err_and(|e| e.raw_os_error() == Some(1));
                        while round > 0 && !held() && child.try_wait().unwrap().is_none() {
                            assert!(begin.elapsed() < Duration::from_secs(120), "{words} does not end");
                            std::thread::sleep(Duration::from_millis(1));
                        }
                        std::thread::sleep(Duration::from_micros((random >> 33) % 30_000));
                        let _ = child.kill();
                        killed += u64::from(!child.wait().unwrap().success());
                        // Its own children may still be at it.
                        std::thread::sleep(Duration::from_millis(50));
                        run(BINARY, words, "");
                        let theirs = rules(&run("iptables-legacy-save", "", ""));
                        let ours = rules(&run(BINARY, "iptables-save", ""));
                        let expected = (before.clone(), String::new());
                        let found = if words.ends_with("adopt") { (ours, theirs) } else { (theirs, ours) };
                        assert_eq!(found, expected, "round {round}: {words}");
                    }
                }
                killed
            }));
            done.store(true, Ordering::Relaxed);
            result.unwrap()
        });
        assert!(killed > KILLS / 2, "{killed} were killed before they ended");
        assert!(sent.load(Ordering::Relaxed) > 1000);
        assert!(closed.recv(&mut [0; 8]).is_err(), "a packet came in that no rule saw");
        assert!(live.talks(), "its connections live through all that");
    });
}
