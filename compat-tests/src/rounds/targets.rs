//! Targets of a table's chains.

use super::Place;
use super::draw::Draw;
use super::matches;
use super::pools::{MARKS, host};
use super::router::{PROXY_MARK, Router};
use crate::world::Family;

/// A rule's matches and target (but for jumps to chains).
pub(super) fn rule(draw: &mut Draw, place: &Place<'_>) -> String {
    let general = draw.weighted(&[
        (28, "ACCEPT"),
        (if place.table == "nat" { 0 } else { 10 }, "DROP"),
        (10, "RETURN"),
        (24, ""),
        (4, "LOG"),
        (1, "NFLOG"),
        (7, "MARK"),
        (if place.connections() && place.table != "raw" { 6 } else { 0 }, "CONNMARK"),
        (if place.only(&["FORWARD", "OUTPUT", "POSTROUTING"]) { 1 } else { 0 }, "CLASSIFY"),
        (2, "HMARK"),
        (if place.want.tee.is_some() { 10 } else { 0 }, "TEE"),
        (if place.want.rates { 6 } else { 0 }, "RATEEST"),
        (if place.want.proxy && place.table == "mangle" && place.only(&["PREROUTING"]) { 60 } else { 0 }, "TPROXY"),
        (
            match place.table {
                // A translation has connections tracked.
                "nat" if place.stateful => 90,
                "mangle" => 40,
                "raw" => 20,
                "filter" if place.want.reject => 12,
                _ => 0,
            },
            "own",
        ),
    ]);
    // A copy that mangle marks at OUTPUT goes its packet's way, and is no longer told from it.
    let general = match general {
        "MARK" | "CONNMARK" | "HMARK" | "own" if place.table == "mangle" && !place.in_order() => "",
        other => other,
    };
    let matches = |draw: &mut Draw| matches::some(draw, place);
    match general {
        "" => matches(draw),
        // Packets shall get somewhere: what is dropped is told apart by something.
        "DROP" => loop {
            let text = matches(draw);
            if text.len() > 24 {
                return format!("{text}-j DROP");
            }
        },
        "LOG" => format!("{}-j LOG --log-prefix x", matches(draw)),
        "NFLOG" => format!("{}-j NFLOG --nflog-group 5", matches(draw)),
        "MARK" => {
            let how = draw.pick(&["--set-xmark", "--set-mark", "--or-mark", "--and-mark", "--xor-mark"]);
            format!("{}-j MARK {how} {}", matches(draw), draw.pick(&MARKS))
        }
        "CONNMARK" => {
            let of = [
                "--set-xmark 0x1/0xff",
                "--set-mark 0x10",
                "--save-mark",
                "--restore-mark",
                "--restore-mark --nfmask 0xff --ctmask 0xff",
            ];
            format!("{}-j CONNMARK {}", matches(draw), draw.pick(&of))
        }
        "CLASSIFY" => format!("{}-j CLASSIFY --set-class 1:{}", matches(draw), draw.below(20)),
        "HMARK" => hmark(draw, place),
        "TEE" => {
            let to = host(place.family, place.want.tee.unwrap_or(3), draw.from_to(10, 11));
            format!("{}-j TEE --gateway {to}", matches(draw))
        }
        "RATEEST" => {
            let name = draw.pick(&["E{n}", "F{n}", "G{n}"]);
            format!("{}-j RATEEST --rateest-name {name} --rateest-interval 8s --rateest-ewmalog 16s", matches(draw))
        }
        "TPROXY" => proxy(draw, place),
        "own" => match place.table {
            "nat" => nat(draw, place),
            "mangle" => mangle(draw, place),
            "raw" => raw(draw, place),
            _ => reject(draw, place),
        },
        verdict => format!("{}-j {verdict}", matches(draw)),
    }
}

/// What a socket of the router takes, though it is for others.
pub(super) fn proxy(draw: &mut Draw, place: &Place<'_>) -> String {
    let (proto, port) = draw.weighted(&[(1, ("udp", 5353)), (1, ("tcp", 8080)), (1, ("tcp", 80))]);
    let to = if draw.percent(50) { draw.pick(&["53", "80", "443"]) } else { "" };
    let of = if to.is_empty() { String::new() } else { format!("-m {proto} --dport {to} ") };
    let at = if draw.percent(20) { format!(" --on-ip {}", host(place.family, 1, 1)) } else { String::new() };
    let how = format!("--on-port {port}{at} --tproxy-mark {PROXY_MARK}");
    format!("{}-p {proto} {of}-j TPROXY {how}", matches::base(draw, place))
}

