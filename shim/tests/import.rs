//! Connections that netfilter tracked go on under our rules. Needs root, and legacy's commands.

#[path = "../../runtime/tests/common/mod.rs"]
mod netns;

use bpftables_runtime::sys::ns;
use netns::{Other, in_namespace, ip};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The binary.
const BINARY: &str = env!("CARGO_BIN_EXE_xtables-bpf-multi");

/// Standard output of a command that has to work.
fn run(program: &str, words: &str, input: &str) -> String {
    let lock = std::env::temp_dir().join(format!("bpftables-test-{:x}.lock", ns::netns_cookie().unwrap()));
    let mut command = Command::new(program);
    command.args(words.split(' ')).env("XTABLES_LOCKFILE", lock).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{program} {words}");
    String::from_utf8(out.stdout).unwrap()
}

/// A connection from another namespace, and the end of it here.
struct Live {
    far: TcpStream,
    here: TcpStream,
}

impl Live {
    fn open(there: &Other, listener: &TcpListener, to: &str) -> Self {
        let to = to.to_owned();
        let far = there.run(move || TcpStream::connect(to).unwrap());
        let (here, _) = listener.accept().unwrap();
        for stream in [&far, &here] {
            stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        }
        Self { far, here }
    }

    /// Whether words still go both ways.
    fn talks(&mut self) -> bool {
        let mut heard = [0; 4];
        let mut one_way = |from: &mut TcpStream, to: &mut TcpStream| {
            from.write_all(b"word").is_ok() && to.read_exact(&mut heard).is_ok()
        };
        one_way(&mut self.far, &mut self.here) && one_way(&mut self.here, &mut self.far)
    }
}

fn world() -> Other {
    let there = Other::new();
    ip(&format!(
        "link add a1 type veth peer name b1 netns {}\nlink set a1 up\naddr add 10.50.1.1/24 dev a1\naddr add fd50::1/64 dev a1 nodad\n",
        there.path()
    ));
    there.run(|| ip("link set b1 up\naddr add 10.50.1.2/24 dev b1\naddr add fd50::2/64 dev b1 nodad\n"));
    there
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
            let mut live = Live::open(&there, &listener, &format!("{address}:80"));
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
        let mut known = Live::open(&there, &plain, "10.50.1.1:7000");
        let mut theirs = Live::open(&there, &translated, "10.50.1.1:80");
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
