//! Rulesets are swapped under load: no packet meets a verdict that neither gives, no connection breaks. Needs root and the binary
//! under test. `BPFTABLES_SWAP_SECONDS` says for how long (10).

use bpftables_compat_tests::world::{Node, World};
use bpftables_compat_tests::{suite, sys};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Packets under way at most, fewer than a CPU's backlog holds.
const WINDOW: u64 = 400;
/// Source ports of the flood; each is given up for a new one after so many packets.
const FLOWS: usize = 32;
const FLOW_PACKETS: u64 = 400;
/// Connections that last for the whole test.
const LONG: usize = 6;

const OPEN: u16 = 5000;
const CLOSED: u16 = 5001;
const ECHO: u16 = 80;

/// Where a client sends to, and from which address the server sees it come.
struct Place {
    rules: [String; 2],
    to: Ipv4Addr,
    seen_from: Ipv4Addr,
}

fn seconds() -> Duration {
    let text = std::env::var("BPFTABLES_SWAP_SECONDS").unwrap_or_else(|_| "10".into());
    Duration::from_secs(text.parse().expect("BPFTABLES_SWAP_SECONDS is a number"))
}

/// Rules that no packet of the test fits, so that the two rulesets are classified in different ways.
fn filler(chain: &str, n: u32) -> String {
    (0..n).fold(String::new(), |mut out, i| {
        let _ =
            writeln!(out, "-A {chain} -s 172.16.{}.{}/32 -p udp -m udp --dport {} -j DROP", i / 200, i % 200, 6000 + i);
        out
    })
}

/// The same verdicts twice: a flat list that ends in the policy, and nested chains behind many rules.
fn filters() -> [String; 2] {
    let flat = format!(
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n\
         -A FORWARD -p udp -m udp --dport {OPEN} -j ACCEPT\n-A FORWARD -p tcp -j ACCEPT\n\
         -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\nCOMMIT\n"
    );
    let nested = format!(
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:FIRST - [0:0]\n:SECOND - [0:0]\n{}\
         -A FORWARD -j FIRST\n-A FORWARD -j DROP\n-A FIRST -p udp -g SECOND\n-A FIRST -p tcp -m conntrack --ctstate NEW -j ACCEPT\n\
         -A FIRST -m conntrack --ctstate ESTABLISHED -j ACCEPT\n-A FIRST -p tcp -j ACCEPT\n\
         -A SECOND -p udp -m udp --dport {CLOSED} -j DROP\n-A SECOND -p udp -m multiport --dports {OPEN},1 -j ACCEPT\nCOMMIT\n",
        filler("FORWARD", 300)
    );
    [flat, nested]
}

fn plain() -> Place {
    Place { rules: filters(), to: Ipv4Addr::new(10, 2, 0, 2), seen_from: Ipv4Addr::new(10, 1, 0, 2) }
}

fn translated() -> Place {
    let [flat, nested] = filters();
    let direct = "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
                  -A PREROUTING -d 10.9.9.9/32 -j DNAT --to-destination 10.2.0.2\n\
                  -A POSTROUTING -d 10.2.0.2/32 -j SNAT --to-source 10.2.0.100\nCOMMIT\n";
    let by_chain = "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
                    :SERVICE - [0:0]\n:LEAVE - [0:0]\n-A PREROUTING -i eth0 -j SERVICE\n-A POSTROUTING -o eth1 -j LEAVE\n\
                    -A SERVICE -d 10.9.9.9/32 -p tcp -j DNAT --to-destination 10.2.0.2\n\
                    -A SERVICE -d 10.9.9.9/32 -j DNAT --to-destination 10.2.0.2\n-A LEAVE -j SNAT --to-source 10.2.0.100\nCOMMIT\n";
    Place {
        rules: [format!("{direct}{flat}"), format!("{nested}{by_chain}")],
        to: Ipv4Addr::new(10, 9, 9, 9),
        seen_from: Ipv4Addr::new(10, 2, 0, 100),
    }
}