/// Marks that others ask for.
fn hmark(draw: &mut Draw, place: &Place<'_>) -> String {
    let of = [
        "--hmark-tuple src,dst,sport,dport,proto --hmark-mod 3 --hmark-rnd 0xcafe",
        "--hmark-tuple src --hmark-mod 2 --hmark-offset 16 --hmark-rnd 0x1",
        "--hmark-tuple dst,sport --hmark-mod 2 --hmark-offset 1 --hmark-rnd 0xdeadbeef",
        "--hmark-src-prefix 24 --hmark-dst-prefix 31 --hmark-dport-mask 0xff --hmark-proto-mask 0xff --hmark-mod 4 --hmark-rnd 0x7",
        "--hmark-spi-mask 0xffffffff --hmark-mod 2 --hmark-rnd 0x9",
        "--hmark-tuple ct,src,dst,sport,dport,proto --hmark-mod 3 --hmark-rnd 0xcafe",
        "--hmark-tuple ct,dst,dport --hmark-mod 2 --hmark-offset 16 --hmark-rnd 0x5",
    ];
    // The last ones ask for the connection.
    let how = draw.pick(if place.connections() { &of } else { &of[..5] });
    format!("{}-j HMARK {how}", matches::some(draw, place))
}

fn reject(draw: &mut Draw, place: &Place<'_>) -> String {
    if draw.percent(30) {
        let base = matches::base(draw, place);
        return format!("{base}-p tcp -j REJECT --reject-with tcp-reset");
    }
    let with = match place.family {
        Family::V4 => draw.pick(&[
            "icmp-port-unreachable",
            "icmp-net-unreachable",
            "icmp-host-unreachable",
            "icmp-proto-unreachable",
            "icmp-admin-prohibited",
            "icmp-net-prohibited",
        ]),
        Family::V6 => {
            draw.pick(&["icmp6-port-unreachable", "icmp6-adm-prohibited", "icmp6-no-route", "icmp6-policy-fail"])
        }
    };
    format!("{}-j REJECT --reject-with {with}", matches::some(draw, place))
}

fn raw(draw: &mut Draw, place: &Place<'_>) -> String {
    let target = match draw.below(4) {
        0 => "NOTRACK".to_owned(),
        1 => "CT --notrack".to_owned(),
        2 => "TRACE".to_owned(),
        // docs/deviations.md: in one zone a pair of ends is one connection's, whichever direction the zone was said for.
        _ if place.want.zones => format!("CT {}", draw.pick(&["--zone 3", "--zone-orig 7"])),
        _ => "NOTRACK".to_owned(),
    };
    format!("{}-j {target}", matches::some(draw, place))
}

fn mangle(draw: &mut Draw, place: &Place<'_>) -> String {
    let v4 = place.family == Family::V4;
    // docs/deviations.md: legacy's kernel drops what it delivers after it was summed for a connection and then changed.
    let first = if !v4 && place.stateful && !place.only(&["FORWARD", "OUTPUT", "POSTROUTING"]) { 3 } else { 0 };
    match first + draw.below(9 - first) {
        0 => {
            format!("{}-j TOS --set-tos {}", matches::some(draw, place), draw.pick(&["0x10/0xff", "0x08/0x3f", "0x00"]))
        }
        1 => format!("{}-j DSCP --set-dscp {}", matches::some(draw, place), draw.pick(&["0x2e", "0x00", "0x08"])),
        2 if v4 => format!(
            "{}-j TTL {}",
            matches::some(draw, place),
            draw.pick(&["--ttl-set 63", "--ttl-inc 1", "--ttl-dec 1", "--ttl-dec 70"])
        ),
        2 => format!(
            "{}-j HL {}",
            matches::some(draw, place),
            draw.pick(&["--hl-set 63", "--hl-inc 1", "--hl-dec 1", "--hl-dec 70"])
        ),
        3 if v4 => {
            format!("{}-p tcp -j ECN --ecn-tcp-remove", matches::base(draw, place))
        }
        4 => {
            let clamp = if place.only(&["FORWARD", "OUTPUT", "POSTROUTING"]) {
                draw.pick(&["--set-mss 700", "--clamp-mss-to-pmtu"])
            } else {
                "--set-mss 700"
            };
            format!("{}-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS {clamp}", matches::base(draw, place))
        }
        5 => format!(
            "{}-p tcp -j TCPOPTSTRIP --strip-options {}",
            matches::base(draw, place),
            draw.pick(&["2,3", "timestamp", "4,5,8"])
        ),
        // docs/deviations.md: an error about what NPT changed has no connection.
        // (And its way leads to where copies go.)
        6 if !v4 && !place.stateful && place.want.tee.is_none() && draw.percent(60) => prefix(draw, place),
        7 => format!("{}-p udp -j CHECKSUM --checksum-fill", matches::base(draw, place)),
        _ => format!("{}-j MARK --set-mark {}", matches::some(draw, place), draw.pick(&MARKS)),
    }
}

