//! One set of namespaces: client, router and two servers, with the tools of one implementation.
//!
//! ```text
//! c 10.1.0.2 --- eth0 10.1.0.1 |          | eth1 10.2.0.1 --- s 10.2.0.2
//!                              | router r |
//!                              |          | eth2 10.3.0.1 --- t 10.3.0.2
//!                              |          | tun0 10.4.0.1 --- p (10.4.0.0/24, no Ethernet)
//! ```
//! The end points c, s and t have a stack on .2; .10 to .14 are addresses that only scripted packets use
//! (their stack drops silently what arrives for them), and so is .100, a service address of nobody. All neighbours are permanent, IPv6 is off, ICMP
//! rate limits are off: no packet moves that a scenario did not ask for.

use crate::cli::protocol_numbers;
use crate::netns::Netns;
use crate::sys::{PacketSocket, RawSocket, Tun};
use crate::{Result, sockets, sys};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Which implementation a world's rules run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Legacy iptables and netfilter.
    Legacy,
    /// bpftables.
    Ours,
}

/// Whose packets a world carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// IPv4.
    #[default]
    V4,
    /// IPv6: `fd00:N::` instead of `10.N.0.`, and so `fd00:1::10` and `fd00:1::1`.
    V6,
}

impl Family {
    /// A tool's name in this family.
    pub fn tool(self, name: &str) -> String {
        match self {
            Self::V4 => name.to_owned(),
            Self::V6 => name.replace("iptables", "ip6tables"),
        }
    }
}

/// A namespace of the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// The client, 10.1.0.2.
    C,
    /// The router, where the rules are.
    R,
    /// The first server, 10.2.0.2.
    S,
    /// The second server, 10.3.0.2.
    T,
    /// The far end of the router's tun0 (10.4.0.0/24): no Ethernet, no stack, only scripted packets.
    P,
}

impl Node {
    /// The end points, in the order of the router's devices eth0, eth1, eth2.
    pub const ENDS: [Self; 3] = [Self::C, Self::S, Self::T];

    /// The letter that scenarios use.
    pub fn letter(self) -> char {
        match self {
            Self::C => 'c',
            Self::R => 'r',
            Self::S => 's',
            Self::T => 't',
            Self::P => 'p',
        }
    }

    /// The node of a letter.
    pub fn of(s: &str) -> Result<Self> {
        Ok(match s {
            "c" => Self::C,
            "r" => Self::R,
            "s" => Self::S,
            "t" => Self::T,
            "p" => Self::P,
            _ => return Err(format!("no node is called {s:?} (c, r, s, t, p)").into()),
        })
    }

    fn index(self) -> usize {
        match self {
            Self::C => 0,
            Self::S => 1,
            Self::T => 2,
            Self::R => 3,
            Self::P => 4,
        }
    }

    /// Whether the node has a namespace of its own; the far end of a tun device has none.
    pub fn has_stack(self) -> bool {
        self != Self::P
    }

    /// The MAC address of an end point.
    pub fn mac(self) -> [u8; 6] {
        [2, 0, 0, 0, self.index() as u8 + 1, 2]
    }

    /// The MAC address that a frame bears which goes to this node by a bridge of the router's.
    pub fn bridged_mac(self) -> [u8; 6] {
        if self == Self::R { BRIDGE_MAC } else { self.mac() }
    }

    /// The MAC address of the router's device towards this end point.
    pub fn router_mac(self) -> [u8; 6] {
        [2, 0, 0, 0, self.index() as u8 + 1, 1]
    }
}

/// The link address of a bridge of the router's, where a scenario makes one.
pub const BRIDGE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// The multi-call binary of bpftables; an error that says where it was expected when it is not there.
pub fn our_binary() -> Result<PathBuf> {
    let path = if let Some(p) = std::env::var_os("BPFTABLES_BIN") {
        PathBuf::from(p)
    } else {
        // .../target/debug/deps/test-hash or .../target/debug/scenario
        let exe = std::env::current_exe()?;
        let dir = exe.ancestors().skip(1).find(|d| !d.ends_with("deps")).ok_or("no target directory")?;
        let beside = dir.join("xtables-bpf-multi");
        let release = dir.with_file_name("release").join("xtables-bpf-multi");
        if !beside.exists() && release.exists() { release } else { beside }
    };
    if path.is_file() {
        Ok(std::fs::canonicalize(path)?)
    } else {
        Err(format!(
            "the binary under test is missing: {} (build it with `cargo build -p bpftables`, or set BPFTABLES_BIN)",
            path.display()
        )
        .into())
    }
}

