//! IPsec in a stock kernel: what it unwraps and wraps, beside legacy.
//!
//! ```text
//! a 1.1 --- e0 1.2 g 2.2 e1 --- 2.1 b      10.N.0. or fd00:N::
//! ```
//! The rules are at g. A packet's destination port tells which way it goes.

use bpftables_compat_tests::netns::Netns;
use bpftables_compat_tests::world::{Family, Kind, Tools};
use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

const ESP: &str = "enc cbc(aes) 0x00112233445566778899aabbccddeeff auth hmac(sha256) \
                   0x00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// A packet that arrives does so by then, even in an emulated machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one is waited for that was counted as dropped.
const MOMENT: Duration = Duration::from_millis(50);

/// Which host sends, from where, to which host and address, and the port.
type Way = (usize, (u32, u32), usize, (u32, u32), u16);

const A: usize = 0;
const G: usize = 1;
const B: usize = 2;
/// By a tunnel, to be forwarded; and to g itself.
const TUNNEL_ON: Way = (A, (7, 1), B, (2, 1), 101);
const TUNNEL_HERE: Way = (A, (7, 1), G, (7, 2), 102);
/// A rule that asks for IPsec drops it.
const TUNNEL_DROPPED: Way = (A, (7, 1), B, (2, 1), 109);
/// To be wrapped in transport mode, or by a tunnel.
const TRANSPORT_IN: Way = (A, (1, 3), G, (1, 4), 103);
const TRANSPORT_OUT: Way = (G, (1, 6), A, (1, 5), 104);
const TUNNEL_OUT: Way = (B, (2, 1), A, (8, 1), 105);
/// By an xfrm device, and back.
const DEVICE_IN: Way = (A, (6, 1), G, (6, 2), 106);
const DEVICE_OUT: Way = (G, (6, 2), A, (6, 1), 106);
const DEVICE_ON: Way = (B, (2, 1), A, (6, 1), 107);
/// By a VTI.
const VTI_IN: Way = (A, (9, 1), G, (9, 2), 108);
const VTI_OUT: Way = (G, (9, 2), A, (9, 1), 108);
/// As a key exchange, which policies let by.
const IKE_IN: Way = (A, (1, 3), G, (1, 4), 500);
const IKE_OUT: Way = (G, (1, 4), A, (1, 3), 500);

struct Hosts {
    family: Family,
    nets: [Netns; 3],
}

impl Hosts {
    fn addr(&self, (net, host): (u32, u32)) -> String {
        match self.family {
            Family::V4 => format!("10.{net}.0.{host}"),
            Family::V6 => format!("fd00:{net}::{host}"),
        }
    }

    /// One address alone.
    fn host(&self, at: (u32, u32)) -> String {
        format!("{}/{}", self.addr(at), if self.family == Family::V4 { 32 } else { 128 })
    }

    fn new(family: Family) -> Self {
        let nets = [0; 3].map(|cpu| Netns::new(cpu).expect("a namespace"));
        let hosts = Self { family, nets };
        let [a, g, b] = &hosts.nets;
        g.ip_batch(&format!(
            "link add e0 type veth peer name e0 netns {}\nlink add e1 type veth peer name e0 netns {}\n",
            a.path(),
            b.path()
        ))
        .expect("pairs");
        // An IPv6 address that is looked for elsewhere first could not be used at once.
        let len = if family == Family::V4 { "/24" } else { "/64 nodad" };
        let mut lines = [const { String::new() }; 3];
        for (host, devices) in [(A, &["e0"][..]), (G, &["e0", "e1"]), (B, &["e0"])] {
            for device in ["lo"].iter().chain(devices) {
                let _ = writeln!(lines[host], "link set {device} up");
            }
        }
        for (host, device, at) in [
            (A, "e0", (1, 1)),
            (A, "e0", (1, 3)),
            (A, "e0", (1, 5)),
            (A, "e0", (1, 7)),
            (A, "lo", (7, 1)),
            (A, "lo", (8, 1)),
            (G, "e0", (1, 2)),
            (G, "e0", (1, 4)),
            (G, "e0", (1, 6)),
            (G, "e0", (1, 8)),
            (G, "lo", (7, 2)),
            (G, "e1", (2, 2)),
            (B, "e0", (2, 1)),
        ] {
            let _ = writeln!(lines[host], "addr add {}{len} dev {device}", hosts.addr(at));
        }
        for (host, to, by) in
            [(A, (2, 0), (1, 2)), (A, (7, 2), (1, 2)), (B, (0, 0), (2, 2)), (G, (8, 1), (1, 1)), (G, (7, 1), (1, 1))]
        {
            let to = match to {
                (0, 0) => "default".to_owned(),
                (2, 0) => hosts.addr((2, 1)),
                to => hosts.addr(to),
            };
            let _ = writeln!(lines[host], "route add {to} via {}", hosts.addr(by));
        }
        for (net, lines) in hosts.nets.iter().zip(&lines) {
            net.ip_batch(lines).expect("addresses");
        }
        g.sysctls(&["net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1"]).expect("forwarding");
        hosts
    }

