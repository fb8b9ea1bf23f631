//! Policies of IPsec and packets that rules translate, or answer: what a policy stops as it is outside goes no further, as in legacy. (What IPsec
//! wraps and unwraps is tried in a stock kernel: kernels.rs.) Needs root, ip(8) and the binary under test.

use bpftables_compat_tests::world::{Family, Kind, Node, World};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// How long a packet is waited for that is to come, and one that is not.
const PATIENCE: Duration = Duration::from_secs(5);
const MOMENT: Duration = Duration::from_millis(150);

/// Rules and a packet. `@N.H` is an address of the family.
struct Case {
    what: &'static str,
    rules: &'static str,
    /// Who sends to where, and who is to get it at its address of that network.
    from: Node,
    to: &'static str,
    by: (Node, &'static str),
    /// What is to come back to the sender.
    back: Back,
    /// A policy that stops the packet or its answer: direction, source, destination.
    policy: (&'static str, &'static str, &'static str),
}

#[derive(PartialEq, Eq)]
enum Back {
    Nothing,
    Answer,
    Refusal,
}

const CASES: [Case; 5] = [
    Case {
        what: "a source that is translated on its way out",
        rules: "*nat\n-A POSTROUTING -p udp -d @2.2 -j SNAT --to-source @2.1\nCOMMIT\n",
        from: Node::C,
        to: "@2.2",
        by: (Node::S, "@2.2"),
        back: Back::Nothing,
        policy: ("out", "@2.1", "@2.2"),
    },
    Case {
        what: "a destination that is translated on its way in",
        rules: "*nat\n-A PREROUTING -p udp -d @1.1 -j DNAT --to-destination @2.2\nCOMMIT\n",
        from: Node::C,
        to: "@1.1",
        by: (Node::S, "@2.2"),
        back: Back::Nothing,
        policy: ("fwd", "@1.2", "@1.1"),
    },
    Case {
        what: "a destination that is translated where it is sent",
        rules: "*nat\n-A OUTPUT -p udp -d @3.2 -j DNAT --to-destination @2.2\nCOMMIT\n",
        from: Node::R,
        to: "@3.2",
        by: (Node::S, "@2.2"),
        back: Back::Nothing,
        policy: ("out", "@3.1", "@2.2"),
    },
    Case {
        what: "an answer to that",
        rules: "*nat\n-A OUTPUT -p udp -d @3.2 -j DNAT --to-destination @2.2\nCOMMIT\n",
        from: Node::R,
        to: "@3.2",
        by: (Node::S, "@2.2"),
        back: Back::Answer,
        policy: ("in", "@2.2", "@3.1"),
    },
    Case {
        what: "REJECT's answer",
        rules: "*filter\n-A INPUT -p udp -j REJECT\nCOMMIT\n",
        from: Node::C,
        to: "@1.1",
        by: (Node::R, "@1.1"),
        back: Back::Refusal,
        policy: ("out", "@1.1", "@1.2"),
    },
];

fn addrs(text: &str, family: Family) -> String {
    let mut parts = text.split('@');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (net, rest) = part.split_once('.').expect("a network and a host");
        out += &match family {
            Family::V4 => format!("10.{net}.0.{rest}"),
            Family::V6 => format!("fd00:{net}::{rest}"),
        };
    }
    out
}

impl Case {
    /// Whether the case's last packet arrives; `stopped`: it is not expected to.
    fn holds(&self, world: &World, port: u16, stopped: bool) -> bool {
        let last = Some(if stopped { MOMENT } else { PATIENCE });
        let at = |text: &str, port| SocketAddr::new(addrs(text, world.family).parse().expect("an address"), port);
        let bind = |node, at| world.net(node).run(move || UdpSocket::bind(at)).expect("a socket");
        let any = if world.family == Family::V4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let sender = bind(self.from, SocketAddr::new(any, 0));
        sender.set_read_timeout(last).expect("a timeout");
        if self.back == Back::Refusal {
            sender.connect(at(self.to, port)).expect("an address");
            sender.send(b"x").expect("sent");
            return sender.recv(&mut [0; 8]).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused);
        }
        let receiver = bind(self.by.0, at(self.by.1, port));
        receiver.set_read_timeout(if self.back == Back::Answer { Some(PATIENCE) } else { last }).expect("a timeout");
        // Legacy tells the sender of what goes no further.
        let _ = sender.send_to(b"x", at(self.to, port));
        let came = receiver.recv_from(&mut [0; 8]);
        if self.back == Back::Nothing {
            return came.is_ok();
        }
        receiver.send_to(b"y", came.expect("what is to be answered arrives").1).expect("sent");
        sender.recv(&mut [0; 8]).is_ok()
    }
}

