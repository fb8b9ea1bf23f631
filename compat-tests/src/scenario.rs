//! Scenarios as text: rules, then what happens.
//!
//! ```text
//! ### a dropped port is not reached
//! *filter
//! -A FORWARD -p udp --dport 53 -j DROP
//! COMMIT
//! ---
//! c> udp 10.1.0.10:1000 10.2.0.10:53 len=8
//! s reply len=4
//! ```
//! Before the rules: `@fresh` (own namespaces), `@ipv6` (rules of ip6tables, addresses `fd00:1::10,1000`; no `serve`, `tcp-get`, `udp-ask`),
//! `@mask-ports [FROM-TO]` (ports that no step names are random, or from this range),
//! `@counters nat|none` (compare only those), `@partial-quotes` (a segment in an ICMP error may have a sum that a device was to complete),
//! `@vrf` (the router's devices are members of a VRF `blue`; all scenarios are so if the environment has `COMPAT_VRF`),
//! `@needs TYPE` (a device type of ip(8); not run, and said so, without it),
//! `@differs REASON` (a deliberate difference: bpftables must not be equal here), `@ours LINE` (with it: a line that its report must have),
//! `@ip NODE LINE`, `@sysctl NODE PATH=VALUE`, `@ipset LINE;LINE...`.
//!
//! Steps (`N` is a node c, r, s, t, or p behind tun0; `repeat COUNT STEP` replaces `{i}`):
//! - `N> PACKET` sends ([`crate::packet`]); on r through the OUTPUT hook, where `mark=M`, `dev=D` and `as=UID:GID[,GROUP...]` may follow `r>`; `vlan=ID` tags a frame,
//!   `to=N` gives it the link address of an end point, with `to=r` that of the router's bridge ([`crate::world::BRIDGE_MAC`]), with `to=all` that
//!   of the group that it is for, or the broadcast address
//! - `r> link=DEV PACKET` sends through a packet socket, to the end point behind DEV: below netfilter
//! - `N reply [to=N] WORDS` answers what N received last in a frame of its own; `N error TYPE/CODE [from=A] [mtu=M]` complains about it
//! - `N serve tcp|udp A:P [proxy=MARK]` (a transparent socket with this mark), `N tcp-get FROM TO [req=B] [resp=B] [mark=M]`, `N udp-ask ...`
//! - `N listen tcp|udp A:P [proxy=MARK]` has a socket, of either family, that takes what comes and never says anything by itself
//! - `ipset LINE;LINE...`: commands of ipset(8) on the router; what fails is told
//! - `run COMMAND`, `restore RULES;RULES...`, `ip NODE [-6] LINE`, `sysctl NODE PATH=VALUE`, `sleep MS`
//!
//! In an `ip` line, `{N}` is the path of a node's namespace.

use crate::Result;
use crate::packet::endpoint;
use crate::world::{Family, Node};
use std::net::{IpAddr, SocketAddr, SocketAddrV4};

/// Whose link address the frame of an end point bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// An end point's, or that of the router's bridge.
    One(Node),
    /// Everybody's.
    All,
}

impl Whom {
    fn of(word: &str) -> Result<Self> {
        Ok(if word == "all" { Self::All } else { Self::One(Node::of(word)?) })
    }

    /// The link address of a frame with `packet`. A group's is made of its last bytes (RFC 1112, section 6.4; RFC 2464, section 7).
    pub fn mac(self, packet: &[u8]) -> [u8; 6] {
        let Self::One(node) = self else {
            return match (packet.first().map(|byte| byte >> 4), packet.get(16..20), packet.get(36..40)) {
                (Some(4), Some(&[224..=239, b, c, d]), _) => [1, 0, 0x5e, b & 0x7f, c, d],
                (Some(6), _, Some(&[a, b, c, d])) => [0x33, 0x33, a, b, c, d],
                _ => [0xff; 6],
            };
        };
        node.bridged_mac()
    }
}

/// Which counters of `iptables-save -c` are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Counters {
    /// All of them.
    #[default]
    All,
    /// Only the nat table's (they count connections, not segments).
    Nat,
    /// None: only rules are compared.
    None,
}

/// Whose a socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