/// A directory with the tools of one implementation under their usual names, and a lock file of its own.
#[derive(Debug)]
pub struct Tools {
    /// Whose tools they are.
    pub kind: Kind,
    /// Where the symbolic links are.
    pub dir: PathBuf,
}

impl Tools {
    /// Links the tools into a fresh directory.
    pub fn new(kind: Kind) -> Result<Self> {
        let binary = match kind {
            Kind::Legacy => PathBuf::from("/usr/sbin/xtables-legacy-multi"),
            Kind::Ours => our_binary()?,
        };
        Self::of(kind, &binary)
    }

    /// Those of legacy 1.8.11, whose multi-call binary `BPFTABLES_LEGACY` names; none if it names nothing.
    pub fn newest_legacy() -> Result<Option<Self>> {
        std::env::var_os("BPFTABLES_LEGACY").map(|binary| Self::of(Kind::Legacy, Path::new(&binary))).transpose()
    }

    fn of(kind: Kind, binary: &Path) -> Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        if !binary.exists() {
            return Err(format!("{} is missing: install the package iptables", binary.display()).into());
        }
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("bpftables-compat-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        for name in
            ["iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"]
        {
            std::os::unix::fs::symlink(binary, dir.join(name))?;
        }
        if kind == Kind::Ours {
            for name in ["bpftables", "bpftablesd"] {
                std::os::unix::fs::symlink(binary, dir.join(name))?;
            }
        }
        Ok(Self { kind, dir })
    }

    /// A command of this implementation, by its usual name.
    pub fn command(&self, name: &str) -> Command {
        let mut c = Command::new(self.dir.join(name));
        c.env("XTABLES_LOCKFILE", self.lock_file()).current_dir("/").env_remove("RUST_BACKTRACE");
        c
    }