/// What goes on while rulesets are swapped.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    /// After `stop`, when every client has its answer.
    stop_servers: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
    wrong: AtomicU64,
    asked: AtomicU64,
    short: AtomicU64,
}

impl Load {
    fn on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn served(&self) -> bool {
        !self.stop_servers.load(Ordering::Relaxed)
    }
}

fn any(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)
}

/// Counts what arrives at the server, and from where.
fn count(load: &Load, port: u16, seen_from: Ipv4Addr) {
    let socket = UdpSocket::bind(any(port)).expect("the server's socket");
    sys::set_receive_buffer(&socket, 16 << 20).expect("a large buffer");
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let mut buf = [0u8; 64];
    loop {
        match socket.recv_from(&mut buf) {
            Ok((_, from)) => {
                let good = port == OPEN && matches!(from, SocketAddr::V4(a) if *a.ip() == seen_from);
                (if good { &load.received } else { &load.wrong }).fetch_add(1, Ordering::Relaxed);
            }
            Err(_) if load.served() => {}
            Err(_) => return,
        }
    }
}

/// Sends to the open and to the closed port, new flows all the time.
fn flood(load: &Load, to: Ipv4Addr) {
    let open = || {
        let s = UdpSocket::bind(any(0)).expect("a client's socket");
        s.connect(SocketAddrV4::new(to, OPEN)).expect("connect sends nothing");
        (s, 0)
    };
    let mut flows: Vec<(UdpSocket, u64)> = (0..FLOWS).map(|_| open()).collect();
    let closed = UdpSocket::bind(any(0)).expect("a client's socket");
    let (mut n, mut lost) = (0u64, 0);
    while load.on() {
        let flow = &mut flows[n as usize % FLOWS];
        if flow.1 == FLOW_PACKETS {
            *flow = open();
        }
        flow.1 += 1;
        if flow.0.send(&n.to_be_bytes()).is_ok() {
            load.sent.fetch_add(1, Ordering::Relaxed);
        }
        if n % 8 == 0 {
            let _ = closed.send_to(&n.to_be_bytes(), SocketAddrV4::new(to, CLOSED));
        }
        n += 1;
        let waiting = Instant::now();
        loop {
            let under_way = load.sent.load(Ordering::Relaxed) - load.received.load(Ordering::Relaxed) - lost;
            if under_way < WINDOW {
                break;
            }
            if waiting.elapsed() > Duration::from_millis(500) {
                lost += under_way; // counted at the end
                break;
            }
            std::thread::yield_now();
        }
    }
}

