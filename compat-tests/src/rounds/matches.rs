//! Matches of both families, with options that legacy accepts in the chain they are drawn for.

use super::draw::Draw;
use super::pools::{self, DEVICES, any_host, mark, network, ports};
use super::router::Router;
use super::{Place, matches_local, matches_way, matches6, sets};
use crate::world::Family;

/// Makes a match's words, or none where it may not stand.
type Maker = fn(&mut Draw, &Place<'_>) -> Option<String>;

/// Whether the packet comes by a device at all hooks of this place.
pub(super) fn incoming(place: &Place<'_>) -> bool {
    place.only(&["PREROUTING", "INPUT", "FORWARD"])
}

/// Addresses, devices, protocol, fragments.
pub(super) fn base(draw: &mut Draw, place: &Place<'_>) -> String {
    let mut out = String::new();
    if draw.percent(20) {
        out += &format!("{}-s {} ", draw.not(), network(draw, place.family));
    }
    if draw.percent(25) {
        out += &format!("{}-d {} ", draw.not(), network(draw, place.family));
    }
    let device = |draw: &mut Draw| draw.pick(&["eth0", "eth1", "eth2", "eth+", "tun0", "lo", "e+", "eth", "nosuch0"]);
    // In a chain of one's own both can be said everywhere.
    if draw.percent(15) && (place.user || incoming(place)) {
        out += &format!("{}-i {} ", draw.not(), device(draw));
    }
    if draw.percent(15) && (place.user || place.only(&["FORWARD", "OUTPUT", "POSTROUTING"])) {
        out += &format!("{}-o {} ", draw.not(), device(draw));
    }
    if draw.percent(3) && place.family == Family::V4 {
        out += &format!("{}-f ", draw.not());
    }
    out
}

/// At most one protocol with its match, then others.
pub(super) fn some(draw: &mut Draw, place: &Place<'_>) -> String {
    let mut out = base(draw, place);
    if draw.percent(55) {
        out += &transport(draw, place);
    } else if draw.percent(15) {
        let proto = draw.pick(&["tcp", "udp", "132", "33", "50", "47", "253", "udplite"]);
        out += &format!("{}-p {proto} ", draw.not());
    }
    let place = &Place {
        tcp: out.contains("-p tcp ") && !out.contains("! -p"),
        syn: out.contains("--syn") && !out.contains("! --syn"),
        ..*place
    };
    for _ in 0..draw.weighted(&[(45, 0), (40, 1), (12, 2), (3, 3)]) {
        for _ in 0..5 {
            let maker = draw.weighted(TABLE);
            if let Some(text) = maker(draw, place) {
                // Legacy mistakes the option of the third for the second one's.
                let third = |option: &str, with: &[&str]| {
                    let there: usize = with.iter().map(|match_| out.matches(match_).count()).sum();
                    there >= 2 && format!("{text} ").contains(option)
                };
                if !third("--mark ", &["--mark "]) && !third("--set ", &["-m recent ", "-m set ", "-m connlabel "]) {
                    out += &format!("{text} ");
                }
                break;
            }
        }
    }
    out
}

/// `-p PROTOCOL -m PROTOCOL ...`
pub(super) fn transport(draw: &mut Draw, place: &Place<'_>) -> String {
    let icmp = if place.family == Family::V4 { 9 } else { 0 };
    let kind = draw.weighted(&[
        (25, "tcp"),
        (22, "udp"),
        (icmp, "icmp"),
        (9 - icmp, "icmp6"),
        (6, "multiport"),
        (2, "sctp"),
        (2, "dccp"),
        (1, "esp"),
        (if icmp > 0 { 1 } else { 0 }, "ah"),
        (1, "ipcomp"),
        (if icmp > 0 { 0 } else { 1 }, "mh"),
        (2, "tcpmss"),
    ]);
    let side = |draw: &mut Draw, out: &mut String| {
        if draw.percent(20) {
            *out += &format!("{}--sport {} ", draw.not(), ports(draw));
        }
        if draw.percent(65) {
            *out += &format!("{}--dport {} ", draw.not(), ports(draw));
        }
    };
    let proto = if kind == "icmp6" { "ipv6-icmp" } else { kind };
    let mut out = format!("-p {proto} -m {kind} ");
    match kind {
        "tcp" => {
            side(draw, &mut out);
            match draw.below(10) {
                0..=2 => out += &format!("{}--syn ", draw.not()),
                3 => {
                    let of =
                        ["ALL NONE", "ALL FIN,PSH,URG", "SYN,ACK SYN,ACK", "RST RST", "FIN,ACK FIN", "SYN,FIN SYN,FIN"];
                    out += &format!("{}--tcp-flags {} ", draw.not(), draw.pick(&of));
                }
                4 => out += &format!("{}--tcp-option {} ", draw.not(), draw.pick(&["2", "3", "8"])),
                _ => {}
            }
        }
        "udp" => side(draw, &mut out),
        "icmp" => {
            let of = ["8", "0", "3", "3/3", "3/4", "11", "13", "12", "any", "3/1", "echo-request"];
            out += &format!("{}--icmp-type {} ", draw.not(), draw.pick(&of));
        }
        "icmp6" => {
            let of = ["128", "129", "1", "1/4", "2", "3", "4", "4/1", "echo-request", "1/0"];
            out += &format!("{}--icmpv6-type {} ", draw.not(), draw.pick(&of));
        }
        "multiport" => {
            let proto = draw.pick(&["tcp", "udp", "tcp", "udp", "sctp", "dccp", "udplite"]);
            let list: Vec<String> = (0..draw.from_to(1, 4))
                .map(|_| draw.pick(&["53", "80", "443", "1000:1004", "22", "8000:9000", "5353"]).to_owned())
                .collect();
            let side = draw.pick(&["--dports", "--dports", "--sports", "--ports"]);
            return format!("-p {proto} -m multiport {}{side} {} ", draw.not(), list.join(","));
        }
        "sctp" => {
            side(draw, &mut out);
            if draw.percent(50) {
                let of = ["INIT", "DATA", "DATA:Be", "INIT,SACK", "DATA,SACK:x"];
                let list = draw.pick(&of[..4]);
                out += &format!("{}--chunk-types {} {list} ", draw.not(), draw.pick(&["all", "any", "only"]));
            }
        }
        "dccp" => {
            side(draw, &mut out);
            match draw.below(4) {
                0 => out += &format!("{}--dccp-types {} ", draw.not(), draw.pick(&["REQUEST", "REQUEST,DATA", "ACK"])),
                1 => out += &format!("{}--dccp-option {} ", draw.not(), draw.pick(&["2", "44"])),
                _ => {}
            }
        }
        "esp" => out += &format!("{}--espspi {} ", draw.not(), draw.pick(&["256", "0:300", "1"])),
        "ah" => out += &format!("{}--ahspi {} ", draw.not(), draw.pick(&["256", "0:300", "1"])),
        "mh" => {
            // `! --mh-type 0:255` is printed since 1.8.10.
            let of = ["binding-refresh-request", "1:3", "5", "! 5", "! 0:3", "0:255"];
            let kind = draw.pick(&of);
            let (not, kind) = kind.strip_prefix("! ").map_or(("", kind), |kind| ("! ", kind));
            out = format!("-p ipv6-mh -m mh {not}--mh-type {kind} ");
        }
        "ipcomp" => out += &format!("{}--ipcompspi {} ", draw.not(), draw.pick(&["256", "2:300", "1"])),
        _ => {
            let range = draw.pick(&["536", "1:1000", "1460", "500:1460"]);
            out = format!("-p tcp -m tcp --tcp-flags SYN,RST SYN -m tcpmss {}--mss {range} ", draw.not());
        }
    }
    out
}

/// Matches that go with any protocol. Their weights are how often public rulesets have them, with what clusters use moved up.
const TABLE: &[(usize, Maker)] = &[
    (26, state),
    (6, limit),
    (6, addrtype),
    (6, recent),
    (7, |d, _| Some(format!("-m mark {}--mark {}", d.not(), mark(d)))),
    (5, |d, _| Some(format!("-m comment --comment {}", d.pick(&["x", "\"two words\"", "\"it's\""])))),
    (5, matches_local::owner),
    (5, matches_local::socket),
    (10, sets::any),
    (3, matches_way::physdev),
    (3, |d, p| if p.want.router == Router::Bridged { matches_way::physdev(d, p) } else { None }),
    (6, rateest),
    (4, |d, p| p.connections().then(|| format!("-m connmark {}--mark {}", d.not(), mark(d)))),
    (3, mac),
    (3, hashlimit),
    (3, string),
    (2, connlimit),
    (3, hops),
    (3, |d, _| {
        Some(format!("-m length {}--length {}", d.not(), d.pick(&["0:40", "41:100", "28:", "60", "0:1500", "36"])))
    }),
    (3, iprange),
    (4, |d, p| {
        let every = d.from_to(1, 4);
        p.in_order().then(|| format!("-m statistic --mode nth {}--every {every} --packet {}", d.not(), d.below(every)))
    }),
    (2, |d, _| Some(format!("-m tos {}--tos {}", d.not(), d.pick(&["0x10", "0x08/0x1c", "0x00", "0xb8/0xff"])))),
    (2, |d, _| Some(format!("-m dscp {}--dscp {}", d.not(), d.pick(&["0", "0x04", "0x2e", "0x08"])))),
    (1, ecn),
    (2, |d, _| Some(format!("-m pkttype {}--pkt-type {}", d.not(), d.pick(&["unicast", "broadcast", "multicast"])))),
    (1, policy),
    (2, |d, p| {
        let bytes = d.pick(&["60", "100", "500", "0", "4000000000"]);
        p.in_order().then(|| format!("-m quota {}--quota {bytes}", d.not()))
    }),
    (2, connbytes),
    (2, |d, p| {
        let set = if d.percent(40) { " --set" } else { "" };
        p.connections().then(|| format!("-m connlabel {}--label {}{set}", d.not(), d.pick(&["0", "1", "5", "127"])))
    }),
    (1, |d, p| p.connections().then(|| format!("-m helper {}--helper ftp", d.not()))),
    (1, cluster),
    (1, |d, _| Some(format!("-m cpu {}--cpu 4095", d.not()))),
    (1, |d, _| {
        // Bounds that no test run meets.
        let of = [
            "--datestart 2020-01-01",
            "--datestop 2020-01-01",
            "--timestart 00:00 --timestop 23:59:59",
            "--datestart 2037-01-01",
        ];
        Some(format!("-m time {}", d.pick(&of)))
    }),
    (3, u32_test),
    (2, bpf),
    (3, matches_way::rpfilter),
    (2, matches_way::devgroup),
    (1, matches_way::realm),
    (3, matches_local::cgroup),
    (7, matches6::any),
];

fn state(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    if !place.stateful {
        return None;
    }
    let states = |draw: &mut Draw| {
        draw.pick(&[
            "NEW",
            "ESTABLISHED",
            "RELATED,ESTABLISHED",
            "INVALID",
            "RELATED",
            "UNTRACKED",
            "NEW,ESTABLISHED",
            "INVALID,NEW",
        ])
        .to_owned()
    };
    if draw.percent(20) {
        return Some(format!("-m state {}--state {}", draw.not(), states(draw)));
    }
    let mut out = "-m conntrack ".to_owned();
    let only_state = !place.connections();
    if only_state || draw.percent(70) {
        let extra = if draw.percent(10) { ",DNAT,SNAT" } else { "" };
        out += &format!("{}--ctstate {}{extra} ", draw.not(), states(draw));
    }
    if only_state {
        return Some(out);
    }
    if out.len() < 20 || draw.percent(15) {
        // Masks with holes are printed in another way since 1.8.10.
        let addr = loop {
            let addr = network(draw, place.family);
            if !addr.contains(".255.") && !addr.contains("ffff") {
                break addr;
            }
        };
        let words = match draw.below(9) {
            0 => format!("--ctproto {}", draw.pick(&["6", "17", "1", "58"])),
            1 => format!("--ctorigsrc {addr}"),
            2 => format!("--ctorigdst {addr}"),
            3 => format!("--ctreplsrc {addr}"),
            4 => format!("--ctrepldst {addr}"),
            5 => format!("--ctorigdstport {}", draw.pick(&["53", "80", "53:443", "1000:1010"])),
            6 => format!("--ctreplsrcport {}", draw.pick(&["53", "80", "5353", "53:443"])),
            7 => format!(
                "--ctstatus {}",
                draw.pick(&["SEEN_REPLY", "ASSURED", "CONFIRMED", "NONE", "ASSURED,SEEN_REPLY"])
            ),
            // A packet's time since its connection's last one is far below the distance to these bounds.
            _ => format!("--ctexpire {}", draw.pick(&["0", "15:60", "61:1000", "1:400000"])),
        };
        let dir = if draw.percent(25) { draw.pick(&[" --ctdir ORIGINAL", " --ctdir REPLY"]) } else { "" };
        out += &format!("{}{words}{dir}", draw.not());
    }
    Some(out)
}

/// A rate so low that nothing comes back while a round lasts.
fn limit(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    place.in_order().then(|| format!("-m limit --limit 1/hour --limit-burst {}", draw.from_to(1, 6)))
}

fn addrtype(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    let of: &[&str] = match place.family {
        Family::V4 => &["LOCAL", "UNICAST", "BROADCAST", "LOCAL,BROADCAST", "MULTICAST"],
        // UNREACHABLE is refused (docs/deviations.md), BROADCAST by legacy.
        Family::V6 => &["LOCAL", "UNICAST", "MULTICAST", "LOCAL,UNICAST"],
    };
    let limit = match draw.below(8) {
        0 if place.only(&["PREROUTING", "INPUT"]) => " --limit-iface-in",
        0 if place.only(&["OUTPUT", "POSTROUTING"]) => " --limit-iface-out",
        _ => "",
    };
    let side = draw.pick(&["--dst-type", "--dst-type", "--src-type"]);
    Some(format!("-m addrtype {}{side} {}{limit}", draw.not(), draw.pick(of)))
}

fn recent(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    let mut out = "-m recent ".to_owned();
    let op = draw.weighted(&[(5, "--set"), (3, "--rcheck"), (3, "--update"), (1, "--remove")]);
    out += &format!("{}{op} --name {}", draw.not(), draw.pick(&["a{n}", "b{n}"]));
    if matches!(op, "--rcheck" | "--update") {
        if draw.percent(50) {
            out += " --seconds 3600";
        }
        if draw.percent(40) {
            out += &format!(" --hitcount {}", draw.from_to(1, 4));
        }
        if draw.percent(15) {
            out += " --rttl";
        }
    }
    if draw.percent(20) {
        out += match place.family {
            Family::V4 => " --mask 255.255.255.0",
            Family::V6 => " --mask ffff:ffff::",
        };
    }
    out += draw.pick(&["", "", " --rsource", " --rdest"]);
    place.in_order().then_some(out)
}

fn mac(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    let of = ["02:00:00:00:01:02", "02:00:00:00:02:02", "02:00:00:00:03:02"];
    incoming(place).then(|| format!("-m mac {}--mac-source {}", draw.not(), draw.pick(&of)))
}

/// A table of buckets is what its name says: rules of one name agree.
fn hashlimit(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    let (name, how) = draw.weighted(&[
        (1, ("ha{n}", "--hashlimit-burst 2 --hashlimit-mode srcip")),
        (1, ("hb{n}", "--hashlimit-burst 3 --hashlimit-mode srcip,dstport")),
        (1, ("hc{n}", "--hashlimit-burst 1 --hashlimit-mode dstip,srcport --hashlimit-dstmask 24")),
        (1, ("hd{n}", "--hashlimit-burst 4")),
    ]);
    let direction = draw.pick(&["--hashlimit-upto", "--hashlimit-above"]);
    place.in_order().then(|| format!("-m hashlimit {direction} 1/hour {how} --hashlimit-name {name}"))
}

fn string(draw: &mut Draw, _: &Place<'_>) -> Option<String> {
    let algo = draw.pick(&["bm", "kmp"]);
    let of = [
        "--hex-string \"|0405|\"",
        "--hex-string \"|00010203|\"",
        "--string \"GET\"",
        "--hex-string \"|0a|\"",
        "--string \"ee\"",
    ];
    let bounds = draw.pick(&["", "", " --to 60", " --from 28", " --from 20 --to 40"]);
    let case = if draw.percent(20) { " --icase" } else { "" };
    Some(format!("-m string --algo {algo}{bounds}{case} {}{}", draw.not(), draw.pick(&of)))
}

/// docs/deviations.md: refused in raw; where every packet is asked, the kernel drops the RST of a connection that was alone in its list. So SYNs alone ask.
fn connlimit(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    if !place.connections() || place.table == "raw" {
        return None;
    }
    let mask = match place.family {
        Family::V4 => draw.pick(&["32", "24", "0"]),
        Family::V6 => draw.pick(&["128", "64", "0"]),
    };
    let how = draw.pick(&["above", "upto"]);
    let side = draw.pick(&["saddr", "daddr"]);
    place
        .syn
        .then(|| format!("-m connlimit --connlimit-{how} {} --connlimit-mask {mask} --connlimit-{side}", draw.below(4)))
}

fn hops(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    let value = draw.pick(&["64", "63", "62", "1", "255"]);
    Some(match place.family {
        Family::V4 => format!("-m ttl {} {value}", draw.pick(&["--ttl-eq", "! --ttl-eq", "--ttl-lt", "--ttl-gt"])),
        Family::V6 => format!("-m hl {} {value}", draw.pick(&["--hl-eq", "! --hl-eq", "--hl-lt", "--hl-gt"])),
    })
}

fn iprange(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    let net = draw.from_to(1, 3);
    let (a, b) =
        (pools::host(place.family, net, draw.weighted(&[(1, 1), (1, 10)])), pools::host(place.family, net, 11));
    Some(format!("-m iprange {}{} {a}-{b}", draw.not(), draw.pick(&["--src-range", "--dst-range"])))
}

fn ecn(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    let of = ["--ecn-ip-ect 0", "--ecn-ip-ect 1", "--ecn-tcp-ece", "--ecn-tcp-cwr"];
    let n = if place.tcp { 4 } else { 2 };
    Some(format!("-m ecn {}{}", draw.not(), draw.pick(&of[..n])))
}

fn policy(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    incoming(place).then(|| format!("-m policy --dir in --pol {}", draw.pick(&["none", "ipsec", "ipsec --reqid 1"])))
}

fn connbytes(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    let range = draw.pick(&["1:2", "3", "100:300", "2:1000", "! 1:3", "! 200"]);
    let (not, range) = range.strip_prefix("! ").map_or(("", range), |range| ("! ", range));
    let mode = draw.pick(&["packets", "bytes", "avgpkt"]);
    let dir = draw.pick(&["original", "reply", "both"]);
    place
        .connections()
        .then(|| format!("-m connbytes {not}--connbytes {range} --connbytes-mode {mode} --connbytes-dir {dir}"))
}

fn cluster(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    let of = [
        "--cluster-total-nodes 2 --cluster-local-node 1 --cluster-hash-seed 0xdeadbeef",
        "--cluster-total-nodes 5 --cluster-local-nodemask 0x15 --cluster-hash-seed 3",
    ];
    place.connections().then(|| format!("-m cluster {}", draw.pick(&of)))
}

fn u32_test(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    let one = |draw: &mut Draw| {
        let start = draw.below(14) * 4;
        let jump = if place.family == Family::V4 && draw.percent(40) { "0>>22&0x3c@" } else { "" };
        let step = draw.pick(&["", "&0xff", "&0xffff", ">>16", ">>24", "&0xff00>>8", "<<8>>24"]);
        let of =
            ["0x6", "0x11", "0:255", "1:0xffffffff", "80", "53", "1000:2000", "0x6,0x11", "64", "63", "0x40:0x60,1:5"];
        format!("{jump}{start}{step}={}", draw.pick(&of))
    };
    let mut text = one(draw);
    if draw.percent(30) {
        text += &format!("&&{}", one(draw));
    }
    Some(format!("-m u32 {}--u32 \"{text}\"", draw.not()))
}

fn bpf(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    let proto = if place.family == Family::V4 { 9 } else { 6 };
    let of = [
        format!("4,48 0 0 {proto},21 0 1 17,6 0 0 1,6 0 0 0"),
        format!("4,48 0 0 {proto},21 0 1 6,6 0 0 1,6 0 0 0"),
        "5,128 0 0 0,20 0 0 28,53 0 1 8,6 0 0 7,6 0 0 0".to_owned(),
        "2,128 0 0 0,22 0 0 0".to_owned(),
        "2,32 0 0 100,6 0 0 1".to_owned(),
        "4,40 0 0 22,21 0 1 53,6 0 0 1,6 0 0 0".to_owned(),
        "7,0 0 0 1,1 0 0 31,108 0 0 0,116 0 0 30,132 0 0 0,4 0 0 3,22 0 0 0".to_owned(),
    ];
    let at = draw.below(of.len());
    Some(format!("-m bpf --bytecode \"{}\"", of[at]))
}

/// A rate is 0 until its first interval ends, which no round lives to see: what it is afterwards depends on when that was.
fn rateest(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    // Estimators are raw's rules (legacy wants them to be there first).
    let asked = place.want.rates && place.table != "raw";
    let of = [
        "--rateest E{n} --rateest-gt --rateest-pps 0",
        "--rateest E{n} --rateest-eq --rateest-bps 0",
        "--rateest E{n} --rateest-lt --rateest-pps 10",
        "--rateest-delta --rateest E{n} --rateest-gt --rateest-pps1 10 --rateest-pps2 9",
        "--rateest1 E{n} --rateest-eq --rateest-pps --rateest2 F{n}",
        "--rateest1 E{n} --rateest-lt --rateest-bps --rateest2 F{n}",
    ];
    asked.then(|| format!("-m rateest {}", draw.pick(&of)))
}

/// The names of devices, for targets that name one.
pub(super) fn device(draw: &mut Draw) -> &'static str {
    draw.pick(&DEVICES)
}

/// An address for targets.
pub(super) fn address(draw: &mut Draw, place: &Place<'_>) -> String {
    any_host(draw, place.family)
}