/// SNPT and DNPT, between prefixes that take up the difference. (docs/deviations.md, "INPUT is asked": what another network's DNPT gets has no route.)
fn prefix(draw: &mut Draw, place: &Place<'_>) -> String {
    let net = place.want.prefix.min(place.want.nets());
    if place.only(&["PREROUTING", "OUTPUT"]) {
        return format!("-d fd00:7::/48 -j DNPT --src-pfx fd00:7::/48 --dst-pfx fd00:{net}::/48");
    }
    if place.only(&["INPUT", "POSTROUTING"]) {
        return format!("-s fd00:{net}::/48 -j SNPT --src-pfx fd00:{net}::/48 --dst-pfx fd00:7::/48");
    }
    matches::some(draw, place)
}

/// docs/deviations.md, "Bridged packets": what a bridge would hand back by the port it came by goes nowhere, and its connection stays.
fn unless_back(place: &Place<'_>, to: usize) -> String {
    let len = if place.family == Family::V4 { 24 } else { 64 };
    match place.want.router {
        Router::Bridged if to < 3 => format!("-s {}/{len} ", host(place.family, 3 - to, 0)),
        _ => String::new(),
    }
}

/// A translation. Ports are kept or given, so that none is drawn at random.
fn nat(draw: &mut Draw, place: &Place<'_>) -> String {
    let nets = place.want.nets();
    let proto = draw.weighted(&[(4, "tcp"), (4, "udp"), (1, "sctp"), (2, "")]);
    let port = if draw.percent(60) { draw.pick(&["53", "80", "443", "5353"]) } else { "" };
    let what = match (proto, port) {
        ("", _) => String::new(),
        (proto, "") => format!("-p {proto} "),
        (proto, port) => format!("-p {proto} -m {proto} --dport {port} "),
    };
    let extra = if draw.percent(20) && place.stateful { "-m conntrack --ctstate NEW " } else { "" };
    let with_port = |addr: &str, port: &str| match place.family {
        _ if port.is_empty() => addr.to_owned(),
        Family::V4 => format!("{addr}:{port}"),
        Family::V6 => format!("[{addr}]:{port}"),
    };
    let to_port = if !proto.is_empty() && draw.percent(40) { draw.pick(&["5353", "8080", "9999"]) } else { "" };
    if place.only(&["PREROUTING", "OUTPUT"]) {
        let service = host(place.family, draw.from_to(1, nets), draw.weighted(&[(5, 100), (2, 10), (1, 1)]));
        let d = if draw.percent(75) {
            format!("-d {service} ")
        } else {
            format!("{}-d {} ", draw.not(), host(place.family, 2, 10))
        };
        return match draw.below(5) {
            0 if place.only(&["PREROUTING"]) => {
                let ports = if to_port.is_empty() { String::new() } else { format!(" --to-ports {to_port}") };
                format!("{d}{what}{extra}-j REDIRECT{ports}")
            }
            1 => {
                let (from, to) = (draw.from_to(1, nets), draw.from_to(1, nets));
                let by = unless_back(place, to);
                format!("{by}-d {}/32 -j NETMAP --to {}/24", host(place.family, from, 100), host(place.family, to, 0))
                    .replace("::100/32", "::100/128")
                    .replace("::0/24", "::/64")
            }
            _ => {
                let net = draw.from_to(1, nets);
                let backend = host(place.family, net, draw.weighted(&[(5, 10), (4, 11), (1, 1)]));
                let by = unless_back(place, net);
                format!("{by}{d}{what}{extra}-j DNAT --to-destination {}", with_port(&backend, to_port))
            }
        };
    }
    if place.only(&["POSTROUTING"]) && draw.percent(45) {
        let source = if draw.percent(50) { format!("-s {} ", matches::address(draw, place)) } else { String::new() };
        return format!("{source}{what}{extra}-o {} -j MASQUERADE", matches::device(draw));
    }
    if !place.only(&["INPUT", "POSTROUTING"]) {
        return format!("{}-j ACCEPT", matches::some(draw, place));
    }
    let net = draw.from_to(1, nets);
    let source = host(place.family, net, draw.weighted(&[(5, 100), (3, 13), (2, 1)]));
    let out =
        if place.only(&["POSTROUTING"]) && draw.percent(60) { format!("-o eth{} ", net - 1) } else { String::new() };
    format!("{what}{extra}{out}-j SNAT --to-source {source}")
}