fn echo_server(load: &Load) {
    let listener = TcpListener::bind(any(ECHO)).expect("the server's socket");
    listener.set_nonblocking(true).expect("non-blocking");
    std::thread::scope(|s| {
        while load.served() {
            let Ok((mut stream, _)) = listener.accept() else {
                std::thread::sleep(Duration::from_micros(300));
                continue;
            };
            s.spawn(move || {
                let _ = stream.set_nonblocking(false);
                let mut buf = [0u8; 512];
                while let Ok(n @ 1..) = stream.read(&mut buf) {
                    if stream.write_all(&buf[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn connect(to: Ipv4Addr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddrV4::new(to, ECHO).into(), Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream, n: u64) -> std::io::Result<()> {
    let mut answer = [0u8; 8];
    stream.write_all(&n.to_be_bytes())?;
    stream.read_exact(&mut answer)?;
    if answer == n.to_be_bytes() { Ok(()) } else { Err(std::io::Error::other("another answer than was asked for")) }
}

/// One connection for the whole time.
fn long_connection(load: &Load, to: Ipv4Addr) -> Result<(), String> {
    let mut stream = connect(to).map_err(|e| format!("a long connection did not begin: {e}"))?;
    while load.on() {
        let n = load.asked.fetch_add(1, Ordering::Relaxed);
        ask(&mut stream, n).map_err(|e| format!("a long connection broke: {e}"))?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// One connection after the other.
fn short_connections(load: &Load, to: Ipv4Addr) -> Result<(), String> {
    while load.on() {
        let n = load.short.fetch_add(1, Ordering::Relaxed);
        let done = connect(to).and_then(|mut s| ask(&mut s, n));
        done.map_err(|e| format!("short connection {n} broke: {e}"))?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Datagrams that the server's sockets had no room for.
fn no_room() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp").expect("the namespace's counters");
    let mut udp = text.lines().filter(|l| l.starts_with("Udp:"));
    let (names, values) = (udp.next().expect("names"), udp.next().expect("values"));
    let at = names.split(' ').position(|n| n == "RcvbufErrors").expect("RcvbufErrors");
    values.split(' ').nth(at).and_then(|v| v.parse().ok()).expect("a number")
}

/// One flood at a time: two leave a small machine no processor for the restores.
static ALONE: Mutex<()> = Mutex::new(());

fn swap(place: &Place) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut world = World::new(suite::subject(), 0).expect("a world");
    world.taps.clear();
    world.delivered.clear();
    world.restore(&place.rules[0], &[]).expect("the first ruleset");
    let (load, to, seen_from) = (Load::default(), place.to, place.seen_from);
    let mut swaps = 0u64;
    let mut failures = BTreeSet::new();
    std::thread::scope(|s| {
        let (load, world) = (&load, &world);
        let at = |node: Node| {
            let namespace = world.net(node).handle().expect("the namespace");
            move || sys::enter_net(&namespace).expect("a thread may enter a namespace")
        };
        let [open, closed, echo, client] = [Node::S, Node::S, Node::S, Node::C].map(at);
        s.spawn(move || (open(), count(load, OPEN, seen_from)));
        s.spawn(move || (closed(), count(load, CLOSED, seen_from)));
        s.spawn(move || (echo(), echo_server(load)));
        std::thread::sleep(Duration::from_millis(200));
        s.spawn(move || (client(), flood(load, to)));
        let mut tcp = Vec::new();
        for i in 0..=LONG {
            let enter = at(Node::C);
            tcp.push(s.spawn(move || {
                enter();
                if i == LONG { short_connections(load, to) } else { long_connection(load, to) }
            }));
        }
        let begin = Instant::now();
        while begin.elapsed() < seconds() {
            swaps += 1;
            if let Err(e) = world.restore(&place.rules[swaps as usize % 2], &[]) {
                failures.insert(e.to_string());
                break;
            }
        }
        load.stop.store(true, Ordering::Relaxed);
        for t in tcp {
            if let Err(e) = t.join().expect("a client panicked") {
                failures.insert(e);
            }
        }
        load.stop_servers.store(true, Ordering::Relaxed);
    });
    let (sent, received) = (load.sent.into_inner(), load.received.into_inner());
    let (wrong, no_room) = (load.wrong.into_inner(), world.net(Node::S).run(no_room));
    let said = world
        .tool("bpftables", &["status"], "")
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default();
    eprintln!(
        "{swaps} swaps in {:?}: {sent} datagrams sent, {received} received, {wrong} wrong, {no_room} without room; {} answers on {LONG} long \
         connections, {} short ones",
        seconds(),
        load.asked.into_inner(),
        load.short.into_inner()
    );
    assert!(failures.is_empty(), "{failures:?}\n{said}");
    assert_eq!(wrong, 0, "packets that no ruleset lets through, or translates so, arrived\n{said}");
    assert_eq!(sent, received + no_room, "packets that both rulesets let through were dropped\n{said}");
    assert!(swaps >= 10 && sent > 10_000, "too little load: {swaps} swaps, {sent} packets");
}

#[test]
fn no_packet_meets_a_verdict_that_neither_of_two_swapped_rulesets_gives() {
    swap(&plain());
}

#[test]
fn no_translated_connection_breaks_while_two_rulesets_are_swapped() {
    swap(&translated());
}
