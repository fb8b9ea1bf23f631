//! What is sent through a round's rules: conversations, and what disturbs them.

use super::Want;
use super::draw::Draw;
use super::pools::{end, host};
use super::router::{self, Router};
use super::{sctp, sets};
use crate::world::Family;

/// Where a conversation goes from and to.
pub(super) struct Path {
    pub from: char,
    pub to: char,
    pub src: String,
    pub dst: String,
}

/// Steps of a scenario.
pub(super) fn steps(draw: &mut Draw, want: Want) -> Vec<String> {
    let mut flows: Vec<Vec<String>> = (0..draw.from_to(3, 8)).map(|n| flow(draw, want, n)).collect();
    let mut out = Vec::new();
    while !flows.is_empty() {
        // Mostly one after the other; at times two at once, whose answers may get mixed up.
        let at = if draw.percent(15) { draw.below(flows.len()) } else { 0 };
        let step = flows[at].remove(0);
        if draw.percent(7) {
            out.push(step.clone());
        }
        out.push(step);
        if want.sets && draw.percent(12) {
            out.push(sets::change(draw, want.family));
        }
        if flows[at].is_empty() {
            flows.remove(at);
        }
    }
    out
}

/// From where to where, router, c, s, t, p, and how often.
const ENDS: [(usize, (usize, usize)); 14] = [
    (14, (1, 2)),
    (4, (2, 1)),
    (5, (1, 3)),
    (2, (1, 4)),
    (2, (4, 2)),
    (3, (3, 2)),
    (6, (1, 0)),
    (2, (2, 0)),
    (1, (4, 0)),
    (3, (0, 1)),
    (4, (0, 2)),
    (2, (0, 3)),
    (1, (0, 4)),
    (2, (0, 0)),
];

fn path(draw: &mut Draw, want: Want) -> Path {
    let family = want.family;
    const NODES: [char; 5] = ['r', 'c', 's', 't', 'p'];
    let (a, b) = loop {
        let (a, b) = draw.weighted(&ENDS);
        // docs/deviations.md: copies are sent behind the packet. Where the order could be seen, nothing else goes.
        if want.tee.is_none_or(|net| a != net && b != net) {
            break (a, b);
        }
    };
    let some = |draw: &mut Draw, net: usize| {
        let eui64 = if family == Family::V6 && net < 4 { 1 } else { 0 };
        match draw.weighted(&[(6, 10), (3, 11), (1, 12), (eui64, 0)]) {
            0 => format!("fd00:{net}::ff:fe00:{net}02"),
            n => host(family, net, n),
        }
    };
    let mine = |draw: &mut Draw, net: usize| host(family, if net == 0 { draw.from_to(1, want.nets()) } else { net }, 1);
    let src = if a == 0 { mine(draw, b) } else { some(draw, a) };
    let dst = if b == 0 {
        if draw.percent(80) && a != 0 { host(family, a, 1) } else { mine(draw, 0) }
    } else if draw.percent(30) {
        // A service that is there only where a rule translates it.
        host(family, b, 100)
    } else {
        some(draw, b)
    };
    // docs/deviations.md, "Bridged packets": a source whose way back is not by the bridge goes by the bridge's own stack, if its destination changed.
    // And, in IPv6: where senders differ in the way back, the error's source is one of the device that it leaves by.
    let src = if a != 0 && want.router != Router::Bridged && !(family == Family::V6 && want.reject) && draw.percent(4) {
        some(draw, draw_other(a, want))
    } else {
        src
    };
    Path { from: NODES[a], to: NODES[b], src, dst }
}

/// A network that `net` is not.
fn draw_other(net: usize, want: Want) -> usize {
    net % want.nets() + 1
}

fn flow(draw: &mut Draw, want: Want, n: usize) -> Vec<String> {
    let p = path(draw, want);
    let steps = conversation(draw, want, &p, n);
    if want.router != Router::Bridged {
        return steps;
    }
    let to_other = matches!((p.from, p.to), ('c', 's') | ('s', 'c')) && draw.percent(80);
    steps.iter().map(|step| router::addressed(step, to_other)).collect()
}

