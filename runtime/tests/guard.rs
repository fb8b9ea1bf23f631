//! Devices that no command has seen yet: what the rules might refuse does not pass by them; nor does what turns out to be for this host after
//! the rules were asked. And namespaces that nobody uses go, though the guard's links hold them.

mod common;

use bpftables_ruleset::addr::AddrMatch;
use bpftables_ruleset::targets::NatRange;
use bpftables_ruleset::{Family, IpMatch, Policy, Rule, Ruleset, TableKind, Target};
use bpftables_runtime::Engine;
use common::{Other, in_namespace, ip, router, run};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

const PORT: u16 = 9999;
/// Devices of the race.
const DEVICES: u32 = 200;

/// A filter table whose INPUT and OUTPUT refuse everything.
fn refusing() -> Ruleset {
    let mut ruleset = Ruleset::new(Family::V4);
    let table = ruleset.table_mut(TableKind::Filter);
    for chain in [0, 2] {
        table.builtin[chain].policy = Some(Policy::Drop);
    }
    ruleset
}

/// A filter table of ACCEPT policies alone.
fn accepting() -> Ruleset {
    let mut ruleset = Ruleset::new(Family::V4);
    ruleset.table_mut(TableKind::Filter);
    ruleset
}

fn commit(ruleset: &mut Ruleset) {
    Engine::open().unwrap().commit(ruleset).unwrap();
}

fn stat_of(family: Family, name: &str) -> u64 {
    Engine::open().unwrap().stats(family).unwrap().iter().find(|stat| stat.name == name).unwrap().count
}

fn stat(name: &str) -> u64 {
    stat_of(Family::V4, name)
}

/// Adds pair number `n`: `aN` here, `bN` there, both ready to send from their first instant on.
fn pair(n: u32, there: &Other) {
    let net = format!("10.{}.{}", 50 + n / 200, n % 200);
    ip(&format!(
        "link add a{n} address 02:00:00:01:00:{low:02x} type veth peer name b{n} address 02:00:00:02:00:{low:02x} netns {there}\n\
         link set a{n} up\naddr add {net}.1/24 dev a{n}\nneigh replace {net}.2 dev a{n} lladdr 02:00:00:02:00:{low:02x}\n",
        low = n % 256,
        there = there.path(),
    ));
    there.run(move || {
        ip(&format!(
            "link set b{n} up\naddr add {net}.2/24 dev b{n}\nneigh replace {net}.1 dev b{n} lladdr 02:00:00:01:00:{:02x}\n",
            n % 256
        ));
    });
}

/// Whether a datagram arrives that is sent to `to`, until some time has gone.
fn arrives(from: &UdpSocket, to: &str, at: &UdpSocket) -> bool {
    at.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    (0..15).any(|_| {
        let _ = from.send_to(b"x", to);
        at.recv(&mut [0; 8]).is_ok()
    })
}

#[test]
fn a_device_without_programs_lets_nothing_pass_unless_the_rules_accept_all() {
    in_namespace(|| {
        let there = Other::new();
        commit(&mut refusing());
        pair(1, &there);
        let here = UdpSocket::bind(("0.0.0.0", PORT)).unwrap();
        let far = there.run(|| UdpSocket::bind(("0.0.0.0", PORT)).unwrap());
        assert!(!arrives(&far, "10.50.1.1:9999", &here));
        assert!(!arrives(&here, "10.50.1.2:9999", &far));
        assert!(stat("drop_uncovered") >= 16, "each way was refused by the guard");
        assert_eq!(stat("drop_rule"), 0);

        commit(&mut refusing());
        let uncovered = stat("drop_uncovered");
        assert!(!arrives(&far, "10.50.1.1:9999", &here));
        assert_eq!(stat("drop_uncovered"), uncovered, "now it is the rules that refuse");
        assert!(stat("drop_rule") > 0);

        commit(&mut accepting());
        pair(2, &there);
        assert!(arrives(&far, "10.50.2.1:9999", &here));
        assert!(arrives(&here, "10.50.2.2:9999", &far));
        assert_eq!(Engine::open().unwrap().status(Family::V4).unwrap().unwrap().guards, 0);

        // One rule, though it accepts: it counts what it sees.
        let mut counting = accepting();
        counting.tables[0].builtin[0].rules = vec![Rule::new(IpMatch::default(), vec![], Target::Accept)];
        commit(&mut counting);
        pair(3, &there);
        assert!(!arrives(&far, "10.50.3.1:9999", &here));
        commit(&mut counting);
        assert!(arrives(&far, "10.50.3.1:9999", &here));
    });
}