    /// What makes IPsec of the ways above.
    fn protect(&self) {
        let mut lines = [const { String::new() }; 3];
        let at = |host| self.addr(host);
        let (near, far) = (at((1, 1)), at((1, 2)));
        // A VTI takes all that is wrapped between its addresses.
        let (near_vti, far_vti) = (at((1, 7)), at((1, 8)));
        // From, to, SPI, reqid, mode, and what is more.
        for (from, to, spi, reqid, mode, more) in [
            (&near, &far, 0x101, 11, "tunnel", ""),
            (&far, &near, 0x104, 14, "tunnel", ""),
            (&at((1, 3)), &at((1, 4)), 0x102, 12, "transport", ""),
            (&at((1, 6)), &at((1, 5)), 0x103, 13, "transport", ""),
            (&near, &far, 0x105, 15, "tunnel", "if_id 9"),
            (&far, &near, 0x106, 15, "tunnel", "if_id 9"),
            (&near_vti, &far_vti, 0x107, 16, "tunnel", "mark 8"),
            (&far_vti, &near_vti, 0x108, 16, "tunnel", "mark 8"),
        ] {
            for host in [A, G] {
                let _ = writeln!(
                    lines[host],
                    "xfrm state add src {from} dst {to} proto esp spi {spi} reqid {reqid} mode {mode} {ESP} {more}"
                );
            }
        }
        let mut policy =
            |host: usize, dir: &str, from: &str, to: &str, more: &str, by: Option<(&str, &str, u32, &str)>| {
                let template = by.map_or(String::new(), |(src, dst, reqid, mode)| {
                    format!(" priority 9 tmpl src {src} dst {dst} proto esp reqid {reqid} mode {mode}")
                });
                let _ = writeln!(lines[host], "xfrm policy add src {from} dst {to} {more} dir {dir}{template}");
            };
        let one = |host| self.host(host);
        let all = if self.family == Family::V4 { "0.0.0.0/0" } else { "::/0" };
        let tunnel = Some((&*near, &*far, 11, "tunnel"));
        for to in [one((2, 1)), one((7, 2))] {
            policy(A, "out", &one((7, 1)), &to, "", tunnel);
            policy(G, "in", &one((7, 1)), &to, "", tunnel);
            policy(G, "fwd", &one((7, 1)), &to, "", tunnel);
        }
        let back = Some((&*far, &*near, 14, "tunnel"));
        policy(G, "out", &one((2, 1)), &one((8, 1)), "", back);
        policy(A, "in", &one((2, 1)), &one((8, 1)), "", back);
        for (from, to, (src, dst), reqid) in [(A, G, ((1, 3), (1, 4)), 12), (G, A, ((1, 6), (1, 5)), 13)] {
            let (from_addr, to_addr) = (at(src), at(dst));
            let by = Some((&*from_addr, &*to_addr, reqid, "transport"));
            policy(from, "out", &one(src), &one(dst), "", by);
            policy(to, "in", &one(src), &one(dst), "", by);
        }
        for (here, there, out, back) in [(A, G, (1, 3), (1, 4)), (G, A, (1, 4), (1, 3))] {
            policy(here, "out", &one(out), &one(back), "proto udp dport 500 priority 1", None);
            policy(there, "in", &one(out), &one(back), "proto udp dport 500 priority 1", None);
        }
        for (more, reqid, near, far) in [("if_id 9", 15, &near, &far), ("mark 8", 16, &near_vti, &far_vti)] {
            for (host, src, dst) in [(A, near, far), (G, far, near)] {
                policy(host, "out", all, all, more, Some((src, dst, reqid, "tunnel")));
                policy(host, "in", all, all, more, Some((dst, src, reqid, "tunnel")));
                policy(host, "fwd", all, all, more, Some((dst, src, reqid, "tunnel")));
            }
        }
        let (vti, len) = if self.family == Family::V4 { ("vti", "/24") } else { ("vti6", "/64 nodad") };
        for (host, number, local, remote) in [(A, 1, &near_vti, &far_vti), (G, 2, &far_vti, &near_vti)] {
            let _ = writeln!(
                lines[host],
                "link add x0 type xfrm dev e0 if_id 9\nlink set x0 up\naddr add {}{len} dev x0\n\
                 link add v0 type {vti} local {local} remote {remote} key 8\nlink set v0 up\naddr add {}{len} dev v0",
                at((6, number)),
                at((9, number)),
            );
        }
        for (net, lines) in self.nets.iter().zip(&lines) {
            net.ip_batch(lines).expect("IPsec");
        }
    }

    fn socket(&self, host: usize, at: (u32, u32), port: u16) -> UdpSocket {
        let at = SocketAddr::new(self.addr(at).parse().expect("an address"), port);
        self.nets[host].run(move || UdpSocket::bind(at)).expect("a socket")
    }

    /// Sends a datagram and waits for it.
    fn arrives(&self, (from, src, to, dst, port): Way, patience: Duration, sent: impl FnOnce()) -> bool {
        let sender = self.socket(from, src, 0);
        let receiver = self.socket(to, dst, port);
        receiver.set_read_timeout(Some(patience)).expect("a timeout");
        // What the guard drops at POSTROUTING is said to be forbidden.
        let _ = sender.send_to(b"x", (&*self.addr(dst), port));
        sent();
        receiver.recv(&mut [0; 8]).is_ok()
    }

