//! Host routing: forwarded packets go straight from device to device where the stack would do nothing else with them, and only there.

mod common;

use bpftables_ruleset::{Family, IpMatch, Rule, Ruleset, TableKind, Target};
use bpftables_runtime::Engine;
use bpftables_runtime::sys::bpf::{self, nf};
use bpftables_runtime::sys::ns;
use common::{Other, in_namespace, ip, router, run};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

const PORT: u16 = 9999;
/// Datagrams of one try.
const COUNT: u64 = 10;

fn stat(family: Family, name: &str) -> u64 {
    Engine::open().unwrap().stats(family).unwrap().iter().find(|stat| stat.name == name).unwrap().count
}

/// A classifier of somebody else's that returns `value`.
fn program(name: &str, value: i32) -> OwnedFd {
    let instructions = [u64::from(value.cast_unsigned()) << 32 | 0xb7, 0x95];
    nf::load(&nf::Load { name, prog_type: 3, attach_type: 0, btf_id: 0, instructions: &instructions }).unwrap()
}

/// A filter table with one rule at FORWARD that accepts.
fn commit(family: Family) {
    let mut ruleset = Ruleset::new(family);
    let table = ruleset.table_mut(TableKind::Filter);
    table.builtin[1].rules = vec![Rule::new(IpMatch::default(), vec![], Target::Accept)];
    Engine::open().unwrap().commit(&mut ruleset).unwrap();
}

/// Packets that the rule at FORWARD has counted.
fn forwarded(family: Family) -> u64 {
    let snapshot = Engine::open().unwrap().read(family).unwrap();
    snapshot.ruleset.tables[0].builtin[1].rules[0].counters(&snapshot.counters).packets
}

/// A router in the test's own namespace, and the two hosts beside it.
struct Way {
    from: Other,
    to: Other,
    sender: UdpSocket,
    receiver: UdpSocket,
    target: &'static str,
    family: Family,
}

impl Way {
    fn new(family: Family) -> Self {
        let [from, to] = router(family);
        let v4 = family == Family::V4;
        commit(family);
        let any = if v4 { "0.0.0.0" } else { "::" };
        let sender = from.run(move || UdpSocket::bind((any, 0)).unwrap());
        let receiver = to.run(move || UdpSocket::bind((any, PORT)).unwrap());
        let target = if v4 { "10.2.0.2:9999" } else { "[fd02::2]:9999" };
        let way = Self { from, to, sender, receiver, target, family };
        way.arrive(&way.sender, 3); // with neighbours that are still to be found
        way
    }

    /// Sends datagrams, of which all have to arrive.
    fn arrive(&self, sender: &UdpSocket, count: u64) {
        self.receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        for n in 0..count {
            sender.send_to(b"x", self.target).unwrap();
            self.receiver.recv(&mut [0; 8]).unwrap_or_else(|e| panic!("datagram {n} of {count}: {e}"));
        }
    }

    /// Sends datagrams, of which none may arrive.
    fn vanish(&self, sender: &UdpSocket, count: u64) {
        self.receiver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        for _ in 0..count {
            // A datagram that is refused may tell of the one before.
            let _ = sender.send_to(b"x", self.target);
        }
        assert!(self.receiver.recv(&mut [0; 8]).is_err());
    }

    /// Whether datagrams, which all arrive, go straight.
    fn is_straight(&self) -> bool {
        let (before, rule) = (stat(self.family, "host_routed"), forwarded(self.family));
        self.arrive(&self.sender, COUNT);
        assert_eq!(forwarded(self.family) - rule, COUNT, "the rules see them on either way");
        match stat(self.family, "host_routed") - before {
            COUNT => true,
            0 => false,
            some => panic!("{some} of {COUNT} went straight"),
        }
    }
}

/// What the stack of this namespace counts.
fn stack(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("Ip: ") || line.starts_with("Icmp: ")).collect();
    for pair in lines.chunks(2) {
        if let Some((_, value)) = pair[0].split(' ').zip(pair[1].split(' ')).find(|(known, _)| *known == name) {
            return value.parse().unwrap();
        }
    }
    panic!("no counter {name}")
}

