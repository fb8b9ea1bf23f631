//! Runs one scenario in one world and writes down everything that can be seen.

use crate::dissect::{Checksum, Masks, describe};
use crate::dissect6::{describe6, hex};
use crate::packet;
use crate::packet6::upper;
use crate::scenario::{Counters, Scenario, Step, Who, Whom};
use crate::sockets::{self, Ask, Server, tcp_get, udp_ask};
use crate::sys::RawSocket;
use crate::world::{DELIVERED, Family, Node, World};
use crate::{Result, sys};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// What a scenario did, as lines of text: each step, below it what every node received, then the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The report.
    pub text: String,
    /// How many packets, answers and counted rules were seen: a scenario that shows nothing proves nothing.
    pub evidence: usize,
}

struct Runner<'w> {
    world: &'w mut World,
    masks: Masks,
    tcp_by_stack: bool,
    patience: Duration,
    last: [Option<Vec<u8>>; 5],
    evidence: usize,
    heralds: usize,
}

/// What a step says of a packet besides.
#[derive(Default)]
struct Said {
    mark: u32,
    dev: Option<String>,
    who: Option<Who>,
    vlan: Option<u16>,
    to: Option<Whom>,
}

/// How often a herald goes before what a step sent has passed: to the router, through its loopback device and back, and on.
const PASSES: usize = 4;
/// The type of a herald's frame, one for experiments.
const HERALD: [u8; 2] = [0x88, 0xb5];

/// Runs `sc` in `world`. `patience` is how long the network must stay quiet before a step counts as done; with none, it is done once frames
/// that were sent behind it have arrived. (All packets of a world go through one CPU, first come, first served.)
pub fn run(world: &mut World, sc: &Scenario, patience: Duration) -> Result<Outcome> {
    let tcp_by_stack = sc.setup.iter().chain(&sc.steps).any(|(_, s)| {
        matches!(s, Step::Ask { tcp: true, .. } | Step::Serve { tcp: true, .. } | Step::Listen { tcp: true, .. })
    });
    let masks = Masks {
        known_ports: if sc.mask_ports.is_some() { sc.known_ports() } else { Vec::new() },
        random_ports: sc.mask_ports.unwrap_or_default(),
        hide_tcp_numbers: tcp_by_stack,
        partial_quotes: sc.partial_quotes,
    };
    let mut r = Runner { world, masks, tcp_by_stack, patience, last: Default::default(), evidence: 0, heralds: 0 };
    let mut text = String::new();
    for (line, step) in &sc.setup {
        let said = r.step(step).map_err(|e| format!("{line}: {e}"))?;
        if matches!(step, Step::Ipset(_)) && !said.is_empty() {
            return Err(format!("{line}: {}", said.join(", ")).into());
        }
    }
    if !sc.rules.is_empty() {
        r.world.restore(&sc.rules, &[])?;
    }
    r.settle()?;
    r.last = Default::default();
    for (line, step) in &sc.steps {
        text += &format!("{line}\n");
        let said = r.step(step).map_err(|e| format!("{line}: {e}"))?;
        for l in said.into_iter().chain(r.settle()?) {
            text += &format!("    {l}\n");
        }
    }
    r.world.servers.clear();
    if !std::mem::take(&mut r.world.sockets).is_empty() {
        // What is still open is reset.
        for l in r.settle()? {
            text += &format!("{l}\n");
        }
    }
    let saved = r.world.save()?;
    r.evidence += saved.lines().filter(|l| l.starts_with('[') && !l.starts_with("[0:0]")).count();
    // The legacy that is installed (1.8.9) zeroes the counters of all policies of a table with every change of it;
    // 1.8.11 keeps them. So after a change in the middle policies are not compared.
    let changed = sc.steps.iter().any(|(_, s)| matches!(s, Step::Run(_) | Step::Restore(_)));
    text += &masked_counters(&saved, sc.counters, changed);
    Ok(Outcome { text, evidence: r.evidence })
}

