//! NFLOG and TRACE: what listeners of the kernel's get of legacy's rules, and what they get of ours. Needs root and iptables-legacy.

#[path = "common/daemon.rs"]
mod daemon;
#[path = "../../runtime/tests/common/mod.rs"]
mod netns;

use bpftables_runtime::sys::ns;
use daemon::Agent;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use netns::{Other, in_namespace, ip};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::UdpSocket;
use std::path::PathBuf;
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

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("bpftables-{name}-{:x}", ns::netns_cookie().unwrap()))
}

fn command(program: &str, words: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(program);
    command.args(words).env("XTABLES_LOCKFILE", temporary("events.lock"));
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

/// A listener of an nfnetlink_log group, as ulogd is one.
struct Listener(Socket);

/// A message's hook and attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    family: u8,
    group: u16,
    attributes: BTreeMap<u16, Vec<u8>>,
}

impl Listener {
    fn new(group: u16, range: u32) -> Self {
        let mut socket = Socket::new(NETLINK_NETFILTER).unwrap();
        socket.bind_auto().unwrap();
        let listener = Self(socket);
        // NFULNL_CFG_CMD_BIND; NFULNL_COPY_PACKET; a message for each packet.
        listener.configure(group, 1, &[1]);
        listener.configure(group, 2, &[&range.to_be_bytes()[..], &[2, 0]].concat());
        listener.configure(group, 5, &1_u32.to_be_bytes());
        listener.0.set_non_blocking(true).unwrap();
        listener
    }

    fn configure(&self, group: u16, attribute: u16, value: &[u8]) {
        let mut message = vec![0; 16];
        message.extend([0, 0]);
        message.extend(group.to_be_bytes());
        message.extend((4 + value.len() as u16).to_ne_bytes());
        message.extend(attribute.to_ne_bytes());
        message.extend(value);
        message.resize(message.len().next_multiple_of(4), 0);
        let length = (message.len() as u32).to_ne_bytes();
        message[..4].copy_from_slice(&length);
        // NFNL_SUBSYS_ULOG, NFULNL_MSG_CONFIG; NLM_F_REQUEST, NLM_F_ACK.
        message[4..8].copy_from_slice(&[1, 4, 5, 0]);
        self.0.send_to(&message, &SocketAddr::new(0, 0), 0).unwrap();
        let (answer, _) = self.0.recv_from_full().unwrap();
        assert_eq!(answer[16..20], [0; 4], "the kernel takes {attribute}");
    }

    /// `count` messages, or what came within some seconds; and whatever comes right behind them.
    fn take(&self, count: usize) -> Vec<Message> {
        let (begin, mut found, mut enough) = (Instant::now(), Vec::new(), None);
        while begin.elapsed() < Duration::from_secs(10) {
            match self.0.recv_from_full() {
                Ok((datagram, _)) => found.extend(messages(&datagram)),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
            if found.len() >= count && enough.get_or_insert_with(Instant::now).elapsed() > Duration::from_millis(300) {
                break;
            }
        }
        found
    }
}

fn messages(mut datagram: &[u8]) -> Vec<Message> {
    let u16_at = |bytes: &[u8], at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
    let mut found = Vec::new();
    while datagram.len() >= 20 {
        let length = u32::from_ne_bytes(datagram[..4].try_into().unwrap()) as usize;
        let message = &datagram[..length];
        if u16_at(message, 4) == 0x400 {
            let (mut rest, mut attributes) = (&message[20..], BTreeMap::new());
            while rest.len() >= 4 {
                let length = usize::from(u16_at(rest, 0));
                assert!(attributes.insert(u16_at(rest, 2), rest[4..length].to_vec()).is_none(), "each attribute once");
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
            }
            let group = u16::from_be_bytes([message[18], message[19]]);
            found.push(Message { family: message[16], group, attributes });
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    found
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
        far.send_to(b"the last one", "10.50.0.1:9999").unwrap();
        let begin = Instant::now();
        let text = loop {
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
                text.lines().filter(|line| line.starts_with("TRACE: ")).map(upto).collect()
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