impl Who {
    /// Reads `UID:GID[,GROUP...]`.
    fn parse(text: &str) -> Result<Self> {
        let (uid, groups) = text.split_once(':').ok_or("as=UID:GID[,GROUP...]")?;
        let mut groups = groups.split(',').map(number).collect::<Result<Vec<_>>>()?;
        let gid = groups.remove(0);
        Ok(Self { uid: number(uid)?, gid, groups })
    }
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the module's text describes each step and its words")]
pub enum Step {
    Send {
        node: Node,
        packet: String,
        mark: u32,
        dev: Option<String>,
        who: Option<Who>,
        vlan: Option<u16>,
        to: Option<Whom>,
    },
    Frame {
        dev: String,
        packet: String,
    },
    Reply {
        node: Node,
        words: String,
        to: Option<Whom>,
    },
    Error {
        node: Node,
        kind: String,
        from: Option<IpAddr>,
        mtu: u16,
    },
    Serve {
        node: Node,
        tcp: bool,
        at: SocketAddrV4,
        proxy: Option<u32>,
    },
    Listen {
        node: Node,
        tcp: bool,
        at: SocketAddr,
        proxy: Option<u32>,
    },
    Ask {
        node: Node,
        tcp: bool,
        from: SocketAddrV4,
        to: SocketAddrV4,
        request: u32,
        response: u32,
        mark: u32,
    },
    Run(String),
    Restore(String),
    Ipset(Vec<String>),
    Ip {
        node: Node,
        line: String,
    },
    Sysctl {
        node: Node,
        setting: String,
    },
    Sleep(u64),
}

/// A named scenario.
#[derive(Debug, Clone, Default)]
pub struct Scenario {
    /// What is claimed, as a sentence.
    pub name: String,
    /// Input of `iptables-restore`.
    pub rules: String,
    /// What happens, with the text it was written as.
    pub steps: Vec<(String, Step)>,
    /// Before the rules are loaded.
    pub setup: Vec<(String, Step)>,
    /// Needs namespaces of its own.
    pub fresh: bool,
    /// Why bpftables differs here on purpose; the scenario fails once it does not.
    pub differs: Option<String>,
    /// Lines that bpftables must report where it differs.
    pub ours: Vec<String>,
    /// A device type (of ip(8)) that a kernel may not have.
    pub needs: Option<String>,
    /// The router's devices are members of a VRF.
    pub vrf: bool,
    /// What ICMP errors quote may have a sum that a device was to complete.
    pub partial_quotes: bool,
    /// Ports are random: those that no step names are shown as `*`, or as the range here when they lie in it.
    pub mask_ports: Option<(u16, u16)>,
    /// Which counters are compared.
    pub counters: Counters,
    /// Whose rules and packets these are.
    pub family: Family,
}

impl Scenario {
    /// Makes a scenario from its parts; `steps` is text, one step a line.
    pub fn new(name: impl Into<String>, rules: impl Into<String>, steps: &str) -> Result<Self> {
        let mut s = Self { name: name.into(), rules: rules.into(), ..Self::default() };
        for line in steps.lines() {
            s.add_steps(line)?;
        }
        Ok(s)
    }