/// Leaves only those counters in the text of a save that are to be compared.
fn masked_counters(saved: &str, which: Counters, without_policies: bool) -> String {
    let mut table = "";
    let mut out = String::new();
    for l in saved.lines() {
        table = l.strip_prefix('*').unwrap_or(table);
        let keep = which == Counters::All || (which == Counters::Nat && table == "nat");
        if keep && !(without_policies && l.starts_with(':')) {
            out += l;
        } else if let Some(rest) = l.strip_prefix('[') {
            out += rest.split_once("] ").map_or(rest, |x| x.1);
        } else if l.starts_with(':') {
            out += l.split_once(" [").map_or(l, |x| x.0);
        } else {
            out += l;
        }
        out.push('\n');
    }
    out
}

impl Runner<'_> {
    /// Waits until nothing moves any more; returns what was received.
    fn settle(&mut self) -> Result<Vec<String>> {
        let mut seen: [Vec<String>; 5] = Default::default();
        if self.patience.is_zero() {
            for _ in 0..PASSES {
                self.pass(&mut seen)?;
            }
            self.look(&mut seen)?;
        } else {
            let mut quiet_since = Instant::now();
            loop {
                if self.look(&mut seen)? {
                    quiet_since = Instant::now();
                } else if quiet_since.elapsed() >= self.patience {
                    break;
                }
                std::thread::sleep(Duration::from_micros(150));
            }
        }
        let seen = seen.concat();
        self.evidence += seen.len();
        Ok(seen)
    }

    /// Sends a herald from the router to the client and waits for it.
    fn pass(&mut self, seen: &mut [Vec<String>; 5]) -> Result<()> {
        let (start, before) = (Instant::now(), self.heralds);
        let frame = [&Node::C.mac()[..], &Node::C.router_mac(), &HERALD, &[0; 46]].concat();
        self.world.herald.send(&frame)?;
        while self.heralds == before {
            self.taps(seen)?;
            if start.elapsed() > Duration::from_secs(5) {
                return Err("a frame from the router to the client does not arrive".into());
            }
        }
        Ok(())
    }

    /// Reads what the end points received.
    fn taps(&mut self, seen: &mut [Vec<String>; 5]) -> Result<bool> {
        let mut news = false;
        for (i, node) in Node::ENDS.into_iter().enumerate() {
            while let Some(f) = self.world.taps[i].recv()? {
                news = true;
                if let Some(line) = self.frame(node, &f) {
                    seen[i].push(format!("{}: {line}", node.letter()));
                }
            }
        }
        Ok(news)
    }

    /// Reads what everybody received; whether there was anything.
    fn look(&mut self, seen: &mut [Vec<String>; 5]) -> Result<bool> {
        let mut news = self.taps(seen)?;
        let v6 = self.world.family == Family::V6;
        while let Some(p) = self.world.tun.recv()? {
            news = true;
            // Version 6 on it is the kernel's own router solicitation where IPv6 is not the world's.
            if p.first().is_some_and(|b| b >> 4 == if v6 { 6 } else { 4 }) {
                self.last[4] = Some(p.clone());
                if !self.boring(&p) {
                    seen[4].push(format!("p: {}", self.describe(&p, Checksum::Full)));
                }
            }
        }
        for (i, protocol) in DELIVERED.into_iter().enumerate() {
            while let Some(p) = self.world.delivered[i].recv()? {
                news = true;
                if v6 {
                    // Without its header.
                    if !(self.tcp_by_stack && protocol == 6) {
                        seen[3].push(format!("r: socket {i}: {}", hex(&p)));
                    } else if p.get(13).is_some_and(|bits| bits & 7 != 0) && p.len() >= 20 {
                        // Without the numbers that the stack drew, and the sum over them.
                        seen[3].push(format!("r: socket {i}: {}****{}", hex(&p[..4]), hex(&p[12..16])));
                    }
                    continue;
                }
                self.last[3] = Some(p.clone());
                if !self.boring(&p) {
                    seen[3].push(format!("r: {}", describe(&p, Checksum::Either, &self.masks)));
                }
            }
        }
        Ok(news)
    }

    fn describe(&self, packet: &[u8], expected: Checksum) -> String {
        match self.world.family {
            Family::V4 => describe(packet, expected, &self.masks),
            Family::V6 => describe6(packet, expected, &self.masks),
        }
    }

    /// Segments of a TCP stack other than those that open or end a connection: their number varies.
    fn boring(&self, p: &[u8]) -> bool {
        let flags = match p.first().map(|b| b >> 4) {
            Some(6) => upper(p).filter(|(proto, _, later)| *proto == 6 && !later).map(|(_, at, _)| at + 13),
            _ => (p.len() >= 40 && p[9] == 6).then(|| usize::from(p[0] & 15) * 4 + 13),
        };
        self.tcp_by_stack && flags.and_then(|at| p.get(at)).is_some_and(|bits| bits & 7 == 0)
    }

    fn frame(&mut self, node: Node, f: &sys::Frame) -> Option<String> {
        let (eth, ip) = f.bytes.split_at_checked(14)?;
        let kind = u16::from_be_bytes([eth[12], eth[13]]);
        if eth[12..] == HERALD {
            self.heralds += 1;
            return None;
        }
        let expected = if self.world.family == Family::V6 { 0x86dd } else { 0x0800 };
        if kind != expected {
            // Address resolution is the router's own affair.
            return (kind != 0x0806).then(|| format!("frame of type {kind:04x}"));
        }
        let mut whole = ip.to_vec();
        if f.partial_checksum {
            // Its device would have done it.
            packet::complete(&mut whole);
        }
        // Nobody answers from the address of all.
        if eth[0] & 1 == 0 {
            self.last[Node::ENDS.iter().position(|n| *n == node)?] = Some(whole);
        }
        if self.boring(ip) {
            return None;
        }
        let expected = if f.partial_checksum { Checksum::Partial } else { Checksum::Full };
        let mut line = self.describe(ip, expected);
        if eth[..6] != node.mac() || eth[6..12] != node.router_mac() {
            line += &format!(" STRANGE-MAC {:02x?}", &eth[..12]);
        }
        if let Some(v) = f.vlan {
            line += &format!(" vlan={v}");
        }
        Some(line)
    }

    fn last(&self, node: Node) -> Option<Vec<u8>> {
        let at = match node {
            Node::P => 4,
            _ => Node::ENDS.iter().position(|n| *n == node).unwrap_or(3),
        };
        self.last[at].clone()
    }

    fn send(&self, node: Node, packet: &[u8]) -> Result<Vec<String>> {
        self.send_as(node, packet, Said::default())
    }

    fn send_as(&self, node: Node, packet: &[u8], said: Said) -> Result<Vec<String>> {
        let Said { mark, dev, who, vlan, to } = said;
        if let Some(i) = Node::ENDS.iter().position(|n| *n == node) {
            let mut frame = to.map_or(node.router_mac(), |to| to.mac(packet)).to_vec();
            frame.extend(node.mac());
            if let Some(v) = vlan {
                frame.extend([0x81, 0]);
                frame.extend(v.to_be_bytes());
            }
            frame.extend(if self.world.family == Family::V6 { [0x86, 0xdd] } else { [8, 0] });
            frame.extend(packet);
            self.world.taps[i].send(&frame)?;
            return Ok(Vec::new());
        }
        if node == Node::P {
            self.world.tun.send(packet)?;
            return Ok(Vec::new());
        }
        let bytes = packet.to_vec();
        let sent = if self.world.family == Family::V6 {
            let to: [u8; 16] = packet.get(24..40).ok_or("a packet without a destination")?.try_into()?;
            self.world
                .net(Node::R)
                .run(move || sys::sent_by(who.as_ref(), || sys::send_raw6(&bytes, Ipv6Addr::from(to), mark)))
        } else {
            let to: [u8; 4] = packet.get(16..20).ok_or("a packet without a destination")?.try_into()?;
            self.world.net(Node::R).run(move || {
                let send = || RawSocket::sender(mark, dev.as_deref())?.send(&bytes, Ipv4Addr::from(to));
                sys::sent_by(who.as_ref(), send)
            })
        };
        Ok(match sent {
            Ok(()) => Vec::new(),
            // A drop at OUTPUT is EPERM with netfilter; programs at tcx egress cannot say that.
            Err(e) if e.raw_os_error() == Some(libc::EPERM) || e.raw_os_error() == Some(libc::ENOBUFS) => Vec::new(),
            Err(e) => vec![format!("send: {:?}", e.kind())],
        })
    }

    /// Sends from the router through a packet socket on `dev`, to the end point behind it.
    fn send_below(&self, dev: &str, packet: &[u8]) -> Result<Vec<String>> {
        let end = match dev.strip_prefix("eth").and_then(|n| n.parse::<usize>().ok()) {
            Some(n) if n < Node::ENDS.len() => Node::ENDS[n],
            _ => return Err(format!("no end point is behind {dev} (eth0, eth1, eth2)").into()),
        };
        let frame = [&end.mac()[..], &end.router_mac(), &[8, 0], packet].concat();
        let dev = dev.to_owned();
        self.world.net(Node::R).run(move || sys::PacketSocket::open(&dev)?.send(&frame))?;
        Ok(Vec::new())
    }

    fn step(&mut self, step: &Step) -> Result<Vec<String>> {
        match step {
            Step::Send { node, packet, mark, dev, who, vlan, to } => {
                let said = Said { mark: *mark, dev: dev.clone(), who: who.clone(), vlan: *vlan, to: *to };
                self.send_as(*node, &packet::build(packet)?, said)
            }
            Step::Frame { dev, packet } => self.send_below(dev, &packet::build(packet)?),
            Step::Reply { node, words, to } => match self.last(*node) {
                None => Ok(vec!["nothing to reply to".into()]),
                Some(p) => {
                    let line = packet::reply(&p, words)?;
                    self.send_as(*node, &packet::build(&line)?, Said { to: *to, ..Said::default() })
                }
            },
            Step::Error { node, kind, from, mtu } => match self.last(*node) {
                None => Ok(vec!["nothing to complain about".into()]),
                Some(p) => self.send(*node, &packet::error_about(&p, kind, *from, *mtu)?),
            },
            Step::Serve { node, tcp, at, proxy } => {
                let server = Server::start(self.world.net(*node).handle()?, *tcp, *at, *proxy)?;
                self.world.servers.push(server);
                Ok(Vec::new())
            }
            Step::Listen { node, tcp, at, proxy } => {
                let (tcp, at, proxy) = (*tcp, *at, *proxy);
                let socket = self.world.net(*node).run(move || sockets::listen(tcp, at, proxy));
                self.world.sockets.push(socket.map_err(|e| format!("cannot listen on {at}: {e}"))?);
                Ok(Vec::new())
            }
            Step::Ask { node, tcp, from, to, request, response, mark } => {
                let ask = Ask {
                    from: *from,
                    to: *to,
                    request: *request,
                    response: *response,
                    mark: *mark,
                    timeout: Duration::from_millis(200).max(self.patience * 4),
                };
                let tcp = *tcp;
                let mut said = self.world.net(*node).run(move || if tcp { tcp_get(ask) } else { udp_ask(ask) });
                self.evidence += 1;
                if self.masks.known_ports.is_empty() {
                    return Ok(vec![said]);
                }
                if let Some((head, port)) = said.rsplit_once(':')
                    && port.parse().is_ok_and(|p: u16| !self.masks.known_ports.contains(&p))
                {
                    said = format!("{head}:*");
                }
                Ok(vec![said])
            }
            Step::Run(line) => {
                let mut words = line.split_whitespace();
                let tool = words.next().ok_or("run COMMAND")?;
                let args: Vec<&str> = words.collect();
                let out = self.world.tool(tool, &args, "")?;
                Ok(match out.status.code() {
                    Some(0) => Vec::new(),
                    code => vec![format!("exit {code:?}")],
                })
            }
            Step::Restore(rules) => self.world.restore(rules, &["--noflush"]).map(|()| Vec::new()),
            Step::Ipset(lines) => self.world.ipset(lines),
            Step::Ip { node, line } => {
                let paths = Node::ENDS.into_iter().chain([Node::R]);
                let line = paths.fold(line.clone(), |line, n| {
                    line.replace(&format!("{{{}}}", n.letter()), &self.world.net(n).path())
                });
                self.world.net(*node).ip_batch(&line).map(|()| Vec::new())
            }
            Step::Sysctl { node, setting } => self.world.net(*node).sysctls(&[setting]).map(|()| Vec::new()),
            Step::Sleep(ms) => {
                std::thread::sleep(Duration::from_millis(*ms));
                Ok(Vec::new())
            }
        }
    }
}
