//! IPv6: a client, a router with the rules, a server, and what real sockets and `ping` see through them.
//!
//! ```text
//! ### a scenario's claim
//! *filter
//! -A FORWARD -p udp -j DROP
//! COMMIT
//! ---
//! c udp fd00:2::10 53
//! c tcp fd00:1::1 80
//! r ping fd00:2::10 4000
//! ```
//! The router has fd00:1::1 on rc, towards the client fd00:1::10, and fd00:2::1 on rs, towards the server fd00:2::10. Servers on the router
//! and beyond it answer at port 53 by UDP and at 80 by TCP, with the address that they see. `ping` sends one echo request, with so many bytes.
//! `c> PACKET`, `s> PACKET` send a packet ([`crate::packet6`]) to the router, `r> PACKET` through its OUTPUT hook (`mark=M` may stand before the
//! packet); the packets that arrive at either end are told byte for byte. `ip LINE` is for the router's ip(8), `ipset LINE;LINE...` for its
//! ipset(8); `@ipset LINE;LINE...` stands before the rules.
//! With `@bridge` before the rules both devices are ports of the router's br0 (fd00:1::1, [`BRIDGE_MAC`]), and the server is fd00:1::30; packets of
//! the ends go to br0 or, with `to=c` or `to=s` before them, to the other end.
//! What a client was answered, and `ip6tables-save -c` afterwards, must be equal. Neighbours are permanent, so that neighbour discovery
//! counts nowhere. Nobody answers as fd00:1::20 and fd00:2::20, which is where scripted packets belong.

use crate::netns::Netns;
use crate::packet6;
use crate::sys::PacketSocket;
use crate::world::{BRIDGE_MAC, Kind, Tools};
use crate::{Result, diff, sys, workers};
use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a client waits: longer than any answer takes, shorter than a TCP client's second try.
const PATIENCE: Duration = Duration::from_millis(600);
/// Where servers answer.
const UDP: u16 = 53;
/// See [`UDP`].
const TCP: u16 = 80;

/// One scenario.
#[derive(Clone, Debug, Default)]
pub struct Scenario {
    /// What is claimed.
    pub name: String,
    rules: String,
    sets: Vec<String>,
    steps: Vec<String>,
    bridge: bool,
}

fn commands(line: &str) -> impl Iterator<Item = String> {
    line.split(';').map(|command| command.trim().to_owned())
}

/// Reads a file of scenarios.
pub fn parse(text: &str) -> Result<Vec<Scenario>> {
    let mut found: Vec<Scenario> = Vec::new();
    let mut steps = false;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        if let Some(name) = line.strip_prefix("### ") {
            found.push(Scenario { name: name.to_owned(), ..Scenario::default() });
            steps = false;
            continue;
        }
        let Some(last) = found.last_mut() else { continue };
        match line {
            "---" => steps = true,
            "@bridge" => last.bridge = true,
            _ if steps => last.steps.push(line.to_owned()),
            _ if line.starts_with("@ipset ") => last.sets.extend(commands(&line["@ipset ".len()..])),
            _ => last.rules += &format!("{line}\n"),
        }
    }
    match found.iter().find(|sc| sc.steps.is_empty()) {
        Some(sc) => Err(format!("scenario {:?} has no traffic", sc.name).into()),
        None => Ok(found),
    }
}