    /// The xtables lock file of these tools: parallel tests must not wait for each other.
    pub fn lock_file(&self) -> PathBuf {
        self.dir.join("xtables.lock")
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The namespaces of one topology with their captures.
#[derive(Debug)]
pub struct World {
    /// Servers that scenarios started; first, so that they end before the namespaces do.
    pub servers: Vec<sockets::Server>,
    /// Sockets that scenarios have, likewise.
    pub sockets: Vec<OwnedFd>,
    /// The tools of the implementation under test.
    pub tools: Tools,
    /// What the end points c, s, t receive.
    pub taps: Vec<PacketSocket>,
    /// The far end of the router's tun0.
    pub tun: Tun,
    /// What the router's INPUT hook lets through.
    pub delivered: Vec<RawSocket>,
    /// Sets were made.
    sets: bool,
    /// Whose packets it carries.
    pub family: Family,
    /// Its router's devices are members of a VRF.
    pub vrf: bool,
    /// Sends from the router's eth0 what says that everything before it has passed.
    pub herald: PacketSocket,
    nets: Vec<Netns>,
}

/// IP protocols whose local delivery on the router is observed.
pub const DELIVERED: [u8; 7] = [1, 6, 17, 47, 132, 253, 50];

/// IPv6 that says nothing by itself: no detection of duplicates, no solicitations, no reports of groups.
const SILENT: [&str; 9] = [
    "net/ipv6/conf/all/accept_dad=0",
    "net/ipv6/conf/default/accept_dad=0",
    "net/ipv6/conf/all/router_solicitations=0",
    "net/ipv6/conf/default/router_solicitations=0",
    "net/ipv6/conf/default/mldv2_unsolicited_report_interval=100000000",
    "net/ipv6/conf/default/mldv1_unsolicited_report_interval=100000000",
    "net/ipv6/auto_flowlabels=0",
    "net/ipv6/icmp/ratelimit=0",
    "?net/ipv6/conf/default/addr_gen_mode=1",
];

impl World {
    /// Builds the topology of IPv4 on one CPU.
    pub fn new(kind: Kind, cpu: usize) -> Result<Self> {
        Self::of(kind, Family::V4, cpu)
    }

    /// Builds the topology of a family on one CPU.
    pub fn of(kind: Kind, family: Family, cpu: usize) -> Result<Self> {
        Self::with(kind, family, false, cpu)
    }

    /// Builds the topology of a family on one CPU; with `vrf`, all devices of the router are members of a VRF `blue`, and what the router
    /// sends goes by the VRF's routes.
    pub fn with(kind: Kind, family: Family, vrf: bool, cpu: usize) -> Result<Self> {
        let tools = Tools::new(kind)?;
        let nets = (0..4).map(|_| Netns::new(cpu)).collect::<Result<Vec<_>>>()?;
        for n in &nets {
            match family {
                Family::V4 => {
                    n.sysctls(&["?net/ipv6/conf/all/disable_ipv6=1", "?net/ipv6/conf/default/disable_ipv6=1"])?
                }
                Family::V6 => n.sysctls(&SILENT)?,
            }
            n.sysctls(&[
                "net/ipv4/conf/all/rp_filter=0",
                "net/ipv4/conf/default/rp_filter=0",
                "net/ipv4/conf/all/send_redirects=0",
                "net/ipv4/conf/default/send_redirects=0",
                "net/ipv4/icmp_ratemask=0",
                "net/ipv4/icmp_ratelimit=0",
                "?net/ipv4/icmp_msgs_per_sec=1000000",
                "?net/ipv4/icmp_msgs_burst=100000",
                "net/ipv4/tcp_timestamps=0",
                "net/ipv4/tcp_sack=0",
                "net/ipv4/tcp_window_scaling=0",
                "net/ipv4/tcp_ecn=0",
                "net/ipv4/icmp_echo_ignore_broadcasts=0",
            ])?;
        }
        let r = &nets[Node::R.index()];
        let tun = r.run(|| Tun::create("tun0")).map_err(|e| format!("cannot make a tun device: {e}"))?;
        let mut lines = String::from("link set lo up\nlink set tun0 up\n");
        for (i, n) in Node::ENDS.into_iter().enumerate() {
            lines += &format!(
                "link add eth{i} address {} type veth peer name eth0 address {} netns {}\n\
                 link set eth{i} up\n",
                mac(n.router_mac()),
                mac(n.mac()),
                nets[n.index()].path()
            );
        }
        r.ip_batch(&lines)?;
        for n in Node::ENDS {
            let k = n.index() + 1;
            let router = mac(n.router_mac());
            nets[n.index()].ip_batch(&match family {
                Family::V4 => format!(
                    "link set lo up\nlink set eth0 up\naddr add 10.{k}.0.2/32 dev eth0\n\
                     neigh replace 10.{k}.0.1 lladdr {router} dev eth0 nud permanent\n\
                     route add default via 10.{k}.0.1 dev eth0 onlink\n"
                ),
                Family::V6 => format!(
                    "link set lo up\nlink set eth0 up\naddr add fd00:{k}::2/128 dev eth0 nodad\n\
                     neigh replace fd00:{k}::1 lladdr {router} dev eth0 nud permanent\n\
                     route add default via fd00:{k}::1 dev eth0 onlink\n"
                ),
            })?;
        }
        if vrf {
            r.sysctls(&[
                "net/ipv4/ip_nonlocal_bind=1",
                "net/ipv6/ip_nonlocal_bind=1",
                "net/ipv4/tcp_l3mdev_accept=1",
                "net/ipv4/udp_l3mdev_accept=1",
                "net/ipv4/raw_l3mdev_accept=1",
            ])?;
            r.ip_batch(
                "link add blue type vrf table 5\nlink set blue up\n\
                 link set eth0 master blue\nlink set eth1 master blue\nlink set eth2 master blue\nlink set tun0 master blue\n",
            )?;
            r.ip_batch(if family == Family::V6 {
                "-6 rule add iif lo lookup 5\n"
            } else {
                "rule add iif lo lookup 5\n"
            })?;
        }
        r.wait_running(&["eth0", "eth1", "eth2", "tun0"])?;
        for n in Node::ENDS {
            nets[n.index()].wait_running(&["eth0"])?;
        }
        // Addresses come after both ends of the links are up, lest a route be missing.
        r.ip_batch(&match family {
            Family::V4 => addresses(vrf),
            Family::V6 => addresses6(vrf),
        })?;
        match family {
            Family::V4 => r.sysctls(&["net/ipv4/ip_forward=1"])?,
            Family::V6 => {
                r.sysctls(&["net/ipv6/conf/all/forwarding=1"])?;
                // What devices say of themselves when they come up is said before there are rules.
                std::thread::sleep(std::time::Duration::from_millis(1000));
            }
        }
        r.sysctls(&["?net/netfilter/nf_conntrack_tcp_loose=1"])?;
        let mut taps = Vec::new();
        for n in Node::ENDS {
            taps.push(nets[n.index()].run(|| PacketSocket::open("eth0"))?);
        }
        let v6 = family == Family::V6;
        let delivered = r.run(move || {
            let all = DELIVERED.into_iter().map(|n| if v6 && n == 1 { 58 } else { n });
            all.map(|n| RawSocket::receiver(v6, n)).collect::<std::io::Result<Vec<_>>>()
        })?;
        let herald = r.run(|| PacketSocket::open("eth0"))?;
        Ok(Self {
            servers: Vec::new(),
            sockets: Vec::new(),
            sets: false,
            tools,
            taps,
            tun,
            delivered,
            family,
            vrf,
            herald,
            nets,
        })
    }

    /// The namespace of a node that has one ([`Node::has_stack`]).
    pub fn net(&self, node: Node) -> &Netns {
        &self.nets[node.index()]
    }

    /// Runs one of the implementation's commands on the router.
    pub fn tool(&self, name: &str, args: &[&str], stdin: &str) -> Result<Output> {
        let mut c = self.tools.command(name);
        c.args(args);
        self.net(Node::R).command(c, stdin.as_bytes())
    }

    /// Runs ipset(8) on the router with each line; what fails is told.
    pub fn ipset(&mut self, lines: &[String]) -> Result<Vec<String>> {
        self.sets = true;
        self.net(Node::R).ipset(lines)
    }

    /// Loads rules with `iptables-restore`; a refusal is an error.
    pub fn restore(&self, rules: &str, args: &[&str]) -> Result<()> {
        let out = self.tool(&self.family.tool("iptables-restore"), args, rules)?;
        if out.status.success() {
            return Ok(());
        }
        let err = String::from_utf8_lossy(&out.stderr);
        Err(format!("iptables-restore ({:?}) said {}: {err}", self.tools.kind, out.status).into())
    }

    /// `iptables-save -c` without its comment lines (they carry dates and the version).
    pub fn save(&self) -> Result<String> {
        let out = self.tool(&self.family.tool("iptables-save"), &["-c"], "")?;
        if !out.status.success() {
            let err = String::from_utf8_lossy(&out.stderr);
            return Err(format!("iptables-save ({:?}) said {}: {err}", self.tools.kind, out.status).into());
        }
        let text = String::from_utf8_lossy(&out.stdout);
        Ok(text.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{}\n", protocol_numbers(l))).collect())
    }

    /// Empties all tables in use, sets their policies to ACCEPT and forgets all connections.
    pub fn reset(&mut self) -> Result<()> {
        self.servers.clear();
        self.sockets.clear();
        let mut rules = String::new();
        for line in self.save()?.lines() {
            if line.starts_with('*') || line == "COMMIT" {
                rules += &format!("{line}\n");
            } else if let Some(chain) = line.strip_prefix(':')
                && let Some((name, policy)) = chain.split_once(' ')
                && !policy.starts_with('-')
            {
                rules += &format!(":{name} ACCEPT [0:0]\n");
            }
        }
        // Each save prints the table initialised last first; loading in that order changes nothing.
        if !rules.is_empty() {
            self.restore(&rules, &[])?;
        }
        if std::mem::take(&mut self.sets) {
            let said = self.net(Node::R).ipset(&["flush".to_owned(), "destroy".to_owned()])?;
            if !said.is_empty() {
                return Err(format!("cannot remove sets: {}", said.join(", ")).into());
            }
        }
        self.forget_connections()
    }

    /// Flushes the table of connections.
    pub fn forget_connections(&self) -> Result<()> {
        if self.tools.kind == Kind::Legacy {
            // As `conntrack -F`.
            return Ok(self
                .net(Node::R)
                .run(sys::flush_conntrack)
                .map_err(|e| format!("cannot forget connections: {e}"))?);
        }
        let out = self.tool("bpftables", &["conntrack", "flush"], "")?;
        if !out.status.success() {
            return Err(format!("cannot forget connections: {}", String::from_utf8_lossy(&out.stderr)).into());
        }
        Ok(())
    }
}

/// The hosts behind each of the router's devices that have a neighbour's entry there.
const HOSTS: [u8; 7] = [2, 10, 11, 12, 13, 14, 100];

/// Where the router's own routes are.
const fn table(vrf: bool) -> &'static str {
    if vrf { "vrf blue" } else { "" }
}

fn addresses(vrf: bool) -> String {
    let mut lines = String::new();
    for (i, n) in Node::ENDS.into_iter().enumerate() {
        let k = i + 1;
        lines += &format!("addr add 10.{k}.0.1/24 brd + dev eth{i}\n");
        for host in HOSTS {
            lines += &format!("neigh replace 10.{k}.0.{host} lladdr {} dev eth{i} nud permanent\n", mac(n.mac()));
        }
    }
    lines += "addr add 10.4.0.1/24 dev tun0\n";
    for route in [
        "192.0.2.0/24 via 10.2.0.10",
        "198.51.100.0/24 via 10.3.0.10",
        "unreachable 203.0.113.0/26",
        "prohibit 203.0.113.64/26",
        "blackhole 203.0.113.128/26",
    ] {
        lines += &format!("route add {} {route}\n", table(vrf));
    }
    lines
}

fn addresses6(vrf: bool) -> String {
    let mut lines = String::new();
    for (i, n) in Node::ENDS.into_iter().enumerate() {
        let k = i + 1;
        lines += &format!("addr add fd00:{k}::1/64 dev eth{i} nodad\n");
        // The last one is made from the link address, as `-m eui64` wants it.
        let eui64 = format!("ff:fe00:{:x}", u16::from_be_bytes([n.mac()[4], n.mac()[5]]));
        for host in HOSTS.map(|n| n.to_string()).into_iter().chain([eui64]) {
            lines += &format!("neigh replace fd00:{k}::{host} lladdr {} dev eth{i} nud permanent\n", mac(n.mac()));
        }
    }
    lines += "addr add fd00:4::1/64 dev tun0 nodad\n";
    // The last one is for what NPT makes of others' addresses; whoever answers there gets an answer.
    for route in ["2001:db8:2::/48 via fd00:2::10", "2001:db8:3::/48 via fd00:3::10", "fd00:7::/48 via fd00:3::10"] {
        lines += &format!("route add {} {route}\n", table(vrf));
    }
    lines
}

impl Drop for World {
    fn drop(&mut self) {
        self.servers.clear();
        self.sockets.clear();
        if self.tools.kind == Kind::Ours {
            // The namespace's hooks and pins go before the namespace does.
            let _ = self.tool("bpftables", &["uninstall-hooks"], "");
        }
    }
}

fn mac(m: [u8; 6]) -> String {
    m.map(|b| format!("{b:02x}")).join(":")
}

/// The folder of real input that accompanies the project, from `BPFTABLES_CORPUS` or beside the checkout.
pub fn corpus() -> Result<PathBuf> {
    let path = match std::env::var_os("BPFTABLES_CORPUS") {
        Some(p) => PathBuf::from(p),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
    };
    if path.join("kube-proxy").is_dir() {
        Ok(path)
    } else {
        Err(format!("the corpus is not at {} (set BPFTABLES_CORPUS)", path.display()).into())
    }
}
