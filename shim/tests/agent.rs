//! `bpftablesd` and what changes while it runs, and while it is killed. Needs root.

#[path = "common/daemon.rs"]
mod daemon;
#[path = "../../runtime/tests/common/mod.rs"]
mod netns;
#[path = "common/own.rs"]
mod own;

use daemon::Agent;
use netns::{Other, in_namespace, ip};
use own::temporary;
use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::panic::AssertUnwindSafe;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The binary.
const BINARY: &str = env!("CARGO_BIN_EXE_xtables-bpf-multi");
/// Devices that appear under a flood.
const DEVICES: u32 = 200;
/// How often the agent is killed.
const KILLS: u32 = 300;
const PORT: u16 = 9999;

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

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(15), "{what}: not within 15 s\n{}", run("bpftables status"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn covered(device: &str) -> bool {
    all_covered(std::iter::once(device.to_owned()))
}

fn all_covered(devices: impl Iterator<Item = String>) -> bool {
    let status = run("bpftables status");
    let line = |device: String| status.lines().find(|line| line.contains(&format!(" {device} (")));
    devices.map(line).all(|line| line.is_some_and(|line| line.contains("ingress ours, egress ours")))
}

fn statistic(name: &str) -> u64 {
    let status = run("bpftables status");
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("statistic    {name} ")).map(str::to_owned));
    line.and_then(|line| line.split(':').next()?.parse().ok()).unwrap_or(0)
}

/// Packets that the `-S -v` line with `text` counted.
fn packets(text: &str) -> u64 {
    let rules = run("iptables -S -v");
    let line = rules.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{text} in\n{rules}"));
    let at = line.find("-c ").unwrap_or_else(|| panic!("{line}"));
    line[at + 3..].split(' ').next().unwrap().parse().unwrap()
}

/// Adds pair number `n`: `aN` here, `bN` there, both ready to send from their first instant on.
fn pair(n: u32, there: &Other) {
    let net = format!("10.{}.{}", 50 + n / 200, n % 200);
    let low = format!("{:02x}:{:02x}", n / 256, n % 256);
    ip(&format!(
        "link add a{n} address 02:00:00:01:{low} type veth peer name b{n} address 02:00:00:02:{low} netns {}\n\
         link set a{n} up\naddr add {net}.1/24 dev a{n}\nneigh replace {net}.2 dev a{n} lladdr 02:00:00:02:{low}\n",
        there.path(),
    ));
    there.run(move || {
        ip(&format!(
            "link set b{n} up\naddr add {net}.2/24 dev b{n}\nneigh replace {net}.1 dev b{n} lladdr 02:00:00:01:{low}\n"
        ));
    });
}