#[test]
fn a_device_that_takes_the_number_of_one_that_left_is_not_taken_for_it() {
    in_namespace(|| {
        let there = Other::new();
        pair(1, &there);
        commit(&mut refusing());
        let status = Engine::open().unwrap().status(Family::V4).unwrap().unwrap();
        let index = status.devices.iter().find(|device| device.name == "a1").unwrap().ifindex;
        // Our programs go along with it, and so does its number.
        ip(&format!("link set a1 netns {}", there.path()));
        ip(&format!(
            "link add a9 index {index} type veth peer name c9\nlink set c9 up\nlink set a9 up\naddr add 10.77.0.1/24 dev a9\n\
             neigh replace 10.77.0.2 dev a9 lladdr 02:00:00:00:00:09\n"
        ));
        let here = UdpSocket::bind(("0.0.0.0", PORT)).unwrap();
        let before = stat("drop_uncovered");
        let sent = here.send_to(b"x", "10.77.0.2:9999");
        assert!(sent.is_err(), "the guard refuses at POSTROUTING: {sent:?}");
        assert_eq!(stat("drop_uncovered"), before + 1);
        commit(&mut refusing());
        let status = Engine::open().unwrap().status(Family::V4).unwrap().unwrap();
        let device = status.devices.iter().find(|device| device.name == "a9").unwrap();
        assert_eq!(device.ingress, bpftables_runtime::Hooked::First);
        let _ = here.send_to(b"x", "10.77.0.2:9999");
        assert_eq!(stat("drop_uncovered"), before + 1, "it is the rules that refuse");
    });
}

#[test]
fn a_device_that_moved_to_another_namespace_left_the_rules_behind() {
    in_namespace(|| {
        let (far, new) = (Other::new(), Other::new());
        pair(1, &far);
        commit(&mut refusing());
        let sender = far.run(|| UdpSocket::bind(("0.0.0.0", PORT)).unwrap());
        let here = UdpSocket::bind(("0.0.0.0", PORT)).unwrap();
        assert!(!arrives(&sender, "10.50.1.1:9999", &here));
        assert!(stat("drop_rule") > 0, "the rules refuse");
        let before = (stat("drop_rule"), stat("drop_uncovered"));
        ip(&format!("link set a1 netns {}", new.path()));
        let there = new.run(|| {
            ip("link set a1 up\naddr add 10.50.1.1/24 dev a1\nneigh replace 10.50.1.2 dev a1 lladdr 02:00:00:02:00:01\n");
            UdpSocket::bind(("0.0.0.0", PORT)).unwrap()
        });
        assert!(arrives(&sender, "10.50.1.1:9999", &there), "in");
        assert!(arrives(&there, "10.50.1.2:9999", &sender), "out");
        assert_eq!((stat("drop_rule"), stat("drop_uncovered")), before);
    });
}

#[test]
fn no_packet_passes_unseen_by_devices_that_appear() {
    in_namespace(|| {
        let there = Other::new();
        commit(&mut refusing());
        let (done, ready) = (AtomicBool::new(false), AtomicU32::new(0));
        let here = UdpSocket::bind(("0.0.0.0", PORT)).unwrap();
        let far = there.run(|| UdpSocket::bind(("0.0.0.0", PORT)).unwrap());
        let flood = |socket: &UdpSocket, host: u8| {
            let mut sent = 0_u64;
            while !done.load(Ordering::Relaxed) {
                // The newest devices, again and again, the next one before it is there.
                let newest = ready.load(Ordering::Relaxed);
                for n in newest.saturating_sub(3)..=newest {
                    let to = format!("10.{}.{}.{host}:{PORT}", 50 + n / 200, n % 200);
                    sent += u64::from(socket.send_to(b"x", to).is_ok());
                }
                std::thread::sleep(Duration::from_micros(50));
            }
            sent
        };
        let mut attached = 0;
        std::thread::scope(|scope| {
            let outside = scope.spawn(|| flood(&far, 1));
            let inside = scope.spawn(|| flood(&here, 2));
            let flooding = Raise(&done);
            for n in 0..DEVICES {
                pair(n, &there);
                ready.store(n + 1, Ordering::Relaxed);
                // As commands come along: programs come to some devices while packets pass.
                if n % 4 == 3 {
                    commit(&mut refusing());
                    attached += 4;
                }
            }
            drop(flooding);
            assert!(outside.join().unwrap() > 1000, "packets were sent");
            inside.join().unwrap();
        });
        for (socket, place) in [(&here, "in"), (&far, "out")] {
            socket.set_nonblocking(true).unwrap();
            assert!(socket.recv(&mut [0; 8]).is_err(), "a packet came {place} that no rule saw");
        }
        assert_eq!(attached, DEVICES);
        assert!(stat("drop_uncovered") > 100, "the guard refused what came before the programs");
        assert!(stat("drop_rule") > 100, "the rules refused what came after");
        // The test can fail: without rules the same packets arrive.
        commit(&mut accepting());
        assert!(arrives(&far, "10.50.7.1:9999", &here));
    });
}