    /// Every number that may be a port in the text of the steps.
    pub fn known_ports(&self) -> Vec<u16> {
        let all = self.steps.iter().map(|(t, _)| t.as_str());
        let mut ports: Vec<u16> =
            all.flat_map(|l| l.split(|c: char| !c.is_ascii_digit())).filter_map(|w| w.parse().ok()).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    fn add_steps(&mut self, line: &str) -> Result<()> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("repeat ") {
            let (n, step) = rest.split_once(' ').ok_or("repeat COUNT STEP")?;
            for i in 0..n.parse::<u32>()? {
                let text = step.replace("{i}", &i.to_string());
                self.steps.push((text.clone(), step_of(&text)?));
            }
        } else {
            self.steps.push((line.to_owned(), step_of(line)?));
        }
        Ok(())
    }
}

/// Reads all scenarios of a file's text.
pub fn parse(text: &str) -> Result<Vec<Scenario>> {
    let mut all: Vec<Scenario> = Vec::new();
    let mut in_steps = false;
    for (n, line) in text.lines().enumerate() {
        let fail = |e: Box<dyn std::error::Error + Send + Sync>| format!("line {}: {line:?}: {e}", n + 1);
        if let Some(name) = line.strip_prefix("### ") {
            if all.iter().any(|s| s.name == name) {
                return Err(fail("two scenarios of this name".into()).into());
            }
            all.push(Scenario { name: name.trim().to_owned(), ..Scenario::default() });
            in_steps = false;
            continue;
        }
        let Some(s) = all.last_mut() else {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            return Err(fail("text before the first scenario".into()).into());
        };
        if line.trim() == "---" {
            in_steps = true;
        } else if in_steps {
            s.add_steps(line).map_err(fail)?;
        } else if let Some(option) = line.strip_prefix('@') {
            match option.trim() {
                "fresh" => s.fresh = true,
                "ipv6" => s.family = Family::V6,
                "mask-ports" => s.mask_ports = Some((0, 0)),
                "partial-quotes" => s.partial_quotes = true,
                "counters nat" => s.counters = Counters::Nat,
                "counters none" => s.counters = Counters::None,
                other if other.starts_with("differs ") => s.differs = Some(other[8..].to_owned()),
                other if other.starts_with("ours ") => s.ours.push(other[5..].to_owned()),
                "vrf" => s.vrf = true,
                other if other.starts_with("needs ") => s.needs = Some(other[6..].to_owned()),
                other if other.starts_with("mask-ports ") => {
                    let (a, b) = other[11..].split_once('-').ok_or("mask-ports FROM-TO")?;
                    s.mask_ports = Some((a.parse()?, b.parse()?));
                }
                other => s.setup.push((other.to_owned(), step_of(other).map_err(fail)?)),
            }
        } else if !line.trim().is_empty() && !line.starts_with("# ") {
            s.rules.push_str(line);
            s.rules.push('\n');
        }
    }
    if std::env::var_os("COMPAT_VRF").is_some() {
        all.iter_mut().for_each(|s| s.vrf = true);
    }
    if let Some(s) = all.iter().find(|s| s.differs.is_none() && !s.ours.is_empty()) {
        return Err(format!("scenario {:?} has @ours without @differs", s.name).into());
    }
    match all.iter().find(|s| s.steps.is_empty()) {
        Some(s) => Err(format!("scenario {:?} has no steps", s.name).into()),
        None => Ok(all),
    }
}

fn socket_address(s: &str) -> Result<SocketAddrV4> {
    endpoint(s).map(|(a, p)| SocketAddrV4::new(a, p))
}

fn number(s: &str) -> Result<u32> {
    Ok(match s.strip_prefix("0x") {
        Some(h) => u32::from_str_radix(h, 16)?,
        None => s.parse()?,
    })
}

fn step_of(line: &str) -> Result<Step> {
    let (first, rest) = line.split_once(' ').ok_or("a step has at least two words")?;
    let rest = rest.trim();
    if let Some(frame) = line.strip_prefix("r> link=") {
        let (dev, packet) = frame.split_once(' ').ok_or("r> link=DEV PACKET")?;
        crate::packet::build(packet)?;
        return Ok(Step::Frame { dev: dev.to_owned(), packet: packet.to_owned() });
    }
    if let Some(node) = first.strip_suffix('>') {
        let node = Node::of(node)?;
        let (mut packet, mut mark, mut dev, mut vlan) = (rest, 0, None, None);
        let (mut to, mut who) = (None, None);
        while let Some((w, more)) = packet.split_once(' ') {
            if let Some(m) = w.strip_prefix("mark=") {
                mark = number(m)?;
            } else if let Some(d) = w.strip_prefix("dev=") {
                dev = Some(d.to_owned());
            } else if let Some(w) = w.strip_prefix("as=") {
                who = Some(Who::parse(w)?);
            } else if let Some(v) = w.strip_prefix("vlan=") {
                vlan = Some(v.parse()?);
            } else if let Some(n) = w.strip_prefix("to=") {
                to = Some(Whom::of(n)?);
            } else {
                break;
            }
            packet = more;
        }
        if node != Node::R && (mark != 0 || dev.is_some() || who.is_some()) {
            return Err("mark=, dev= and as= are for the router's own packets".into());
        }
        if node == Node::R && (vlan.is_some() || to.is_some()) {
            return Err("vlan= and to= are for frames of the end points".into());
        }
        crate::packet::build(packet)?;
        return Ok(Step::Send { node, packet: packet.to_owned(), mark, dev, who, vlan, to });
    }
    match first {
        "run" => return Ok(Step::Run(rest.to_owned())),
        "restore" => return Ok(Step::Restore(rest.split(';').map(|l| format!("{}\n", l.trim())).collect())),
        "ipset" => return Ok(Step::Ipset(rest.split(';').map(|l| l.trim().to_owned()).collect())),
        "sleep" => return Ok(Step::Sleep(rest.parse()?)),
        "ip" | "sysctl" => {
            let (node, line) = rest.split_once(' ').ok_or("NODE LINE expected")?;
            let node = Node::of(node)?;
            if !node.has_stack() {
                return Err("p has no namespace".into());
            }
            return Ok(match first {
                "ip" => Step::Ip { node, line: line.to_owned() },
                _ => Step::Sysctl { node, setting: line.to_owned() },
            });
        }
        _ => {}
    }
    let node = Node::of(first)?;
    let mut words = rest.split_whitespace();
    let verb = words.next().ok_or("verb expected")?;
    if !node.has_stack() && !matches!(verb, "reply" | "error") {
        return Err(format!("{} has no stack to {verb} with", node.letter()).into());
    }
    let after = rest[verb.len()..].trim().to_owned();
    Ok(match verb {
        "reply" => match after.strip_prefix("to=") {
            Some(rest) => {
                let (to, words) = rest.split_once(' ').unwrap_or((rest, ""));
                Step::Reply { node, words: words.to_owned(), to: Some(Whom::of(to)?) }
            }
            None => Step::Reply { node, words: after, to: None },
        },
        "error" => {
            let kind = words.next().ok_or("TYPE/CODE expected")?.to_owned();
            let (mut from, mut mtu) = (None, 0);
            for w in words {
                match w.split_once('=') {
                    Some(("from", v)) => from = Some(v.parse()?),
                    Some(("mtu", v)) => mtu = v.parse()?,
                    _ => return Err(format!("unknown word {w:?}").into()),
                }
            }
            Step::Error { node, kind, from, mtu }
        }
        "serve" => {
            let tcp = words.next().ok_or("tcp or udp expected")? == "tcp";
            let at = socket_address(words.next().ok_or("ADDRESS:PORT expected")?)?;
            let proxy = words.next().map(|w| number(w.strip_prefix("proxy=").ok_or("proxy=MARK expected")?));
            Step::Serve { node, tcp, at, proxy: proxy.transpose()? }
        }
        "listen" => {
            let tcp = words.next().ok_or("tcp or udp expected")? == "tcp";
            let at = words.next().ok_or("ADDRESS:PORT expected")?;
            let at = match at.split_once(',') {
                Some((addr, port)) => SocketAddr::new(addr.parse()?, port.parse()?),
                None => SocketAddr::V4(socket_address(at)?),
            };
            let proxy = words.next().map(|w| number(w.strip_prefix("proxy=").ok_or("proxy=MARK expected")?));
            Step::Listen { node, tcp, at, proxy: proxy.transpose()? }
        }
        "tcp-get" | "udp-ask" => {
            let from = socket_address(words.next().ok_or("FROM expected")?)?;
            let to = socket_address(words.next().ok_or("TO expected")?)?;
            let (mut request, mut response, mut mark) = (10, 20, 0);
            for w in words {
                match w.split_once('=') {
                    Some(("req", v)) => request = v.parse()?,
                    Some(("resp", v)) => response = v.parse()?,
                    Some(("mark", v)) => mark = number(v)?,
                    _ => return Err(format!("unknown word {w:?}").into()),
                }
            }
            Step::Ask { node, tcp: verb == "tcp-get", from, to, request, response, mark }
        }
        other => return Err(format!("unknown verb {other:?}").into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_read_with_its_options_and_repeats() {
        let all = parse("# x\n### one\n@fresh\n*filter\nCOMMIT\n---\nrepeat 2 c> udp 1.1.1.1:{i} 2.2.2.2:5\nr> mark=0x10 dev=lo udp 1.1.1.1:1 2.2.2.2:5\n").unwrap();
        assert_eq!(all.len(), 1);
        assert!(all[0].fresh);
        assert_eq!(all[0].steps.len(), 3);
        assert_eq!(all[0].steps[1].0, "c> udp 1.1.1.1:1 2.2.2.2:5");
        assert!(matches!(&all[0].steps[2].1, Step::Send { mark: 16, dev: Some(d), .. } if d == "lo"));
    }

    #[test]
    fn a_packet_is_sent_by_whom_it_says_and_a_socket_is_of_its_addresses_family() {
        let step = |text| step_of(text).unwrap();
        let who = Who { uid: 7, gid: 1, groups: vec![5, 6] };
        assert!(
            matches!(step("r> as=7:1,5,6 udp 10.1.0.1:1 10.2.0.10:2"), Step::Send { who: Some(w), .. } if w == who)
        );
        assert!(step_of("c> as=7:1 udp 10.1.0.1:1 10.2.0.10:2").is_err());
        let at = |text| match step(text) {
            Step::Listen { at, .. } => at.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(at("r listen udp fd00:1::1,53 proxy=0"), "[fd00:1::1]:53");
        assert_eq!(at("r listen tcp 10.1.0.1:80"), "10.1.0.1:80");
    }

    #[test]
    fn a_wrong_step_is_an_error_with_its_line() {
        let e = parse("### one\n---\nc frobnicate x\n").unwrap_err().to_string();
        assert!(e.starts_with("line 3:"), "{e}");
    }
}