#[test]
fn devices_addresses_and_settings_are_followed() {
    in_namespace(|| {
        let there = Other::new();
        pair(1, &there);
        run("iptables -A INPUT -i new+ -p udp --dport 9999 -j ACCEPT");
        run("iptables -A INPUT -m addrtype ! --dst-type LOCAL -p udp --dport 9999 -m comment --comment foreign");
        run("iptables -A INPUT -m addrtype --dst-type LOCAL -p udp --dport 9999 -m comment --comment local");
        run("iptables -t nat -A POSTROUTING -p udp --dport 7777 -j MASQUERADE");
        let _agent = Agent::start(&[]);
        let far = there.run(|| UdpSocket::bind(("0.0.0.0", PORT)).unwrap());

        // A device that appears.
        ip("link add c1 type veth peer name c2\nlink set c1 up\n");
        eventually("c1 and c2 are attached", || covered("c1") && covered("c2"));
        // It becomes a bridge's port, and leaves it.
        std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "0").unwrap();
        ip("link add br0 type bridge\nlink set br0 up\nlink set c1 master br0\n");
        eventually("a bridge's port is left to it", || !covered("c1") && covered("br0"));
        ip("link set br0 type bridge nf_call_iptables 1\n");
        eventually("rules see what is bridged", || covered("c1"));
        assert!(run("bpftables status").contains("what is bridged meets the rules"));
        ip("link set c1 nomaster\n");
        eventually("what left a bridge is attached", || covered("c1"));

        // Another name, and the rules that name it.
        far.send_to(b"x", "10.50.1.1:9999").unwrap();
        eventually("no rule names a1", || packets("--comment local") == 1);
        assert_eq!(packets("-i new+"), 0);
        ip("link set a1 name new1\n");
        eventually("rules know the new name", || {
            far.send_to(b"x", "10.50.1.1:9999").unwrap();
            std::thread::sleep(Duration::from_millis(20));
            packets("-i new+") > 0
        });
        ip("link set new1 name a1\n");

        // Another address.
        ip("addr add 10.88.0.1/32 dev lo\n");
        there.run(|| ip("route add 10.88.0.1 via 10.50.1.1\n"));
        std::thread::sleep(Duration::from_millis(300));
        let before = (packets("--comment foreign"), packets("--comment local"));
        eventually("the device has its old name", || {
            let count = packets("--comment local");
            far.send_to(b"x", "10.88.0.1:9999").unwrap();
            std::thread::sleep(Duration::from_millis(20));
            packets("--comment local") > count
        });
        assert_eq!(packets("--comment foreign"), before.0, "an address of this host from the first packet on");
        ip("addr del 10.88.0.1/32 dev lo\n");

        // MASQUERADE's connections go with their address, and only these.
        ip("addr add 10.50.1.9/24 dev a1\nroute add 10.99.0.0/24 via 10.50.1.2 src 10.50.1.9\n");
        let here = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
        here.send_to(b"x", "10.50.1.2:7777").unwrap();
        eventually("a masqueraded connection", || run("bpftables conntrack list").contains("dport=7777"));
        ip("addr del 10.50.1.9/24 dev a1\n");
        std::thread::sleep(Duration::from_millis(300));
        assert!(run("bpftables conntrack list").contains("dport=7777"), "its address is still there");
        // By hand, as with conntrack(8).
        here.send_to(b"x", "10.50.1.2:7777").unwrap();
        assert_eq!(ours("bpftables conntrack delete -p udp --dport 7778").status.code(), Some(1));
        assert!(run("bpftables conntrack delete -p udp --dport 7777 -d 10.50.1.0/24").contains("dport=7777"));
        assert!(!run("bpftables conntrack list --dport 7777").contains("dport=7777"));
        here.send_to(b"x", "10.50.1.2:7777").unwrap();
        eventually("a masqueraded connection again", || run("bpftables conntrack list").contains("dport=7777"));
        // The programs ask the FIB as if from lo, which answers of no device that does not forward.
        let forwards = || std::fs::read_to_string("/proc/sys/net/ipv4/conf/lo/forwarding").unwrap() == "1\n";
        assert!(forwards());
        for on in ["1", "0"] {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", on).unwrap();
        }
        eventually("lo forwards, though nothing else does", forwards);
        // Timeouts, as every connection's next packet takes them.
        std::fs::write("/proc/sys/net/netfilter/nf_conntrack_udp_timeout", "90").unwrap();
        eventually("a timeout is read again", || {
            here.send_to(b"x", "10.50.1.2:7777").unwrap();
            let list = run("bpftables conntrack list --dport 7777");
            list.split_whitespace().nth(2).is_some_and(|left| left.parse::<u32>().is_ok_and(|left| left > 60))
        });
        ip("addr del 10.50.1.1/24 dev a1\n");
        eventually("the connection is gone", || !run("bpftables conntrack list").contains("dport=7777"));
    });
}