/// A router between two others: datagrams of the first to the address behind the second.
struct Routed {
    sender: UdpSocket,
    /// Of this namespace.
    here: UdpSocket,
    to: String,
    _others: [Other; 2],
}

fn routed(family: Family) -> Routed {
    let others = router(family);
    let v4 = family == Family::V4;
    let (target, any) = if v4 { ("10.9.9.9", "0.0.0.0") } else { ("fd09::9", "::") };
    ip(&format!("route add {target} via {}\n", if v4 { "10.2.0.2" } else { "fd02::2" }));
    let sender = others[0].run(move || UdpSocket::bind((any, 0)).unwrap());
    sender.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let here = UdpSocket::bind((any, PORT)).unwrap();
    let to = if v4 { format!("{target}:{PORT}") } else { format!("[{target}]:{PORT}") };
    Routed { sender, here, to, _others: others }
}

/// A filter table that forwards everything, and asks INPUT nothing unless it is to refuse datagrams.
fn forwarding(family: Family, refuse: bool) -> Ruleset {
    let mut ruleset = Ruleset::new(family);
    let table = ruleset.table_mut(TableKind::Filter);
    if refuse {
        let datagrams = IpMatch { proto: Some((17, false)), ..IpMatch::default() };
        table.builtin[0].rules = vec![Rule::new(datagrams, vec![], Target::Drop)];
    }
    table.builtin[1].rules = vec![Rule::new(IpMatch::default(), vec![], Target::Accept)];
    ruleset
}

#[test]
fn what_netfilter_sends_to_this_host_behind_prerouting_gets_in_only_where_input_asks_nothing() {
    for family in Family::ALL {
        in_namespace(move || {
            let way = routed(family);
            run("nft add table inet theirs");
            run("nft add chain inet theirs c { type nat hook prerouting priority -100 ; }");
            run(&format!("nft add rule inet theirs c udp dport {PORT} redirect"));
            commit(&mut forwarding(family, false));
            assert!(arrives(&way.sender, &way.to, &way.here), "INPUT asks nothing");
            commit(&mut forwarding(family, true));
            let before = stat_of(family, "drop_unasked");
            assert!(!arrives(&way.sender, &way.to, &way.here));
            assert_eq!(stat_of(family, "drop_unasked") - before, 15, "the guard refused each");
        });
    }
}

#[test]
fn no_packet_passes_input_unseen_while_its_address_comes_and_goes() {
    for family in Family::ALL {
        in_namespace(move || {
            let way = routed(family);
            let own = if family == Family::V4 { "10.9.9.9/32" } else { "fd09::9/128" };
            commit(&mut forwarding(family, true));
            let (done, sent) = (AtomicBool::new(false), AtomicU32::new(0));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        sent.fetch_add(u32::from(way.sender.send_to(b"x", &way.to).is_ok()), Ordering::Relaxed);
                    }
                });
                let (flooding, begin) = (Raise(&done), Instant::now());
                let nodad = if family == Family::V6 { " nodad" } else { "" };
                let mut changes = 0;
                while changes < 1000 || sent.load(Ordering::Relaxed) < 200_000 {
                    assert!(begin.elapsed() < Duration::from_secs(60), "{changes} changes, {sent:?} packets");
                    ip(&format!("addr add {own} dev lo{nodad}\naddr del {own} dev lo\n").repeat(50));
                    changes += 100;
                }
                drop(flooding);
            });
            way.here.set_nonblocking(true).unwrap();
            assert!(way.here.recv(&mut [0; 8]).is_err(), "a packet came that INPUT did not see");
            assert!(stat_of(family, "drop_rule") > 20, "INPUT refused what came while the address was there");
            // The test can fail: without the rule they arrive.
            way.here.set_nonblocking(false).unwrap();
            ip(&format!("addr add {own} dev lo\n"));
            commit(&mut forwarding(family, false));
            assert!(arrives(&way.sender, &way.to, &way.here));
        });
    }
}

