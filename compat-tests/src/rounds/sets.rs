//! Sets: some of every type with which rules are run, that stay, and three that change while packets come. (`hash:mac`, `hash:ip,mac`,
//! `hash:ip,mark`, `hash:net,net` and `hash:net,port,net` are not in every kernel: scenarios have them, which the tests of stock kernels run.)

use super::Place;
use super::draw::Draw;
use super::pools::{any_host, host, network};
use crate::world::Family;

/// A set's name, how many directions its type has, whether it has counters, how it is made, and its elements.
struct Set {
    name: &'static str,
    dimension: usize,
    counts: bool,
    kind: String,
    elements: Vec<String>,
}

fn zoo(family: Family) -> Vec<Set> {
    let v4 = family == Family::V4;
    let h = |net: usize, n: usize| host(family, net, n);
    let p = |net: usize, n: usize, len: usize| match (family, len) {
        (Family::V4, len) => format!("{}/{len}", h(net, n)),
        (_, 16) => format!("{}/32", h(net, n)),
        (_, 24) => format!("{}/64", h(net, n)),
        _ => format!("{}/127", h(net, n)),
    };
    let icmp = if v4 { "icmp:echo-request" } else { "icmpv6:echo-request" };
    let of = if v4 { "" } else { " family inet6" };
    let half = if v4 { "0.0.0.0/1" } else { "::/1" };
    let mut all = Vec::new();
    let mut set = |name: &'static str, dimension: usize, kind: &str, elements: &[String]| {
        let kind = if kind.starts_with("hash") { format!("{kind}{of}") } else { kind.to_owned() };
        let counts = kind.contains("counters");
        all.push(Set { name, dimension, counts, kind, elements: elements.to_vec() });
    };
    set("sa", 1, "hash:ip", &[h(1, 10), h(2, 11), h(1, 1), h(4, 10)]);
    set("sb", 1, if v4 { "hash:ip netmask 24" } else { "hash:ip netmask 64" }, &[h(1, 77), h(4, 9)]);
    set("sc", 1, if v4 { "hash:ip bitmask 255.0.255.255" } else { "hash:ip bitmask ffff::ffff" }, &[h(9, 10)]);
    set("sd", 1, "bitmap:port range 0-1023", &["53", "80", "1000", "0"].map(str::to_owned));
    let ports = ["udp:53", "tcp:80", "sctp:80", "udplite:53", "udp:1000", icmp, "47:0"];
    let there = |net: usize, n: usize| ports.map(|port| format!("{},{port}", h(net, n)));
    set("se", 2, "hash:ip,port", &[there(2, 10), there(1, 10), there(3, 11)].concat());
    set("sf", 3, "hash:ip,port,ip", &there(1, 10).map(|e| format!("{e},{}", h(2, 10))));
    let near = there(1, 10).map(|e| format!("{e},{}", p(2, 0, 24)));
    set("sg", 3, "hash:ip,port,net", &[&near[..], &[format!("{},tcp:80,{} nomatch", h(1, 10), h(2, 11))]].concat());
    let nets =
        [p(2, 0, 16), format!("{} nomatch", h(2, 10)), h(2, 11), format!("{} nomatch", p(1, 10, 31)), half.to_owned()];
    set("sh", 1, "hash:net", &nets);
    let far = ports.map(|port| format!("{},{port}", p(2, 0, 24)));
    set("sk", 2, "hash:net,port", &[&far[..], &[format!("{},tcp:80 nomatch", h(2, 10))]].concat());
    let devices = [
        format!("{},eth0", p(1, 0, 24)),
        format!("{},eth0 nomatch", h(1, 11)),
        format!("{},eth1", p(2, 0, 16)),
        format!("{},physdev:eth0", h(1, 12)),
        format!("{half},eth2"),
        format!("{},e wildcard", p(3, 0, 24)),
    ];
    set("sl", 2, "hash:net,iface", &devices);
    if v4 {
        let of = ["02:00:00:00:01:02", "02:00:00:00:02:02"];
        let link = [format!("{},{}", h(1, 10), of[0]), format!("{},{}", h(1, 11), of[1])];
        set("sp", 1, "bitmap:ip range 10.1.0.0/24", &[h(1, 10), h(1, 255), h(1, 1)]);
        // docs/deviations.md: elements without a link address match any, always.
        set("sq", 2, "bitmap:ip,mac range 10.1.0.0/24", &link);
    }
    set("sr", 1, "hash:ip counters", &[h(1, 10) + " packets 5 bytes 1000", h(2, 11) + " packets 7 bytes 70"]);
    set("ss", 2, "hash:net,port counters timeout 100000", &[p(1, 0, 24) + ",udp:53 packets 3", h(2, 10) + ",tcp:80"]);
    set("st", 1, "hash:ip timeout 100000 comment skbinfo", &[h(1, 11) + " skbmark 0x5 comment x"]);
    set("su", 2, "list:set", &["sa", "sk", "sd", "sl"].map(str::to_owned));
    set("sv", 1, "list:set", &[]);
    set("da", 1, "hash:ip", &[]);
    set("db", 1, "hash:ip", &[]);
    set("dn", 1, "hash:net", &[]);
    all
}