#[test]
fn packets_go_straight_until_somebody_else_wants_to_see_them() {
    in_namespace(|| {
        let way = Way::new(Family::V4);
        let before = stack("ForwDatagrams");
        assert!(way.is_straight());
        assert_eq!(stack("ForwDatagrams"), before);

        for (hook, kind) in [("forward", "ip"), ("prerouting", "inet"), ("postrouting", "ip")] {
            run(&format!("nft add table {kind} theirs"));
            run(&format!("nft add chain {kind} theirs c {{ type filter hook {hook} priority 0 ; }}"));
            assert!(!way.is_straight(), "{hook}");
            run(&format!("nft add rule {kind} theirs c udp dport {PORT} drop"));
            way.vanish(&way.sender, COUNT);
            run(&format!("nft delete table {kind} theirs"));
            assert!(way.is_straight(), "{hook}");
        }
        run("nft add table netdev theirs");
        run("nft add chain netdev theirs c { type filter hook ingress device in priority 0 ; }");
        assert!(!way.is_straight(), "netdev");
        run("nft delete table netdev theirs");
        assert!(way.is_straight(), "netdev");

        let theirs = program("theirs", 2);
        let pin = format!("/sys/fs/bpf/host_route_{:x}", ns::netns_cookie().unwrap());
        bpf::pin(theirs.as_fd(), std::path::Path::new(&pin)).unwrap();
        run("tc qdisc add dev in clsact");
        run(&format!("tc filter add dev in ingress bpf da object-pinned {pin}"));
        std::fs::remove_file(&pin).unwrap();
        way.vanish(&way.sender, COUNT);
        run("tc qdisc del dev in clsact");
        assert!(way.is_straight(), "tc");

        let ifindex = std::fs::read_to_string("/proc/thread-self/net/dev_snmp6/in").unwrap();
        let ifindex = ifindex.lines().next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
        let theirs = bpf::attach_tcx_first(program("theirs", -1).as_fd(), ifindex, bpf::TCX_INGRESS).unwrap();
        assert!(!way.is_straight(), "tcx");
        // Not by closing it alone: a child that another test forks at this instant holds the link too, until it executes its program.
        bpf::detach_link(theirs.as_fd()).unwrap();
        assert!(way.is_straight(), "tcx");

        run("ip xfrm policy add src 10.9.0.0/24 dst 10.8.0.0/24 dir fwd action block");
        assert!(!way.is_straight(), "IPsec");
        run("ip xfrm policy del src 10.9.0.0/24 dst 10.8.0.0/24 dir fwd");
        assert!(way.is_straight(), "IPsec");

        Engine::open().unwrap().set_host_routing(false).unwrap();
        assert!(!way.is_straight(), "switched off");
        commit(Family::V4);
        assert!(!way.is_straight(), "switched off");
        Engine::open().unwrap().set_host_routing(true).unwrap();
        assert!(way.is_straight(), "switched on");

        run("ip rule add from 10.9.0.0/24 lookup main");
        assert!(!way.is_straight(), "policy routing");
    });
}

#[test]
fn what_the_stack_would_not_just_forward_goes_up_the_stack() {
    in_namespace(|| {
        let way = Way::new(Family::V4);
        assert!(way.is_straight());

        // The end of its time: the stack answers.
        let (straight, answers) = (stat(Family::V4, "host_routed"), stack("OutTimeExcds"));
        way.sender.set_ttl(1).unwrap();
        way.vanish(&way.sender, 1);
        assert_eq!(stack("OutTimeExcds"), answers + 1);
        way.sender.set_ttl(2).unwrap();
        assert_eq!(stat(Family::V4, "host_routed"), straight);
        assert!(way.is_straight());
        way.sender.set_ttl(64).unwrap();

        // A source whose route leads elsewhere: to be judged by the reverse path filter.
        let other = way.from.run(|| {
            ip("addr add 10.3.0.2/32 dev lo\n");
            UdpSocket::bind(("10.3.0.2", 0)).unwrap()
        });
        ip("route add 10.3.0.2 dev out\n");
        for (strictness, arrives) in [("1", false), ("0", true)] {
            for place in ["all", "in"] {
                run(&format!("sysctl -q -w net.ipv4.conf.{place}.rp_filter={strictness}"));
            }
            let straight = stat(Family::V4, "host_routed");
            if arrives {
                way.arrive(&other, COUNT)
            } else {
                way.vanish(&other, COUNT)
            }
            assert_eq!(stat(Family::V4, "host_routed"), straight);
        }
        // An address of the router itself as the source.
        ip("addr add 10.3.0.2/32 dev lo\n");
        way.vanish(&other, COUNT);

        // Larger than the next device takes.
        ip("link set out mtu 1000\n");
        let (straight, answers) = (stat(Family::V4, "host_routed"), stack("OutDestUnreachs"));
        way.sender.send_to(&[0; 1200], way.target).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(stack("OutDestUnreachs"), answers + 1);
        assert_eq!(stat(Family::V4, "host_routed"), straight);
        assert!(way.is_straight());

        run("sysctl -q -w net.ipv4.ip_forward=0");
        way.vanish(&way.sender, COUNT);
    });
}