#[test]
fn no_packet_passes_unseen_by_devices_that_appear_while_the_agent_attaches() {
    in_namespace(|| {
        let there = Other::new();
        run("iptables -P INPUT DROP");
        run("iptables -P OUTPUT DROP");
        let _agent = Agent::start(&[]);
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
        std::thread::scope(|scope| {
            let outside = scope.spawn(|| flood(&far, 1));
            let inside = scope.spawn(|| flood(&here, 2));
            let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
                for n in 0..DEVICES {
                    pair(n, &there);
                    ready.store(n + 1, Ordering::Relaxed);
                }
                eventually("every device is attached", || covered(&format!("a{}", DEVICES - 1)));
            }));
            done.store(true, Ordering::Relaxed);
            assert!(outside.join().unwrap() > 1000, "packets were sent");
            inside.join().unwrap();
            result.unwrap();
        });
        for (socket, place) in [(&here, "in"), (&far, "out")] {
            socket.set_nonblocking(true).unwrap();
            assert!(socket.recv(&mut [0; 8]).is_err(), "a packet came {place} that no rule saw");
        }
        assert!(all_covered((0..DEVICES).map(|n| format!("a{n}"))));
        assert!(statistic("drop_uncovered") > 0, "the guard refused what came before the programs");
        assert!(statistic("drop_rule") > 100, "the rules refused what came after");
    });
}

#[test]
fn an_agent_that_is_killed_at_any_instant_leaves_rules_and_connections_alone() {
    in_namespace(|| {
        let there = Other::new();
        pair(0, &there);
        run("iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT");
        run("iptables -P INPUT DROP");
        let closed = UdpSocket::bind(("0.0.0.0", PORT)).unwrap();
        closed.set_nonblocking(true).unwrap();
        let echo = there.run(|| UdpSocket::bind(("0.0.0.0", 7777)).unwrap());
        let client = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
        client.connect("10.50.0.2:7777").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        echo.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let (done, sent, newest) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = [0; 16];
                while !done.load(Ordering::Relaxed) {
                    if let Ok((n, from)) = echo.recv_from(&mut buffer) {
                        let _ = echo.send_to(&buffer[..n], from);
                    }
                }
            });
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for n in [0, newest.load(Ordering::Relaxed)] {
                        let to = format!("10.50.{n}.1:{PORT}");
                        sent.fetch_add(u64::from(echo.send_to(b"x", to).is_ok()), Ordering::Relaxed);
                    }
                    std::thread::sleep(Duration::from_micros(100));
                }
            });
            let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
                let mut random = 5_u64;
                for round in 0..KILLS {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    if round % 3 == 0 {
                        pair(1 + round / 3, &there);
                        newest.store(1 + round / 3, Ordering::Relaxed);
                    }
                    let agent = Agent::start(&[]);
                    std::thread::sleep(Duration::from_micros((random >> 33) % 60_000));
                    drop(agent);
                    client.send(b"hello").unwrap();
                    assert_eq!(client.recv(&mut [0; 16]).unwrap(), 5, "round {round}: the connection lives");
                }
                let _agent = Agent::start(&[]);
                eventually("the next one takes over", || all_covered((0..KILLS / 3).map(|n| format!("a{}", n + 1))));
            }));
            done.store(true, Ordering::Relaxed);
            result.unwrap();
        });
        assert!(closed.recv(&mut [0; 8]).is_err(), "a packet came in that no rule saw");
        assert!(sent.load(Ordering::Relaxed) > 1000);
        assert!(statistic("drop_rule") > 100);
        // Nothing stays locked, and every command works.
        run("iptables -A INPUT -p tcp -j ACCEPT");
        assert_eq!(run("bpftables conntrack list").matches("dport=7777").count(), 1);
    });
}