fn conversation(draw: &mut Draw, want: Want, p: &Path, n: usize) -> Vec<String> {
    let port = 1000 + n;
    let server = draw.weighted(&[(5, 53), (6, 80), (3, 443), (1, 22), (1, 8080), (1, 5353), (1, 9999), (1, 65535)]);
    let forwarded = p.from != 'r' && p.to != 'r';
    match draw.weighted(&[
        (32, 0),
        (24, 1),
        (10, 2),
        (8, 3),
        (7, 4),
        // docs/deviations.md: fragments pass one by one, legacy puts them together where it tracks or asks for sockets, and for INPUT always.
        (if !want.stateful && !want.sockets && forwarded { 30 } else { 0 }, 5),
        (if want.family == Family::V6 { 12 } else { 0 }, 6),
        (6, 7),
    ]) {
        0 => tcp(draw, want, p, port, server),
        1 => udp(draw, want, p, port, server),
        2 => echo(draw, want, p, port),
        3 => other(draw, want, p, port, server),
        4 => odd(draw, want, p, port, server),
        5 => fragments(draw, want, p, port, server),
        6 => extensions(draw, want, p, port, server),
        _ => sctp::flow(draw, want, p, port, server),
    }
}

/// What an IP header has besides, at times.
pub(super) fn header(draw: &mut Draw, want: Want) -> String {
    let v4 = want.family == Family::V4;
    match draw.below(14) {
        0 if v4 => format!(" tos={}", draw.pick(&["0x10", "0x08", "0xb8", "0x02", "0x03"])),
        0 => format!(" tc={}", draw.pick(&["0x10", "0x08", "0xb8", "0x02", "0x03"])),
        1 if v4 => format!(" ttl={}", draw.pick(&["1", "2", "63", "255", "65"])),
        1 => format!(" hl={}", draw.pick(&["1", "2", "63", "255", "65"])),
        2 if v4 => " df".to_owned(),
        2 => " fl=5".to_owned(),
        // docs/deviations.md: options of a rejected packet are not echoed.
        3 if v4 && !want.reject => format!(" opts={}", draw.pick(&["01010101", "94040000"])),
        _ => String::new(),
    }
}

/// Data.
fn data(draw: &mut Draw) -> String {
    match draw.below(6) {
        0 => String::new(),
        1 => " hex=474554202f".to_owned(),
        2 => format!(" len={}", draw.pick(&["300", "1000", "1400"])),
        _ => format!(" len={}", draw.below(40)),
    }
}

/// An ICMP error by whom the last packet reached, or by a router before it.
fn error(draw: &mut Draw, want: Want, p: &Path) -> String {
    let kind = match want.family {
        Family::V4 => draw.pick(&["3/3", "3/1", "3/0", "11/0", "12/0", "3/13", "4/0"]),
        Family::V6 => draw.pick(&["1/4", "1/0", "1/1", "3/0", "4/0", "1/3"]),
    };
    // No smaller than what fits anyway, or the router would remember it for packets of later rounds.
    let kind = match want.family {
        _ if draw.percent(70) => kind,
        Family::V4 => "3/4 mtu=1500",
        Family::V6 => "2/0 mtu=1500",
    };
    let net = match p.to {
        'c' => 1,
        's' => 2,
        _ => 3,
    };
    let from = if draw.percent(40) { format!(" from={}", host(want.family, net, 14)) } else { String::new() };
    format!("{} error {kind}{from}", p.to)
}

/// Who sends, and as whom.
pub(super) fn marked(draw: &mut Draw, p: &Path) -> String {
    let own = p.from == 'r';
    let mark = if own && draw.percent(20) { draw.pick(&["mark=1 ", "mark=16 "]) } else { "" };
    let who =
        if own && draw.percent(25) { draw.pick(&["as=1000:1000 ", "as=0:7,5 ", "as=1000:0,5,1000 "]) } else { "" };
    format!("{}> {mark}{who}", p.from)
}

