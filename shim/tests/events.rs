//! NFLOG and TRACE: what listeners of the kernel's get of legacy's rules, and what they get of ours. Needs root and iptables-legacy.

#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/listener.rs"]
mod listener;
#[path = "../../runtime/tests/common/mod.rs"]
mod netns;
#[path = "common/own.rs"]
mod own;

use daemon::Agent;
use listener::{Listener, Message};
use netns::{Other, in_namespace, ip};
use own::temporary;
use std::io::Write as _;
use std::net::UdpSocket;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The binary.
const BINARY: &str = env!("CARGO_BIN_EXE_xtables-bpf-multi");
/// `NFULA_*`.
const TIMESTAMP: u16 = 3;
const PAYLOAD: u16 = 9;
const PREFIX: u16 = 10;

/// Whose rules they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Legacy,
    Ours,
}

fn command(program: &str, words: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(program);
    command.args(words).env("XTABLES_LOCKFILE", temporary("lock"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Runs `name` (`iptables`, `ip6tables-restore`, ...) of one or the other.
fn tables(whose: Whose, name: &str, words: &str, stdin: &str) -> Output {
    let words: Vec<&str> = words.split(' ').filter(|word| !word.is_empty()).collect();
    let out = match whose {
        Whose::Ours => command(BINARY, &[&[name][..], &words].concat(), stdin),
        Whose::Legacy => {
            let (family, rest) = name.split_once("tables").unwrap();
            command(&format!("{family}tables-legacy{rest}"), &words, stdin)
        }
    };
    assert!(out.status.success(), "{whose:?} {name} {words:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

/// What no two runs have alike: the time, IPv4's ID and with it the header's checksum; and the flow label of IPv6.
fn comparable(mut message: Message) -> Message {
    if let Some(stamp) = message.attributes.get_mut(&TIMESTAMP) {
        let seconds = u64::from_be_bytes(stamp[..8].try_into().unwrap());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(now.abs_diff(seconds) < 60, "a time of day: {seconds}");
        stamp.fill(0);
    }
    if let Some(packet) = message.attributes.get_mut(&PAYLOAD) {
        let varying: &[usize] = if packet[0] >> 4 == 4 { &[4, 5, 10, 11] } else { &[1, 2, 3] };
        for at in varying.iter().filter(|at| **at < packet.len()).copied().collect::<Vec<_>>() {
            packet[at] = 0;
        }
    }
    message
}

/// Adds pair number `n`: `aN` here, `bN` there, with addresses of both families.
fn pair(n: u32, there: &Other) {
    ip(&format!(
        "link add a{n} address 02:00:00:01:00:0{n} type veth peer name b{n} address 02:00:00:02:00:0{n} netns {}\n\
         link set a{n} up\naddr add 10.50.{n}.1/24 dev a{n}\naddr add fd00:{n}::1/64 dev a{n} nodad\n\
         neigh replace 10.50.{n}.2 dev a{n} lladdr 02:00:00:02:00:0{n}\n\
         neigh replace fd00:{n}::2 dev a{n} lladdr 02:00:00:02:00:0{n}\n",
        there.path(),
    ));
    there.run(move || {
        ip(&format!(
            "link set b{n} up\naddr add 10.50.{n}.2/24 dev b{n}\naddr add fd00:{n}::2/64 dev b{n} nodad\n\
             neigh replace 10.50.{n}.1 dev b{n} lladdr 02:00:00:01:00:0{n}\n\
             neigh replace fd00:{n}::1 dev b{n} lladdr 02:00:00:01:00:0{n}\n\
             route add default via 10.50.{n}.1\n"
        ));
    });
}

/// What a listener gets of packets in, out and forwarded.
fn nflog(whose: Whose) -> Vec<Message> {
    in_namespace(|| {
        let (left, right) = (Other::new(), Other::new());
        pair(0, &left);
        pair(1, &right);
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let _agent = (whose == Whose::Ours).then(|| Agent::start(&[]));
        let listener = Listener::new(5, 0xffff);
        let narrow = Listener::new(6, 40);
        let rules = "*mangle\n\
            -A PREROUTING -i a0 -p udp -m udp --dport 9999 -j NFLOG --nflog-group 5 --nflog-prefix \"before it all\"\n\
            COMMIT\n*filter\n\
            -A INPUT -i a0 -p udp -m udp --dport 9999 -j NFLOG --nflog-group 5 --nflog-size 60\n\
            -A INPUT -i a0 -p udp -m udp --dport 9999 -j NFLOG --nflog-group 6 --nflog-prefix p --nflog-threshold 1\n\
            -A INPUT -i a0 -p udp -m udp --dport 9999 -j NFLOG --nflog-group 7\n\
            -A OUTPUT -o a0 -p udp -m udp --dport 9999 -j MARK --set-mark 0x2a\n\
            -A OUTPUT -o a0 -p udp -m udp --dport 9999 -j NFLOG --nflog-group 5 --nflog-prefix out\n\
            -A FORWARD -p udp -m udp --dport 9999 -j NFLOG --nflog-group 5 --nflog-size 0 --nflog-prefix through\n\
            COMMIT\n";
        let rules = rules.replace("-A OUTPUT -o a0 -p udp -m udp --dport 9999 -j MARK --set-mark 0x2a\n", "");
        tables(whose, "iptables-restore", "", &rules);
        tables(whose, "ip6tables-restore", "", &rules);
        if whose == Whose::Ours {
            wait_for_the_agent();
        }
        let here = UdpSocket::bind(("::", 9999)).unwrap();
        let far = left.run(|| UdpSocket::bind(("::", 8888)).unwrap());
        let mut found = Vec::new();
        for to in ["10.50.0.1:9999", "[fd00:0::1]:9999"] {
            far.send_to(&[7; 1000], to).unwrap();
            found.extend(listener.take(2));
        }
        for to in ["10.50.0.2:9999", "[fd00:0::2]:9999"] {
            here.send_to(&[8; 10], to).unwrap();
            found.extend(listener.take(1));
        }
        // More than a packet of Ethernet: `lo`'s.
        tables(whose, "iptables", "-A INPUT -i lo -p udp -m udp --dport 9999 -j NFLOG --nflog-group 5", "");
        here.send_to(&[9; 30_000], "127.0.0.1:9999").unwrap();
        found.extend(listener.take(1));
        far.send_to(&[7; 20], "10.50.1.2:9999").unwrap();
        let mut forwarded = listener.take(2);
        // The link header of the way in is gone at FORWARD in ours.
        for kind in [8, 15, 16, 17] {
            forwarded[1].attributes.remove(&kind);
        }
        found.extend(forwarded);
        found.extend(narrow.take(2));
        found.into_iter().map(comparable).collect()
    })
}

/// Until commands know that there is an agent, and it has had time to open the ring.
fn wait_for_the_agent() {
    let begin = Instant::now();
    loop {
        let quiet = command(BINARY, &["iptables", "-t", "raw", "-A", "PREROUTING", "-i", "none", "-j", "LOG"], "");
        command(BINARY, &["iptables", "-t", "raw", "-D", "PREROUTING", "-i", "none", "-j", "LOG"], "");
        if quiet.stderr.is_empty() {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(15), "no agent");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(1));
}

#[test]
fn listeners_of_nflog_get_the_kernels_messages() {
    let (legacy, ours) = (nflog(Whose::Legacy), nflog(Whose::Ours));
    assert_eq!(legacy.len(), 11);
    for (at, (legacy, ours)) in legacy.iter().zip(&ours).enumerate() {
        assert_eq!(legacy, ours, "message {at}");
    }
    assert_eq!(legacy.len(), ours.len());
}

#[test]
fn nflog_never_stalls_a_packet_and_goes_to_a_file_too() {
    in_namespace(|| {
        let there = Other::new();
        pair(0, &there);
        let warned =
            tables(Whose::Ours, "iptables", "-A INPUT -i a0 -p udp -j NFLOG --nflog-group 9 --nflog-prefix x", "");
        assert_eq!(String::from_utf8_lossy(&warned.stderr), "bpftables: NFLOG writes nothing until bpftablesd runs\n");
        let here = UdpSocket::bind(("0.0.0.0", 9999)).unwrap();
        here.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let far = there.run(|| UdpSocket::bind(("0.0.0.0", 8888)).unwrap());
        let flood = |count: u32| {
            for _ in 0..count {
                far.send_to(&[0; 1400], "10.50.0.1:9999").unwrap();
                here.recv(&mut [0; 2000]).unwrap();
            }
        };
        // Nobody takes them, then nobody listens, then a listener that does not read.
        flood(1000);
        let status = String::from_utf8(command(BINARY, &["bpftables", "status"], "").stdout).unwrap();
        let lost = status.lines().find_map(|line| line.strip_prefix("statistic    event_lost ")).unwrap().to_owned();
        assert!(lost.split(':').next().unwrap().parse::<u64>().unwrap() > 500, "{lost}");
        let file = temporary("nflog.pcapng");
        let _ = std::fs::remove_file(&file);
        let _agent = Agent::start(&["--nflog-to", file.to_str().unwrap()]);
        wait_for_the_agent();
        flood(500);
        let _listener = Listener::new(9, 0xffff);
        flood(2000);
        let begin = Instant::now();
        let text = loop {
            // On a busy machine the ring may still be full of the flood.
            far.send_to(b"the last one", "10.50.0.1:9999").unwrap();
            let out = command("tcpdump", &["-n", "-r", file.to_str().unwrap()], "");
            let text = String::from_utf8(out.stdout).unwrap();
            if text.contains("length 12") || begin.elapsed() > Duration::from_secs(10) {
                break text;
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        assert!(text.contains("IP 10.50.0.2.8888 > 10.50.0.1.9999: UDP, length 12"), "{text}");
        assert!(text.lines().count() > 500, "{}", text.lines().count());
        let _ = std::fs::remove_file(&file);
    });
}

/// Lines of TRACE, up to the rule's number, with the devices.
fn traced(whose: Whose, family: u8) -> Vec<String> {
    in_namespace(|| {
        let (left, right) = (Other::new(), Other::new());
        pair(0, &left);
        pair(1, &right);
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        left.run(|| ip("route add default via fd00:0::1\n"));
        let file = temporary("trace");
        let _ = std::fs::remove_file(&file);
        let _agent = (whose == Whose::Ours).then(|| Agent::start(&["--log-to", file.to_str().unwrap()]));
        let listener = Listener::new(0, 64);
        if whose == Whose::Legacy {
            for number in [2, 10] {
                std::fs::write(format!("/proc/sys/net/netfilter/nf_log/{number}"), "nfnetlink_log").unwrap();
            }
        }
        let command = if family == 4 { "iptables" } else { "ip6tables" };
        tables(whose, &format!("{command}-restore"), "", TRACED);
        if whose == Whose::Ours {
            wait_for_the_agent();
        }
        let (here, far) = match family {
            4 => (["127.0.0.1:99", "10.50.0.2:53"], ["10.50.0.1:99", "10.50.1.2:99", "10.50.0.1:98"]),
            _ => (["[::1]:99", "[fd00:0::2]:53"], ["[fd00:0::1]:99", "[fd00:1::2]:99", "[fd00:0::1]:98"]),
        };
        let _open = [UdpSocket::bind(("::", 99)).unwrap(), UdpSocket::bind(("::", 98)).unwrap()];
        let local = UdpSocket::bind(("::", 97)).unwrap();
        let remote = left.run(|| UdpSocket::bind(("::", 8888)).unwrap());
        for to in here {
            local.send_to(b"x", to).unwrap();
            std::thread::sleep(Duration::from_millis(50));
        }
        // Twice: the second packet is no new connection.
        for to in far.into_iter().chain(far) {
            remote.send_to(b"x", to).unwrap();
            std::thread::sleep(Duration::from_millis(50));
        }
        match whose {
            Whose::Legacy => {
                let name = |message: &Message, kind: u16| {
                    let index = message.attributes.get(&kind).map(|v| u32::from_be_bytes(v[..].try_into().unwrap()));
                    index.map(device).unwrap_or_default()
                };
                let line = |message: Message| {
                    let prefix = String::from_utf8(message.attributes[&PREFIX].clone()).unwrap();
                    format!("{}IN={} OUT={}", prefix.trim_end_matches('\0'), name(&message, 4), name(&message, 5))
                };
                listener.take(30).into_iter().map(line).collect()
            }
            Whose::Ours => {
                std::thread::sleep(Duration::from_secs(1));
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                let _ = std::fs::remove_file(&file);
                assert!(text.lines().filter(|line| line.contains("TRACE: ")).all(|line| line.contains("PROTO=UDP")));
                let upto = |line: &str| line.split(' ').take(4).collect::<Vec<_>>().join(" ");
                text.lines().map(daemon::text).filter(|text| text.starts_with("TRACE: ")).map(upto).collect()
            }
        }
    })
}

fn device(index: u32) -> String {
    let out = command("ip", &["-o", "link"], "");
    let text = String::from_utf8(out.stdout).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{index}: "))).expect("a device").to_owned();
    line.split([':', '@']).next().unwrap().to_owned()
}

/// Ends of chains in all their kinds.
const TRACED: &str = "*raw
-A PREROUTING -p udp -m udp --dport 98
-A PREROUTING -i a0 -p udp -m udp --dport 99 -j TRACE
-A PREROUTING -i a0 -m comment --comment seen
-A OUTPUT -p udp -j TRACE
-A OUTPUT -j ACCEPT
COMMIT
*mangle
-A PREROUTING -p udp
-A POSTROUTING -p udp -j MARK --set-mark 0x7
COMMIT
*nat
:other -
-A OUTPUT -p udp -j other
-A other -p udp -m udp --dport 53 -j RETURN
-A POSTROUTING -o a1 -j MASQUERADE
COMMIT
*security
COMMIT
*filter
:a -
:b -
:c -
:empty -
-A INPUT -p udp -j a
-A INPUT -p udp -j RETURN
-A OUTPUT -j a
-A OUTPUT -g b
-A FORWARD -j empty
-A FORWARD -j a
-A FORWARD -o a1 -j ACCEPT
-A a -p tcp
-A a -m comment --comment hello -j RETURN
-A b -p udp -j c
-A b -j LOG
-A c -j RETURN
COMMIT
";

#[test]
fn trace_names_the_rules_that_the_kernel_names() {
    for family in [4, 6] {
        let (legacy, ours) = (traced(Whose::Legacy, family), traced(Whose::Ours, family));
        assert!(legacy.len() > 40, "{legacy:#?}");
        assert_eq!(legacy.join("\n"), ours.join("\n"), "IPv{family}");
    }
}