/// A filter table whose FORWARD refuses everything.
fn closed() -> Ruleset {
    let mut ruleset = accepting();
    ruleset.tables[0].builtin[1].policy = Some(Policy::Drop);
    ruleset
}

/// One end of a bridged pair: `aN` here, with address 10.60.0.N and a socket there.
fn bridged(n: u32, there: &Other) -> UdpSocket {
    ip(&format!(
        "link add a{n} address 02:00:00:01:00:0{n} type veth peer name b{n} address 02:00:00:02:00:0{n} netns {}\nlink set a{n} up\n",
        there.path()
    ));
    there.run(move || {
        let other = 3 - n;
        ip(&format!(
            "link set b{n} up\naddr add 10.60.0.{n}/24 dev b{n}\nneigh replace 10.60.0.{other} dev b{n} lladdr 02:00:00:02:00:0{other}\n"
        ));
        UdpSocket::bind(("0.0.0.0", PORT)).unwrap()
    })
}

#[test]
fn no_packet_passes_unseen_from_port_to_port_of_a_bridge() {
    in_namespace(|| {
        std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1").unwrap();
        let (one, two) = (Other::new(), Other::new());
        let (sender, receiver) = (bridged(1, &one), bridged(2, &two));
        ip("link add br0 type bridge mcast_snooping 0\nlink set br0 up\n");
        commit(&mut closed());
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| {
                let mut sent = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    sent += u64::from(sender.send_to(b"x", "10.60.0.2:9999").is_ok());
                    std::thread::sleep(Duration::from_micros(50));
                }
                sent
            });
            let flooding = Raise(&done);
            for round in 0..20 {
                // Either port may be the one that nobody knows yet.
                let (first, second) = if round % 2 == 0 { ("a1", "a2") } else { ("a2", "a1") };
                ip(&format!("link set {first} master br0\n"));
                if round % 4 < 2 {
                    commit(&mut closed());
                }
                ip(&format!("link set {second} master br0\n"));
                std::thread::sleep(Duration::from_millis(5));
                commit(&mut closed());
                std::thread::sleep(Duration::from_millis(5));
                ip("link set a1 nomaster\nlink set a2 nomaster\n");
                if round % 3 == 0 {
                    commit(&mut closed());
                }
            }
            drop(flooding);
            assert!(flood.join().unwrap() > 1000, "packets were sent");
        });
        receiver.set_nonblocking(true).unwrap();
        assert!(receiver.recv(&mut [0; 8]).is_err(), "a packet passed that no rule saw");
        assert!(stat("drop_uncovered") > 20, "the guard refused what came before the programs");
        assert!(stat("drop_rule") > 20, "the rules refused what came after");
        // The test can fail: with a rule that accepts the same packets arrive.
        receiver.set_nonblocking(false).unwrap();
        let mut open = closed();
        open.tables[0].builtin[1].rules = vec![Rule::new(IpMatch::default(), vec![], Target::Accept)];
        ip("link set a1 master br0\nlink set a2 master br0\n");
        commit(&mut open);
        assert!(arrives(&sender, "10.60.0.2:9999", &receiver));
    });
}

/// What Docker has for its name server in a container's namespace.
fn of_loopback() -> Ruleset {
    let mut ruleset = Ruleset::new(Family::V4);
    let name_server = "127.0.0.11".parse().unwrap();
    let dst = AddrMatch { addr: name_server, mask: "255.255.255.255".parse().unwrap(), invert: false };
    let to = NatRange { addrs: Some((name_server, name_server)), ..NatRange::default() };
    ruleset.table_mut(TableKind::Nat).chain_mut("OUTPUT").unwrap().rules =
        vec![Rule::new(IpMatch { dst: Some(dst), ..IpMatch::default() }, vec![], Target::Dnat(to))];
    ruleset
}