/// A server thread; it ends when this is dropped.
struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(net: &Netns) -> Result<Self> {
        let (ns, stop) = (net.handle()?, Arc::new(AtomicBool::new(false)));
        let (flag, (ready_tx, ready_rx)) = (stop.clone(), std::sync::mpsc::channel());
        let thread = std::thread::spawn(move || {
            let bound = sys::enter_net(&ns).and_then(|()| {
                let (udp, tcp) =
                    (UdpSocket::bind((Ipv6Addr::UNSPECIFIED, UDP))?, TcpListener::bind((Ipv6Addr::UNSPECIFIED, TCP))?);
                udp.set_read_timeout(Some(Duration::from_millis(2)))?;
                // Proxies, if rules make them such.
                sys::set_transparent(&udp, true)?;
                sys::set_transparent(&tcp, true)?;
                tcp.set_nonblocking(true)?;
                Ok((udp, tcp))
            });
            match bound {
                Err(e) => drop(ready_tx.send(Err(e))),
                Ok((udp, tcp)) => {
                    let _ = ready_tx.send(Ok(()));
                    while !flag.load(Ordering::Relaxed) {
                        let mut buffer = [0; 2000];
                        if let Ok((_, peer)) = udp.recv_from(&mut buffer) {
                            let _ = udp.send_to(peer.ip().to_string().as_bytes(), peer);
                        }
                        if let Ok((mut stream, peer)) = tcp.accept() {
                            let _ = answer(&mut stream, &peer.ip().to_string());
                        }
                    }
                }
            }
        });
        ready_rx.recv()?.map_err(|e| format!("cannot serve: {e}"))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

fn answer(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = [0; 5];
    stream.read_exact(&mut request)?;
    stream.write_all(text.as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    // The client closes first.
    let _ = stream.read(&mut request);
    Ok(())
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ask(udp: bool, to: SocketAddrV6) -> std::io::Result<String> {
    let mut buffer = String::new();
    if udp {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(to)?;
        socket.send(b"hello")?;
        let mut bytes = [0; 100];
        let n = socket.recv(&mut bytes)?;
        buffer += &String::from_utf8_lossy(&bytes[..n]);
    } else {
        let mut stream = TcpStream::connect_timeout(&to.into(), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"hello")?;
        stream.read_to_string(&mut buffer)?;
    }
    Ok(buffer)
}

/// Client, router, server.
struct World {
    servers: Vec<Server>,
    tools: Tools,
    /// What the client and the server receive.
    taps: [PacketSocket; 2],
    nets: [Netns; 3],
    /// The link addresses that the ends send to.
    routers: [[u8; 6]; 2],
}

/// The router's two devices become ports of a bridge.
fn bridge_of_both() -> String {
    let mut lines = "link add br0 address 02:00:00:00:00:01 type bridge mcast_snooping 0\n".to_owned();
    for dev in ["rc", "rs"] {
        lines += &format!("address flush dev {dev}\nlink set {dev} master br0\n");
    }
    lines += "link set br0 up\naddress add fd00:1::1/64 dev br0 nodad\n";
    for (host, end) in [(10, 1), (20, 1), (30, 2)] {
        lines += &format!("neighbour replace fd00:1::{host} lladdr 02:00:00:00:0{end}:10 nud permanent dev br0\n");
    }
    lines
}

/// How long packets may be under way.
const TRAVEL: Duration = Duration::from_millis(8);

impl World {
    fn new(kind: Kind, bridge: bool) -> Result<Self> {
        let nets = [Netns::new(0)?, Netns::new(0)?, Netns::new(0)?];
        for net in &nets {
            net.sysctls(&[
                "net/ipv6/conf/all/accept_dad=0",
                "net/ipv6/conf/default/accept_dad=0",
                "net/ipv6/conf/default/router_solicitations=0",
                "net/ipv6/auto_flowlabels=0",
                // No reports of groups within the time of a test.
                "net/ipv6/conf/default/mldv2_unsolicited_report_interval=100000000",
                "net/ipv6/conf/default/mldv1_unsolicited_report_interval=100000000",
            ])?;
            net.ip_batch("link set lo up\n")?;
        }
        let [client, router, server] = &nets;
        router.sysctls(&[
            "net/ipv6/conf/all/forwarding=1",
            "net/ipv6/conf/default/forwarding=1",
            "net/ipv6/icmp/ratelimit=0",
        ])?;
        for (end, far, near, n) in [(client, "c0", "rc", 1), (server, "s0", "rs", 2)] {
            router.ip_batch(&format!(
                "link add name {near} address 02:00:00:00:0{n}:01 type veth peer name {far} address 02:00:00:00:0{n}:10 netns {}\n\
                 address add fd00:{n}::1/64 dev {near} nodad\nlink set {near} up\n",
                end.path()
            ))?;
            end.ip_batch(&format!(
                "address add fd00:{n}::10/64 dev {far} nodad\nlink set {far} up\nroute add default via fd00:{n}::1\n\
                 neighbour add fd00:{n}::1 lladdr 02:00:00:00:0{n}:01 nud permanent dev {far}\n"
            ))?;
            router.ip_batch(&format!(
                "neighbour add fd00:{n}::10 lladdr 02:00:00:00:0{n}:10 nud permanent dev {near}\n\
                 neighbour add fd00:{n}::20 lladdr 02:00:00:00:0{n}:10 nud permanent dev {near}\n"
            ))?;
        }
        if bridge {
            router.ip_batch(&bridge_of_both())?;
            client.ip_batch(
                "neighbour replace fd00:1::1 lladdr 02:00:00:00:00:01 nud permanent dev c0\n\
                 neighbour add fd00:1::30 lladdr 02:00:00:00:02:10 nud permanent dev c0\n",
            )?;
            server.ip_batch(
                "address add fd00:1::30/64 dev s0 nodad\n\
                 route replace default via fd00:1::1\n\
                 neighbour add fd00:1::1 lladdr 02:00:00:00:00:01 nud permanent dev s0\n\
                 neighbour add fd00:1::10 lladdr 02:00:00:00:01:10 nud permanent dev s0\n",
            )?;
        }
        client.wait_running(&["c0"])?;
        router.wait_running(&["rc", "rs"])?;
        server.wait_running(&["s0"])?;
        let servers = vec![Server::start(router)?, Server::start(server)?];
        // What devices say of themselves when they come up is said before there are rules.
        std::thread::sleep(Duration::from_millis(300));
        let taps = [client.run(|| PacketSocket::open("c0"))?, server.run(|| PacketSocket::open("s0"))?];
        let routers = [1, 2].map(|n| if bridge { BRIDGE_MAC } else { [2, 0, 0, 0, n, 1] });
        Ok(Self { servers, tools: Tools::new(kind)?, taps, nets, routers })
    }

    /// What arrived at the ends since.
    fn arrived(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for (tap, letter) in self.taps.iter().zip(["c", "s"]) {
            while let Some(frame) = tap.recv()? {
                if frame.bytes.get(12..14) == Some(&[0x86, 0xdd]) {
                    let bytes = &frame.bytes[14..];
                    found
                        .push(bytes.iter().fold(format!("\n    {letter}: "), |text, byte| format!("{text}{byte:02x}")));
                }
            }
        }
        Ok(found)
    }

    /// Sends a packet from a node, and tells what becomes of it.
    fn send(&self, node: &str, line: &str) -> Result<String> {
        let (mark, line) = match line.strip_prefix("mark=").and_then(|rest| rest.split_once(' ')) {
            Some((mark, line)) => (mark.parse()?, line),
            None => (0, line),
        };
        let end = |n| [2, 0, 0, 0, n, 0x10];
        let (to, line) = match line.strip_prefix("to=").and_then(|rest| rest.split_once(' ')) {
            Some((to, line)) => (Some(end(if to == "c" { 1 } else { 2 })), line),
            None => (None, line),
        };
        let packet = packet6::build(line)?;
        self.arrived()?;
        let (tap, router, own) = match node {
            "c" => (&self.taps[0], self.routers[0], end(1)),
            "s" => (&self.taps[1], self.routers[1], end(2)),
            _ => {
                let to: [u8; 16] = packet.get(24..40).ok_or("a packet without a destination")?.try_into()?;
                let sent = self.nets[1].run(move || sys::send_raw6(&packet, to.into(), mark));
                // A program at egress cannot tell the sender (docs/deviations.md).
                if let Err(e) = sent.or_else(|e| if e.raw_os_error() == Some(libc::EPERM) { Ok(()) } else { Err(e) }) {
                    return Ok(e.to_string());
                }
                std::thread::sleep(TRAVEL);
                return Ok(self.arrived()?.concat());
            }
        };
        tap.send(&[&to.unwrap_or(router)[..], &own, &[0x86, 0xdd], &packet].concat())?;
        std::thread::sleep(TRAVEL);
        Ok(self.arrived()?.concat())
    }

    fn tool(&self, name: &str, args: &[&str], stdin: &str) -> Result<String> {
        let mut command = self.tools.command(name);
        command.args(args);
        let out = self.nets[1].command(command, stdin.as_bytes())?;
        if !out.status.success() {
            return Err(format!("{name}: {}", String::from_utf8_lossy(&out.stderr)).into());
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    fn step(&self, line: &str) -> Result<String> {
        if let Some((node @ ("c>" | "r>" | "s>"), packet)) = line.split_once(' ') {
            return self.send(&node[..1], packet);
        }
        if let Some(line) = line.strip_prefix("ip ") {
            return self.nets[1].ip_batch(&format!("{line}\n")).map(|()| String::new());
        }
        if let Some(line) = line.strip_prefix("ipset ") {
            return Ok(self.nets[1].ipset(&commands(line).collect::<Vec<_>>())?.join(", "));
        }
        let mut words = line.split_whitespace();
        let mut next = || words.next().ok_or_else(|| format!("a word is missing in {line:?}"));
        let net = match next()? {
            "c" => &self.nets[0],
            "r" => &self.nets[1],
            "s" => &self.nets[2],
            other => return Err(format!("no node {other:?}").into()),
        };
        let (what, to) = (next()?, next()?.parse::<Ipv6Addr>()?);
        if what == "ping" {
            let mut command = Command::new("ping");
            command.args(["-6", "-c1", "-W1", "-s", next().unwrap_or("56"), &to.to_string()]);
            let out = net.command(command, b"")?;
            let text = String::from_utf8_lossy(&out.stdout).into_owned();
            let told: Vec<&str> = text.lines().filter(|line| line.contains("From ")).collect();
            return Ok(format!("{} {}", if out.status.success() { "answered" } else { "no answer" }, told.join(" ")));
        }
        let (udp, to) = (what == "udp", SocketAddrV6::new(to, next()?.parse()?, 0, 0));
        Ok(match net.run(move || ask(udp, to)) {
            Ok(seen) => format!("answered, server saw {seen}"),
            Err(e) => e.to_string(),
        })
    }

    /// What the scenario looks like from outside: each answer, then the rules with their counters.
    fn run(mut self, sc: &Scenario) -> Result<String> {
        let said = self.nets[1].ipset(&sc.sets)?;
        if !said.is_empty() {
            return Err(said.join(", ").into());
        }
        self.tool("ip6tables-restore", &[], &sc.rules)?;
        let mut report = String::new();
        for line in &sc.steps {
            report += &format!("{line}: {}\n", self.step(line)?);
        }
        // The last segments of connections that were closed.
        std::thread::sleep(Duration::from_millis(60));
        self.servers.clear();
        std::thread::sleep(Duration::from_millis(60));
        let saved = self.tool("ip6tables-save", &["-c"], "")?;
        if self.tools.kind == Kind::Ours {
            self.tool("bpftables", &["uninstall-hooks"], "")?;
        }
        let lines = saved.lines().filter(|line| !line.starts_with('#'));
        Ok(lines.fold(report, |report, line| report + line + "\n"))
    }
}

/// Runs the scenarios of a text through legacy and `kind`; what differs, by scenario.
pub fn differences(text: &str, kind: Kind) -> Result<Vec<String>> {
    let only = std::env::var("COMPAT_ONLY").unwrap_or_default();
    let chosen: Vec<Scenario> = parse(text)?.into_iter().filter(|sc| sc.name.contains(&only)).collect();
    let found = workers::each(&chosen, |sc| difference(sc, kind));
    found.into_iter().filter_map(Result::transpose).collect()
}

fn difference(sc: &Scenario, kind: Kind) -> Result<Option<String>> {
    let both = || -> Result<(String, String)> {
        let other = sc.clone();
        let subject = std::thread::spawn(move || World::new(kind, other.bridge)?.run(&other));
        let legacy = World::new(Kind::Legacy, sc.bridge)?.run(sc)?;
        Ok((legacy, subject.join().map_err(|_| "the subject's thread panicked")??))
    };
    let (mut legacy, mut subject) = both()?;
    if legacy != subject {
        // Once more: a segment sent twice on a busy machine is no difference.
        eprintln!("note: {:?} is looked at again", sc.name);
        (legacy, subject) = both()?;
    }
    if std::env::var_os("COMPAT_SHOW").is_some() {
        eprintln!("\n### {}\n{legacy}", sc.name);
    }
    Ok((legacy != subject)
        .then(|| format!("### {}\n{}{}", sc.name, sc.rules, diff::lines(&legacy, &subject, "legacy", "subject"))))
}