#[test]
fn a_route_that_changes_is_obeyed_from_the_next_packet_on() {
    in_namespace(|| {
        let way = Way::new(Family::V4);
        for _ in 0..60 {
            assert!(way.is_straight());
            ip("addr add 10.2.0.2/32 dev lo\n");
            // Before anything else, which takes its time: the answer from before may still be at hand.
            let _ = way.sender.send_to(b"x", way.target);
            let straight = stat(Family::V4, "host_routed");
            way.vanish(&way.sender, 1); // it is an address of this host's own
            assert_eq!(stat(Family::V4, "host_routed"), straight);
            ip("addr del 10.2.0.2/32 dev lo\n");
        }
        // A device without our programs: the guard's.
        ip("link add new type veth peer name far\nlink set new up\nlink set far up\nroute add 10.2.0.2 dev new\n\
            neigh add 10.2.0.2 lladdr 02:00:00:00:00:01 dev new\n");
        let (straight, uncovered) = (stat(Family::V4, "host_routed"), stat(Family::V4, "drop_uncovered"));
        way.vanish(&way.sender, COUNT);
        assert_eq!(stat(Family::V4, "host_routed"), straight);
        assert_eq!(stat(Family::V4, "drop_uncovered") - uncovered, COUNT);
    });
}

/// Where a route has several next hops, each source has its own: the answer for one is not the answer for all.
#[test]
fn sources_keep_their_own_next_hops() {
    in_namespace(|| {
        let way = Way::new(Family::V4);
        let third = Other::new();
        ip(&format!(
            "link add out2 type veth peer name eth0 netns {}\nlink set out2 up\naddr add 10.4.0.1/24 dev out2\n",
            third.path()
        ));
        third.run(|| ip("link set eth0 up\naddr add 10.4.0.2/24 dev eth0\nroute add default via 10.4.0.1\n"));
        commit(Family::V4);
        let far = [&way.to, &third].map(|host| {
            let receiver = host.run(|| {
                ip("addr add 10.9.0.1/32 dev lo\n");
                UdpSocket::bind(("10.9.0.1", PORT + 1)).unwrap()
            });
            receiver.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            receiver
        });
        let senders: Vec<UdpSocket> = way.from.run(|| {
            (1..=32)
                .map(|n| {
                    ip(&format!("addr add 10.1.0.{}/32 dev lo\n", 100 + n));
                    UdpSocket::bind((format!("10.1.0.{}", 100 + n), 0)).unwrap()
                })
                .collect()
        });
        let arrived = || {
            let straight = stat(Family::V4, "host_routed");
            for sender in &senders {
                sender.send_to(b"x", ("10.9.0.1", PORT + 1)).unwrap();
            }
            let counts = [0, 1].map(|n| {
                let mut count = 0;
                while count < senders.len() && far[n].recv(&mut [0; 8]).is_ok() {
                    count += 1;
                }
                count
            });
            assert_eq!(counts[0] + counts[1], senders.len(), "{counts:?}");
            assert_eq!(stat(Family::V4, "host_routed") - straight, senders.len() as u64);
            counts
        };
        let several = "10.9.0.0/24 nexthop via 10.2.0.2 dev out nexthop via 10.4.0.2 dev out2";
        run(&format!("ip route add {several}"));
        // The neighbour behind the second device is still to be found.
        third.run(|| run("ping -q -c1 -W5 10.4.0.1"));
        let [first, second] = arrived();
        assert!(first > 0 && second > 0, "{first} {second}");
        for (route, way) in [("via 10.2.0.2 dev out", 0), ("via 10.4.0.2 dev out2", 1)] {
            run(&format!("ip route replace 10.9.0.0/24 {route}"));
            assert_eq!(arrived()[way], senders.len(), "{route}");
        }
        run("ip route del 10.9.0.0/24");
        for nexthop in ["id 1 via 10.2.0.2 dev out", "id 2 via 10.4.0.2 dev out2", "id 10 group 1/2"] {
            run(&format!("ip nexthop add {nexthop}"));
        }
        run("ip route add 10.9.0.0/24 nhid 10");
        assert_eq!(arrived(), [first, second], "as by nexthops of the route's own");
    });
}