/// Lines of ipset(8) that make them all.
pub(super) fn all(family: Family) -> Vec<String> {
    let make = |set: Set| {
        let elements = set.elements.into_iter().map(move |element| format!("add {} {element}", set.name));
        std::iter::once(format!("create {} {}", set.name, set.kind)).chain(elements)
    };
    zoo(family).into_iter().flat_map(make).collect()
}

/// `-m set`. The directions need not be as many as the type has.
pub(super) fn any(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    let all = zoo(place.family);
    let set = if place.want.sets { &all[all.len() - 1 - draw.below(3)] } else { &all[draw.below(all.len())] };
    let count = if draw.percent(85) { set.dimension } else { draw.from_to(1, 3) };
    let directions: Vec<&str> = (0..count).map(|_| draw.pick(&["src", "dst"])).collect();
    let mut out = format!("-m set {}--match-set {} {}", draw.not(), set.name, directions.join(","));
    if draw.percent(15) {
        out += " --return-nomatch";
    }
    // docs/deviations.md: what would count in its elements is refused.
    if set.counts {
        out += " ! --update-counters";
        out += draw.pick(&[
            "",
            " --packets-gt 4",
            " ! --packets-eq 5",
            " --bytes-lt 100",
            " --packets-lt 6 --bytes-gt 10",
        ]);
    }
    Some(out)
}

/// What those that change hold as a round begins.
pub(super) fn fill(draw: &mut Draw, family: Family) -> String {
    let mut lines = vec!["flush da".to_owned(), "flush db".to_owned(), "flush dn".to_owned()];
    lines.push(format!("add da {}", any_host(draw, family)));
    lines.push(format!("add dn {}", prefix(draw, family)));
    format!("ipset {}", lines.join(";"))
}

/// A change of one of them, of which some are refused.
pub(super) fn change(draw: &mut Draw, family: Family) -> String {
    let name = draw.pick(&["da", "da", "db"]);
    let line = match draw.below(7) {
        0 | 1 => format!("add {name} {}", any_host(draw, family)),
        2 => format!("del {name} {}", any_host(draw, family)),
        3 => format!("add dn {}{}", prefix(draw, family), draw.pick(&["", " nomatch"])),
        4 => format!("del dn {}", prefix(draw, family)),
        5 => "swap da db".to_owned(),
        _ => format!("flush {name}"),
    };
    format!("ipset {line}")
}

/// A network that a set may hold.
fn prefix(draw: &mut Draw, family: Family) -> String {
    loop {
        let net = network(draw, family);
        let (_, mask) = net.split_once('/').unwrap_or(("", "0"));
        if mask.parse::<u8>().is_ok_and(|len| len > 0) {
            return net;
        }
    }
}