fn tcp(draw: &mut Draw, want: Want, p: &Path, port: usize, server: usize) -> Vec<String> {
    let (a, b) = (end(want.family, &p.src, port), end(want.family, &p.dst, server));
    let send = marked(draw, p);
    let options =
        draw.pick(&["", " topts=020405b4", " topts=020405b40402080a0000000100000000", " topts=0101010103030700"]);
    let h = header(draw, want);
    let open = format!("{send}tcp {a} {b} S seq=100{options}{h}");
    let (c, s) = (p.from, p.to);
    let mut out = vec![open.clone()];
    if draw.percent(12) {
        // Both open at once.
        out.push(format!("{s} reply S ack=0 seq=5000"));
        out.push(format!("{c} reply SA seq=100"));
        out.push(format!("{s} reply SA seq=5000"));
    } else {
        out.push(format!("{s} reply SA{options}"));
    }
    if want.sockets && c != 'r' && draw.percent(60) {
        // A socket of the router answers, its own or a proxy's.
        out.truncate(1);
        out.push(format!("{c} reply A"));
        for _ in 0..draw.below(3) {
            out.push(format!("{c} reply {}{}", draw.pick(&["PA", "PA", "A"]), data(draw)));
        }
        out.push(format!("{c} reply {}", draw.pick(&["FA", "FA", "R", "RA", "A"])));
        return out;
    }
    if c == 'r' || s == 'r' {
        // The router's own stack answers; it has no such socket.
        if draw.percent(40) {
            out.push(format!("{send}tcp {a} {b} A seq=101 ack=5001{}", data(draw)));
        }
        if draw.percent(30) {
            out.push(format!("{send}tcp {a} {b} R seq=101"));
        }
        return out;
    }
    out.push(format!("{c} reply A"));
    let turns = draw.below(4);
    for _ in 0..turns {
        let (who, back) = if draw.percent(60) { (c, s) } else { (s, c) };
        out.push(format!("{who} reply PA{}{}", data(draw), header(draw, want)));
        out.push(format!("{back} reply A"));
    }
    match draw.below(12) {
        9 => out.extend([
            // One end closes, the other goes on for a while.
            format!("{c} reply FA"),
            format!("{s} reply A"),
            format!("{s} reply PA{}", data(draw)),
            format!("{c} reply A"),
            format!("{s} reply {}", draw.pick(&["FA", "R", "RA"])),
            format!("{c} reply A"),
        ]),
        10 | 11 if turns == 0 => out.extend([
            // Both close at once.
            format!("{c} reply FA seq=101 ack=5001"),
            format!("{s} reply FA seq=5001 ack=101"),
            format!("{c} reply A seq=102 ack=5002"),
            format!("{s} reply A seq=5002 ack=102"),
        ]),
        0 | 1 => {
            out.extend([format!("{c} reply FA"), format!("{s} reply FA"), format!("{c} reply A")]);
            if draw.percent(50) {
                // The ports once more.
                out.push(open.replace("seq=100", "seq=900000"));
                out.push(format!("{s} reply SA"));
            }
        }
        2 => out.extend([
            format!("{s} reply FA"),
            format!("{c} reply A"),
            format!("{c} reply FA"),
            format!("{s} reply A"),
        ]),
        3 => out.push(format!("{s} reply R")),
        4 => {
            out.push(format!("{c} reply RA"));
            out.push(open);
        }
        5 => out.push(error(draw, want, p)),
        6 => out.push(format!(
            "{} reply {}",
            if draw.percent(50) { c } else { s },
            draw.pick(&["A seq=7", "PA ack=99999999 len=5", "R seq=3", "SA", "S seq=77"])
        )),
        _ => {}
    }
    if draw.percent(25) {
        out.truncate(draw.from_to(1, out.len()));
    }
    out
}

fn udp(draw: &mut Draw, want: Want, p: &Path, port: usize, server: usize) -> Vec<String> {
    let (a, b) = (end(want.family, &p.src, port), end(want.family, &p.dst, server));
    let send = marked(draw, p);
    let mut out = vec![format!("{send}udp {a} {b}{}{}", data(draw), header(draw, want))];
    for _ in 0..draw.below(4) {
        out.push(match draw.below(5) {
            0 => error(draw, want, p),
            1 | 2 => format!("{send}udp {a} {b}{}", data(draw)),
            _ => format!("{} reply{}", p.to, data(draw)),
        });
    }
    // `r reply` is not there: the router's own stack answers.
    out.retain(|step| !step.starts_with("r reply") && !step.starts_with("r error"));
    out
}