/// Where no reverse path is checked, a source is remembered as not this host's own.
#[test]
fn a_source_that_this_host_takes_is_its_own_from_the_next_packet_on() {
    in_namespace(|| {
        let way = Way::new(Family::V4);
        let strictness = |value| {
            for place in ["all", "in", "out"] {
                run(&format!("sysctl -q -w net.ipv4.conf.{place}.rp_filter={value}"));
            }
        };
        strictness(0);
        for _ in 0..10 {
            assert!(way.is_straight());
            // Until nothing but the source is remembered.
            std::thread::sleep(Duration::from_millis(20));
            ip("addr add 10.1.0.2/32 dev lo\n");
            let _ = way.sender.send_to(b"x", way.target);
            let straight = stat(Family::V4, "host_routed");
            way.vanish(&way.sender, 1);
            assert_eq!(stat(Family::V4, "host_routed"), straight);
            ip("addr del 10.1.0.2/32 dev lo\n");
        }

        // What is known from one device does not hold for another one whose reverse path is checked.
        let known = way.from.run(|| {
            ip("addr add 10.1.0.9/32 dev lo\n");
            UdpSocket::bind(("10.1.0.9", 0)).unwrap()
        });
        ip("route add 10.1.0.9 via 10.1.0.2\n");
        way.arrive(&known, COUNT);
        drop(known);
        way.from.run(|| ip("addr del 10.1.0.9/32 dev lo\n")); // or it would take the packets for its own
        let receiver = way.from.run(|| UdpSocket::bind(("10.1.0.2", PORT)).unwrap());
        receiver.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let elsewhere = way.to.run(|| {
            ip("addr add 10.1.0.9/32 dev lo\n");
            UdpSocket::bind(("10.1.0.9", 0)).unwrap()
        });
        for (value, arrives) in [(0, true), (1, false), (0, true)] {
            strictness(value);
            for _ in 0..COUNT {
                way.arrive(&way.sender, 1);
                elsewhere.send_to(b"x", ("10.1.0.2", PORT)).unwrap();
                assert_eq!(receiver.recv(&mut [0; 8]).is_ok(), arrives, "rp_filter {value}");
                if !arrives {
                    break;
                }
            }
        }
    });
}

#[test]
fn streams_of_large_packets_arrive_whole_also_by_a_smaller_device() {
    in_namespace(|| {
        let way = Way::new(Family::V4);
        for mtu in [1500, 1300] {
            ip(&format!("link set out mtu {mtu}\n"));
            let listener = way.to.run(|| TcpListener::bind(("0.0.0.0", PORT)).unwrap());
            let before = stat(Family::V4, "host_routed");
            let reader = std::thread::spawn(move || {
                let mut bytes = Vec::new();
                listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
                bytes
            });
            let sent: Vec<u8> = (0..4_000_000_u32).map(|n| ((n * 7) >> 3) as u8).collect();
            let mut stream = way.from.run(|| TcpStream::connect(("10.2.0.2", PORT)).unwrap());
            stream.write_all(&sent).unwrap();
            drop(stream);
            assert!(reader.join().unwrap() == sent, "MTU {mtu}");
            assert!(stat(Family::V4, "host_routed") > before + 10);
        }
    });
}

#[test]
fn ipv6_packets_go_straight_too() {
    in_namespace(|| {
        let way = Way::new(Family::V6);
        assert!(way.is_straight());
        run("nft add table ip6 theirs");
        run("nft add chain ip6 theirs c { type filter hook forward priority 0 ; }");
        assert!(!way.is_straight());
        run("nft delete table ip6 theirs");
        assert!(way.is_straight());
        run("sysctl -q -w net.ipv6.conf.all.proxy_ndp=1");
        assert!(!way.is_straight());
    });
}