fn ip(world: &World, line: &str) {
    world.net(Node::R).ip_batch(&format!("{}\n", addrs(line, world.family))).expect("ip(8)");
}

fn dropped(world: &World) -> u64 {
    let out = world.tool("bpftables", &["status"], "").expect("the tool can be run");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.lines().filter_map(|line| line.split_once("drop_ipsec ")?.1.split(':').next()?.parse::<u64>().ok()).sum()
}

fn policies_stop(family: Family) {
    for kind in [Kind::Legacy, Kind::Ours] {
        let mut world = World::of(kind, family, 0).expect("a world");
        for (case, port) in CASES.iter().zip((1000..).step_by(10)) {
            world.reset().expect("a reset");
            world.restore(&addrs(case.rules, family), &[]).expect("rules");
            let (dir, src, dst) = case.policy;
            let policy = |what: &str, src: &str, more: &str| {
                ip(&world, &format!("xfrm policy {what} src {src} dst {dst} {more} dir {dir} action block"));
            };
            assert!(case.holds(&world, port, false), "{kind:?}, {}: without a policy", case.what);
            // Policies of other addresses, of an xfrm device, and of a mark, as a VTI's.
            policy("add", "@9.9", "");
            policy("add", src, "if_id 9");
            policy("add", src, "mark 9");
            assert!(case.holds(&world, port + 1, false), "{kind:?}, {}: with other policies", case.what);
            policy("add", src, "");
            let before = if kind == Kind::Ours { dropped(&world) } else { 0 };
            assert!(!case.holds(&world, port + 2, true), "{kind:?}, {}: a policy stops it", case.what);
            // An answer is routed by the kernel, which asks policies that stop it before our program does.
            if kind == Kind::Ours && case.back != Back::Refusal {
                assert_eq!(dropped(&world), before + 1, "{}", case.what);
            }
            ip(&world, "xfrm policy flush");
            assert!(case.holds(&world, port + 3, false), "{kind:?}, {}: the policy went", case.what);
        }
    }
}

#[test]
fn policies_stop_what_rules_translate_in_ipv4() {
    policies_stop(Family::V4);
}

#[test]
fn policies_stop_what_rules_translate_in_ipv6() {
    policies_stop(Family::V6);
}

#[test]
fn a_command_that_begins_with_rules_and_the_status_tell_of_policies() {
    let by = "tmpl src @1.1 dst @1.2 proto esp reqid 1 mode";
    for tells in [None, Some(true)] {
        let world = World::new(Kind::Ours, 0).expect("a world");
        // That of an xfrm device is no matter, nor one of the other family, nor a tunnel's way in.
        ip(&world, &format!("xfrm policy add src @1.1 dst @1.2 dir out if_id 9 {by} tunnel"));
        ip(
            &world,
            "xfrm policy add src fd00::1 dst fd00::2 dir out tmpl src fd00::1 dst fd00::2 proto esp mode transport",
        );
        ip(&world, &format!("xfrm policy add src @1.2 dst @1.1 dir in {by} tunnel"));
        if tells.is_some() {
            ip(&world, &format!("xfrm policy add src @1.1 dst @1.2 dir out {by} tunnel"));
            ip(&world, &format!("xfrm policy add src @1.2 dst @1.9 dir in {by} transport"));
        }
        let said = || {
            let out = world.tool("iptables", &["-A", "INPUT", "-j", "ACCEPT"], "").expect("the tool can be run");
            assert!(out.status.success());
            String::from_utf8_lossy(&out.stderr).contains("2 policies of IPsec are in force")
        };
        assert_eq!(said(), tells.is_some());
        assert!(!said(), "by the first rule alone");
        let out = world.tool("bpftables", &["status"], "").expect("the tool can be run");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let told = text.lines().find(|line| line.starts_with("IPsec ")).map(|line| line.contains(" 2 policies"));
        assert_eq!(told, tells);
    }
}