#[test]
fn a_second_agent_says_so_and_sigterm_leaves_what_is_attached() {
    in_namespace(|| {
        run("iptables -P INPUT DROP");
        let mut first = Agent::start(&[]);
        ip("link add c1 type veth peer name c2\n");
        eventually("the first one serves", || covered("c1"));
        let second = ours("bpftablesd --this-namespace");
        assert_eq!(second.status.code(), Some(1));
        assert_eq!(
            String::from_utf8_lossy(&second.stderr),
            "bpftablesd: another agent runs already: there is nothing to do for a second one\n"
        );
        let kill = Command::new("kill").args(["-TERM", &first.0.id().to_string()]).status().unwrap();
        assert!(kill.success());
        assert_eq!(first.0.wait().unwrap().code(), Some(0));
        assert!(covered("c1"));
        assert!(run("bpftables status").contains("guard        on"));

        let mut nobody = Command::new(BINARY);
        let refused = nobody.args(["bpftablesd", "--this-namespace"]).uid(65534).gid(65534).output();
        // The binary itself may not be reachable for others.
        if let Ok(refused) = refused {
            assert_eq!(refused.status.code(), Some(1));
            assert_eq!(String::from_utf8_lossy(&refused.stderr), "bpftablesd: Permission denied (you must be root)\n");
        }
    });
}

/// A machine of its own: processes, mounts, a BPF file system and one network namespace.
#[test]
fn an_agent_for_all_leaves_a_namespace_to_one_that_was_there_first() {
    let script = r#"
        set -e
        mount -t bpf none /sys/fs/bpf; mount -t tmpfs none /run; ip link set lo up
        export NO_COLOR=1
        "$1" iptables -P FORWARD DROP
        says() { n=0; until grep -qs "$2" "$1"; do sleep 0.1; n=$((n + 1)); [ $n -lt 150 ]; done; }
        "$1" bpftablesd --this-namespace 2>/run/single & single=$!
        says /run/single serving
        "$1" bpftablesd 2>/run/all & all=$!
        says /run/all 'left to another agent'
        sleep 1
        grep -o 'serving namespaces=.*' /run/single /run/all
        grep -c 'left to another agent' /run/all
        kill $single; wait $single
        says /run/all 'taken up'
        "$1" bpftablesd --this-namespace 2>&1 || echo "status $?"
        "$1" bpftablesd 2>&1 || echo "status $?"
        kill $all; wait $all
        "$1" bpftables uninstall-hooks
        ls /sys/fs/bpf/bpftables
    "#;
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "-p", "-n", "-f", "--kill-child", "--mount-proc", "sh", "-c", script, "sh", BINARY]);
    let out = unshare.output().unwrap();
    let told = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    let second = "bpftablesd: another agent runs already: there is nothing to do for a second one\nstatus 1\n";
    let wanted =
        format!("/run/single:serving namespaces=1\n/run/all:serving namespaces=0\n1\n{second}{second}removed\n");
    assert_eq!(told, wanted);
}

#[test]
fn log_writes_the_kernels_lines_and_never_stalls_a_packet() {
    in_namespace(|| {
        let there = Other::new();
        pair(0, &there);
        let warned =
            ours("iptables -A INPUT -i a0 -p udp --dport 9999 -j LOG --log-prefix in: --log-level info --log-uid");
        assert!(warned.status.success());
        assert_eq!(String::from_utf8_lossy(&warned.stderr), "bpftables: LOG writes nothing until bpftablesd runs\n");
        let file = temporary("log");
        let text = || std::fs::read_to_string(&file).unwrap_or_default();
        let agent = Agent::start(&["--log-to", file.to_str().unwrap()]);
        eventually("the agent is known to run", || {
            let quiet = ours("iptables -A OUTPUT -o a0 -p udp --sport 9999 -j LOG --log-uid");
            assert!(quiet.status.success());
            quiet.stderr.is_empty()
        });
        let here = UdpSocket::bind(("0.0.0.0", PORT)).unwrap();
        let far = there.run(|| UdpSocket::bind(("0.0.0.0", PORT)).unwrap());
        far.send_to(b"x", "10.50.0.1:9999").unwrap();
        here.send_to(b"xy", "10.50.0.2:9999").unwrap();
        let incoming = "in:IN=a0 OUT= MAC=02:00:00:01:00:00:02:00:00:02:00:00:08:00 SRC=10.50.0.2 DST=10.50.0.1 LEN=29 TOS=0x00 \
                        PREC=0x00 TTL=64 ID=";
        let outgoing = "IN= OUT=a0 SRC=10.50.0.1 DST=10.50.0.2 LEN=30 TOS=0x00 PREC=0x00 TTL=64 ID=";
        eventually("both lines are written", || {
            let text = text();
            let found = |begin: &str, end: &str| {
                text.lines().any(|line| daemon::text(line).starts_with(begin) && line.ends_with(end))
            };
            found(incoming, "PROTO=UDP SPT=9999 DPT=9999 LEN=9 ")
                && found(outgoing, "PROTO=UDP SPT=9999 DPT=9999 LEN=10 UID=0 GID=0 ")
        });
        assert_eq!(packets("--log-prefix"), 1);
        here.recv(&mut [0; 8]).expect("LOG lets the packet go on");

        // Nobody takes events: the ring fills, packets pass as ever.
        drop(agent);
        here.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for _ in 0..3000 {
            far.send_to(b"z", "10.50.0.1:9999").unwrap();
            here.recv(&mut [0; 8]).unwrap();
        }
        assert_eq!(packets("--log-prefix"), 3001);
        assert!(statistic("event_lost") > 1000);
        let _ = std::fs::remove_file(&file);
    });
}

