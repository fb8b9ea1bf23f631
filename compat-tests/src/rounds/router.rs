//! The routers of rounds: what a world's has besides, and what a round adds.

use super::draw::Draw;
use super::pools::{end, host};
use super::sets;
use crate::world::{BRIDGE_MAC, Family};

/// How a router hands on what it forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Router {
    /// From device to device, where our programs may.
    Direct,
    /// All up the stack. Its rules of routing take what TPROXY marks.
    Climbing,
    /// Between c and s by a bridge that shows the rules what it hands on, `br0`, which has the addresses of both of its ports.
    Bridged,
}

/// The mark of what a proxy takes: a bit that no other target sets.
pub(super) const PROXY_MARK: &str = "0x20000000/0x20000000";

impl Router {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Direct, Self::Climbing, Self::Bridged];

    pub(super) fn any(draw: &mut Draw) -> Self {
        draw.weighted(&[(43, Self::Direct), (43, Self::Climbing), (14, Self::Bridged)])
    }

    /// Lines of a scenario that make it: groups of devices, sets, and what makes packets climb.
    pub fn setup(self, family: Family) -> Vec<String> {
        let groups = ["eth1 group 5", "eth2 group 261", "tun0 group 5"];
        let mut lines: Vec<String> = groups.iter().map(|group| format!("ip r link set {group}")).collect();
        // A SYN leaves nothing that a later round could find: no timer of a handshake outlives its round.
        lines.push("sysctl r net/ipv4/tcp_syncookies=2".to_owned());
        if self == Self::Bridged {
            lines.extend(bridge(family));
        }
        if self == Self::Climbing {
            // Without effect but that the programs see that the stack would do more than count down (ebpf/c/host_route.h).
            lines.push(match family {
                Family::V4 => "sysctl r net/ipv4/ip_forward_update_priority=0".to_owned(),
                Family::V6 => "sysctl r net/ipv6/conf/all/proxy_ndp=1".to_owned(),
            });
            let (ip, all) = if family == Family::V4 { ("", "0.0.0.0/0") } else { ("-6 ", "::/0") };
            lines.push(format!("ip r {ip}rule add fwmark {PROXY_MARK} lookup 100"));
            lines.push(format!("ip r route add local {all} dev lo table 100"));
        }
        lines.push(format!("ipset {}", sets::all(family).join(";")));
        lines
    }
}

/// A bridge in the place of eth0 and eth1, which has seen both ends.
fn bridge(family: Family) -> Vec<String> {
    let v4 = family == Family::V4;
    let call = if v4 { "bridge-nf-call-iptables" } else { "bridge-nf-call-ip6tables" };
    let link = BRIDGE_MAC.map(|byte| format!("{byte:02x}")).join(":");
    let mut lines = vec![
        format!("sysctl r net/bridge/{call}=1"),
        "ip r addr flush dev eth0".to_owned(),
        "ip r addr flush dev eth1".to_owned(),
        format!("ip r link add br0 address {link} type bridge mcast_snooping 0"),
        "ip r link set eth0 master br0".to_owned(),
        "ip r link set eth1 master br0".to_owned(),
        "ip r link set br0 up".to_owned(),
    ];
    for net in 1..=2 {
        let (len, more) = if v4 { (24, "brd +") } else { (64, "nodad") };
        lines.push(format!("ip r addr add {}/{len} {more} dev br0", host(family, net, 1)));
        for n in [2, 10, 11, 12, 13, 14, 100] {
            let to = host(family, net, n);
            lines.push(format!("ip r neigh replace {to} lladdr 02:00:00:00:0{net}:02 dev br0 nud permanent"));
        }
        if !v4 {
            let to = format!("fd00:{net}::ff:fe00:{net}02");
            lines.push(format!("ip r neigh replace {to} lladdr 02:00:00:00:0{net}:02 dev br0 nud permanent"));
        }
    }
    let (c, s) = (host(family, 1, 14), host(family, 2, 14));
    lines.push(format!("c> to=s ip {c} {s} proto=253 len=1"));
    lines.push(format!("s> to=c ip {s} {c} proto=253 len=1"));
    lines
}

/// Where the frames of a conversation go, of which `from` sends a step: to the other end, or to the bridge.
pub(super) fn addressed(step: &str, to_other: bool) -> String {
    let (who, other) = if step.starts_with('c') { ('c', 's') } else { ('s', 'c') };
    let to = if to_other { other } else { 'r' };
    let (sends, replies) = (format!("{who}> "), format!("{who} reply"));
    match (step.strip_prefix(&sends), step.strip_prefix(&replies)) {
        (Some(packet), _) if packet.starts_with("to=") => step.to_owned(),
        (Some(packet), _) => format!("{sends}to={to} {packet}"),
        (_, Some(words)) => format!("{replies} to={to}{words}"),
        _ => step.to_owned(),
    }
}

/// Sockets of the router, of which some take what is for others. None is bound to a port of broadcasts (docs/deviations.md, "cgroup at INPUT").
pub(super) fn sockets(draw: &mut Draw, family: Family, proxy: bool) -> Vec<String> {
    let any = if family == Family::V4 { "0.0.0.0" } else { "::" };
    let mut lines = Vec::new();
    for (proto, port) in [("udp", 53), ("tcp", 80), ("udp", 443), ("tcp", 22)] {
        if draw.percent(70) {
            let at = if draw.percent(30) { any.to_owned() } else { host(family, draw.from_to(1, 3), 1) };
            lines.push(format!("r listen {proto} {}", end(family, &at, port)));
        }
    }
    for (proto, port) in [("udp", 5353), ("tcp", 8080)] {
        if proxy || draw.percent(50) {
            let at = if draw.percent(70) { any.to_owned() } else { host(family, 1, 1) };
            let mark = draw.pick(&["0", "16"]);
            lines.push(format!("r listen {proto} {} proxy={mark}", end(family, &at, port)));
        }
    }
    lines
}