fn echo(draw: &mut Draw, want: Want, p: &Path, id: usize) -> Vec<String> {
    let send = marked(draw, p);
    let (v4, request) = match want.family {
        // Not 13/0, which a stack answers with its time.
        Family::V4 => (true, draw.pick(&["8/0", "8/0", "8/0", "17/0"])),
        Family::V6 => (false, "128/0"),
    };
    let len = if v4 && request != "8/0" { " len=12".to_owned() } else { data(draw) };
    let mut out = vec![format!("{send}icmp {} {} {request} id={id}{len}{}", p.src, p.dst, header(draw, want))];
    for seq in 0..draw.below(3) {
        out.push(match draw.below(4) {
            0 if p.to != 'r' => error(draw, want, p),
            1 => format!("{send}icmp {} {} {request} id={id} seq={}{len}", p.src, p.dst, seq + 2),
            _ if p.to != 'r' => format!("{} reply{len}", p.to),
            _ => continue,
        });
    }
    out
}

/// Protocols that netfilter knows little of.
fn other(draw: &mut Draw, want: Want, p: &Path, port: usize, server: usize) -> Vec<String> {
    let ports = format!("{port:04x}{server:04x}");
    // docs/deviations.md: legacy writes the sum of what it translates anew, and nobody checks what programs of this host send.
    let right = want.stateful && p.from == 'r';
    let (proto, hex) = match draw.from_to(if right { 2 } else { 0 }, 9) {
        // Its sum is wrong.
        0 => (132, format!("{ports}000000000000000001000014000000010000ffff0001000100000001")),
        1 => (
            132,
            format!("{ports}0000000100000000{}", draw.pick(&["03020014", "00020010000000010000000000000000", ""])),
        ),
        2 => (33, format!("{ports}0500000000000000{}", draw.pick(&["00000000", "0000000002040000", "0a000000"]))),
        3 => (50, format!("00000{}00000001", draw.pick(&["100", "001"]))),
        // In IPv6 it is an extension header, which the next byte must lead on.
        4 if want.family == Family::V4 => {
            (51, format!("3b01000000000{}000000010000000000000000", draw.pick(&["100", "001"])))
        }
        5 => (108, format!("3b000{}", draw.pick(&["100", "001"]))),
        6 => (47, draw.pick(&["0000080000000000", "2001880b000400010000", "00"]).to_owned()),
        8 if want.family == Family::V6 => (135, format!("3b000{}0000000000", draw.pick(&["000", "100", "500"]))),
        7 => (136, format!("{ports}00080000")),
        _ => (253, "0102030405".to_owned()),
    };
    // At times cut short.
    let keep = if draw.percent(25) { draw.below(hex.len() / 2 + 1) * 2 } else { hex.len() };
    let body = if keep == 0 { String::new() } else { format!(" hex={}", &hex[..keep]) };
    let send = marked(draw, p);
    let mut out = vec![format!("{send}ip {} {} proto={proto}{body}{}", p.src, p.dst, header(draw, want))];
    if p.to != 'r' && draw.percent(50) {
        out.push(format!("{} reply hex={}", p.to, if keep == 0 { "00" } else { &hex[..keep] }));
    }
    if p.to != 'r' && draw.percent(20) {
        out.push(error(draw, want, p));
    }
    out
}