#[test]
fn log_writes_the_kernels_lines_of_ipv6_beside_those_of_ipv4() {
    in_namespace(|| {
        let there = Other::new();
        pair(0, &there);
        ip("addr add fd00:50::1/64 dev a0 nodad\nneigh replace fd00:50::2 dev a0 lladdr 02:00:00:02:00:00\n");
        there.run(|| {
            ip("addr add fd00:50::2/64 dev b0 nodad\nneigh replace fd00:50::1 dev b0 lladdr 02:00:00:01:00:00\n");
        });
        run("iptables -A INPUT -i a0 -p udp --dport 9999 -j LOG --log-prefix four:");
        let warned = ours("ip6tables -A INPUT -i a0 -p udp --dport 9999 -j LOG --log-prefix six: --log-macdecode");
        assert!(warned.status.success());
        assert_eq!(String::from_utf8_lossy(&warned.stderr), "bpftables: LOG writes nothing until bpftablesd runs\n");
        run("ip6tables -A OUTPUT -o a0 -p udp --sport 9999 -j LOG --log-prefix out: --log-uid");
        let file = temporary("log6");
        let text = || std::fs::read_to_string(&file).unwrap_or_default();
        let _agent = Agent::start(&["--log-to", file.to_str().unwrap()]);
        let here = UdpSocket::bind(("::", PORT)).unwrap();
        let far = there.run(|| UdpSocket::bind(("::", PORT)).unwrap());
        far.send_to(b"x", "10.50.0.1:9999").unwrap();
        far.send_to(b"x", "[fd00:50::1]:9999").unwrap();
        here.send_to(b"xy", "[fd00:50::2]:9999").unwrap();
        let six = "six:IN=a0 OUT= MACSRC=02:00:00:02:00:00 MACDST=02:00:00:01:00:00 MACPROTO=86dd \
                   SRC=fd00:0050:0000:0000:0000:0000:0000:0002 DST=fd00:0050:0000:0000:0000:0000:0000:0001 LEN=49 TC=0 HOPLIMIT=64 FLOWLBL=";
        eventually("the lines of both families are written", || {
            let text = text();
            let found = |begin: &str, end: &str| {
                text.lines().any(|line| daemon::text(line).starts_with(begin) && line.ends_with(end))
            };
            found("four:IN=a0 OUT= MAC=", "PROTO=UDP SPT=9999 DPT=9999 LEN=9 ")
                && found(six, "PROTO=UDP SPT=9999 DPT=9999 LEN=9 ")
                && found("out:IN= OUT=a0 SRC=fd00:0050:", "PROTO=UDP SPT=9999 DPT=9999 LEN=10 UID=0 GID=0 ")
        });
        let _ = std::fs::remove_file(&file);
    });
}