    fn run(&self, tools: &Tools, name: &str, args: &[&str], input: &str) -> String {
        let mut command = tools.command(name);
        command.args(args);
        let out = self.nets[G].command(command, input.as_bytes()).expect("the tool can be run");
        assert!(out.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    fn dropped(&self, tools: &Tools) -> u64 {
        let status = self.run(tools, "bpftables", &["status"], "");
        let count =
            status.lines().filter_map(|line| line.split_once("drop_ipsec ")?.1.split(':').next()?.parse::<u64>().ok());
        count.sum()
    }

    fn rules(&self) -> String {
        let (tunnel, other) = (self.host((1, 1)), self.host((1, 9)));
        let parts = [
            "--reqid 11",
            "--spi 0x101",
            "--proto esp",
            "--mode tunnel",
            "--reqid 12",
            "--spi 0x01010000",
            "--spi 0x102",
            "--proto ah",
            "--mode transport",
        ];
        let mut elements: Vec<String> =
            parts.iter().flat_map(|part| [(*part).to_owned(), format!("! {part}")]).collect();
        for addr in [&tunnel, &other] {
            elements.extend(["", "! "].map(|not| format!("--mode tunnel {not}--tunnel-src {addr}")));
            elements.extend(["", "! "].map(|not| format!("--mode tunnel {not}--tunnel-dst {addr}")));
        }
        elements.extend(["--strict --reqid 11".to_owned(), String::new()]);
        let mut text = "*raw\n".to_owned();
        for pol in ["ipsec", "none"] {
            let _ = writeln!(
                text,
                "-A PREROUTING -p udp -m multiport --dports 101,102,106,108,109,500 -m policy --dir in --pol {pol}"
            );
        }
        text += "COMMIT\n*filter\n";
        for (chain, port) in [("INPUT", 102), ("FORWARD", 101)] {
            for element in &elements {
                let _ =
                    writeln!(text, "-A {chain} -p udp -m udp --dport {port} -m policy --dir in --pol ipsec {element}");
            }
        }
        for chain in ["INPUT -i", "FORWARD -o", "OUTPUT -o"] {
            for device in ["x0", "v0"] {
                let _ = writeln!(text, "-A {chain} {device} -p udp");
            }
        }
        text += "-A FORWARD -p udp -m udp --dport 109 -m policy --dir in --pol ipsec -j DROP\n-A FORWARD -m policy --dir out --pol none -p udp -m udp --dport 101\n";
        text + "-A INPUT -p udp -m udp --dport 500 -m policy --dir in --pol none\n-A OUTPUT -p udp -m udp --dport 500\nCOMMIT\n"
    }
}

/// What g's rules counted of what arrives.
fn observe(kind: Kind, family: Family) -> String {
    let tools = Tools::new(kind).expect("the tools");
    let hosts = Hosts::new(family);
    hosts.protect();
    let restore = family.tool("iptables-restore");
    hosts.run(&tools, &restore, &[], &hosts.rules());
    for way in [TUNNEL_ON, TUNNEL_HERE, DEVICE_IN, DEVICE_OUT, DEVICE_ON, VTI_IN, VTI_OUT, IKE_IN, IKE_OUT] {
        assert!(hosts.arrives(way, PATIENCE, || ()), "{kind:?}, {family:?}: {way:?} passes");
    }
    let save = family.tool("iptables-save");
    let counted = || {
        hosts.run(&tools, &save, &["-c"], "").lines().any(|line| line.starts_with("[1:") && line.ends_with("-j DROP"))
    };
    let dropped = || super::eventually("the rule drops it", counted);
    assert!(!hosts.arrives(TUNNEL_DROPPED, MOMENT, dropped), "a rule drops what came by IPsec");
    let saved = hosts.run(&tools, &save, &["-c"], "");
    let unseen = [TRANSPORT_IN, TRANSPORT_OUT, TUNNEL_OUT];
    if kind == Kind::Ours {
        for way in unseen {
            let before = hosts.dropped(&tools);
            let counted = || super::eventually("it is counted", || hosts.dropped(&tools) > before);
            assert!(!hosts.arrives(way, MOMENT, counted), "{way:?} passes, and met no rule");
        }
        // Nothing is asked any more.
        hosts.run(&tools, &restore, &[], "*raw\nCOMMIT\n*filter\nCOMMIT\n");
    }
    for way in unseen {
        assert!(hosts.arrives(way, PATIENCE, || ()), "{way:?} passes where no rule is");
    }
    if kind == Kind::Ours {
        hosts.run(&tools, "bpftables", &["uninstall-hooks"], "");
    }
    saved.lines().filter(|line| line.starts_with('[')).map(|line| format!("{line}\n")).collect()
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_what_ipsec_unwraps_is_filtered_as_by_legacy_or_not_let_pass() {
    super::load_modules();
    for family in [Family::V4, Family::V6] {
        assert_eq!(observe(Kind::Ours, family), observe(Kind::Legacy, family));
    }
}