#[test]
fn rules_of_loopback_alone_keep_no_other_packet_from_a_device_that_appears() {
    in_namespace(|| {
        let there = Other::new();
        commit(&mut of_loopback());
        std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
        pair(0, &there);
        let here = UdpSocket::bind(("0.0.0.0", PORT)).unwrap();
        let far = there.run(|| {
            ip("route del local 127.0.0.0/8 dev lo table local\nroute add 127.0.0.11 via 10.50.0.1\n");
            UdpSocket::bind(("10.50.0.2", PORT)).unwrap()
        });
        assert!(arrives(&far, "10.50.0.1:9999", &here), "no rule concerns it");
        assert!(arrives(&here, "10.50.0.2:9999", &far));
        assert_eq!(stat("drop_uncovered"), 0);
        assert!(!arrives(&far, "127.0.0.11:9999", &here), "the rule may concern it");
        assert!(stat("drop_uncovered") > 0);
        // The test can fail: without the rule it arrives.
        commit(&mut accepting());
        assert!(arrives(&far, "127.0.0.11:9999", &here));
    });
}

/// Packets that the rule at PREROUTING has counted.
fn arrived() -> u64 {
    let snapshot = Engine::open().unwrap().read(Family::V4).unwrap();
    let mangle = snapshot.ruleset.table(TableKind::Mangle).unwrap();
    mangle.builtin[0].rules[0].counters(&snapshot.counters).packets
}

#[test]
fn what_a_port_that_nobody_knows_hands_up_meets_the_rules_once_and_reaches_no_other_port() {
    in_namespace(|| {
        std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1").unwrap();
        let (one, two) = (Other::new(), Other::new());
        ip("link add br0 type bridge mcast_snooping 0\nlink set br0 up\naddr add 10.60.0.3/24 dev br0\n");
        let rules = || {
            let mut ruleset = accepting();
            ruleset.table_mut(TableKind::Mangle).builtin[0].rules =
                vec![Rule::new(IpMatch::default(), vec![], Target::Accept)];
            ruleset
        };
        commit(&mut rules());
        let (sender, receiver) = (bridged(1, &one), bridged(2, &two));
        ip("link set a1 master br0\nlink set a2 master br0\n");
        let here = UdpSocket::bind(("10.60.0.3", PORT)).unwrap();
        for known in [false, true] {
            assert!(arrives(&sender, "10.60.0.3:9999", &here), "the bridge's own program sees it");
            let before = arrived();
            for _ in 0..20 {
                sender.send_to(b"x", "10.60.0.3:9999").unwrap();
                here.recv(&mut [0; 8]).unwrap();
            }
            assert_eq!(arrived() - before, 20, "each meets PREROUTING once");
            let before = stat("drop_uncovered");
            assert_eq!(arrives(&sender, "10.60.0.2:9999", &receiver), known);
            assert_eq!(stat("drop_uncovered") == before, known);
            commit(&mut rules());
        }
    });
}

#[test]
fn a_namespace_that_only_guards_hold_goes_with_the_next_commit_of_any_other() {
    in_namespace(|| {
        commit(&mut refusing());
        let there = Other::new();
        pair(1, &there);
        there.run(|| commit(&mut refusing()));
        let gone = |wait: Duration| {
            let begin = Instant::now();
            while begin.elapsed() < wait {
                if !ip_knows("a1") {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            false
        };
        // A commit elsewhere leaves one alone that somebody uses.
        commit(&mut refusing());
        assert!(!gone(Duration::from_millis(300)));
        // From here on the guard's links hold it, until a commit looks; one of another test may.
        drop(there);
        commit(&mut refusing());
        assert!(gone(Duration::from_secs(10)), "its end of the pair is gone, so it is");
    });
}

/// Raises a flag when dropped, also by a panic.
struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn ip_knows(device: &str) -> bool {
    let out = std::process::Command::new("ip").args(["link", "show", device]).output();
    out.expect("ip of iproute2").status.success()
}