/// Headers that no stack makes.
fn odd(draw: &mut Draw, want: Want, p: &Path, port: usize, server: usize) -> Vec<String> {
    let (a, b) = (end(want.family, &p.src, port), end(want.family, &p.dst, server));
    let send = marked(draw, p);
    let v4 = want.family == Family::V4;
    let mut out: Vec<String> = Vec::new();
    for _ in 0..draw.from_to(1, 3) {
        let packet = match draw.below(8) {
            0 | 1 => {
                let of = ["-", "FS", "FPU", "SR", "FSRPAUEC", "SEC", "FA", "R", "A", "SA", "SU", "EC"];
                format!("tcp {a} {b} {}", draw.pick(&of))
            }
            2 => format!("tcp {a} {b} S doff={}", draw.pick(&["3", "0", "15", "6"])),
            3 => format!("{} badsum", draw.pick(&[&*format!("udp {a} {b} len=4"), &*format!("tcp {a} {b} S")])),
            4 => format!("udp {a} {b} len=8 ulen={}", draw.pick(&["4", "12", "100"])),
            // Too short for its ports or its flags.
            5 => format!("ip {} {} proto={} len={}", p.src, p.dst, draw.pick(&["6", "17"]), draw.below(20)),
            // No socket is bound there (router::sockets).
            6 if v4 && p.from == 'c' => {
                // docs/deviations.md, "Bridged packets": an answer to a frame for one would have the address of all as its source.
                let one = want.router != Router::Bridged && draw.percent(30);
                let all = draw.pick(&["10.1.0.255", "255.255.255.255", "224.0.0.1"]);
                format!("{}udp {a} {all}:67 len=8", if one { "" } else { "to=all " })
            }
            6 if !v4 && p.from == 'c' && draw.percent(60) => format!("to=all udp {a} ff02::1,67 len=8"),
            6 => format!("ip {} {} proto={} len={}", p.src, p.dst, if v4 { 1 } else { 58 }, draw.below(8)),
            _ if v4 => {
                format!("icmp {} {} {} len=4", p.src, p.dst, draw.pick(&["0/0", "14/0", "3/3", "5/1", "200/0", "9/0"]))
            }
            _ => format!("icmp {} {} {} len=4", p.src, p.dst, draw.pick(&["129/0", "1/4", "200/0", "127/0"])),
        };
        out.push(format!("{send}{packet}{}", header(draw, want)));
    }
    out
}

/// A datagram in pieces, the first one first (docs/deviations.md).
fn fragments(draw: &mut Draw, want: Want, p: &Path, port: usize, server: usize) -> Vec<String> {
    let (a, b) = (end(want.family, &p.src, port), end(want.family, &p.dst, server));
    let id = match want.family {
        Family::V4 => format!("id={}", 5000 + port),
        Family::V6 => format!("fid={}", 5000 + port),
    };
    let packet = match draw.below(3) {
        0 => format!("udp {a} {b} len=64"),
        1 => format!("tcp {a} {b} A len=60"),
        _ => format!("icmp {} {} {} len=64", p.src, p.dst, if want.family == Family::V4 { "8/0" } else { "128/0" }),
    };
    let cuts: &[&str] = draw.pick(&[&["0:32+", "32:40"][..], &["0:24+", "24:24+", "48:32"], &["0:40+"]]);
    cuts.iter().map(|cut| format!("{}> {packet} frag={cut} {id}", p.from)).collect()
}

/// IPv6 packets with extension headers.
fn extensions(draw: &mut Draw, want: Want, p: &Path, port: usize, server: usize) -> Vec<String> {
    let (a, b) = (end(want.family, &p.src, port), end(want.family, &p.dst, server));
    let one = |draw: &mut Draw, n: usize| match n {
        0 => format!("0:{}", draw.pick(&["0000010400000000", "0000050200000100", "00011e0a000000000000000000000100"])),
        1 => format!("60:{}", draw.pick(&["0000010400000000", "00011e0a000000000000000000000100"])),
        2 => format!(
            "43:{}",
            draw.pick(&[
                "0002000000000000fd000009000000000000000000000001",
                "0002040000000000fd000009000000000000000000000001"
            ])
        ),
        _ => format!(
            "51:{}",
            draw.pick(&[
                "000400000000010000000001000000000000000000000000",
                "000400000000000100000001000000000000000000000000"
            ])
        ),
    };
    let mut list = Vec::new();
    for n in 0..4 {
        if draw.percent(40) {
            list.push(one(draw, n));
        }
    }
    if list.is_empty() {
        list.push(one(draw, 1));
    }
    let ext = list.join(",");
    let send = marked(draw, p);
    let packet = match draw.below(3) {
        0 => format!("udp {a} {b} len=9 ext={ext}"),
        1 => format!("tcp {a} {b} S ext={ext}"),
        _ => format!("icmp {} {} 128/0 id={port} len=9 ext={ext}", p.src, p.dst),
    };
    let mut out = vec![format!("{send}{packet}")];
    if p.to != 'r' && draw.percent(50) {
        out.push(format!("{} reply len=3", p.to));
    }
    out
}
