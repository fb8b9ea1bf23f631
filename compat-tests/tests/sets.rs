//! Sets of every type with elements drawn at random, asked by packets drawn at random, in legacy and in bpftables. Needs root, ipset(8) and the
//! binary.

use bpftables_compat_tests::world::{Kind, Node, World};
use bpftables_compat_tests::{ipv6, packet, scenario, suite};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sets of one run, and packets.
const SETS: usize = 100;
const PACKETS: usize = 60;
/// Packets while sets are swapped.
const SENT: u32 = 10_000;

/// A generator of numbers that draws the same ones every time (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len() as u64) as usize]
    }
}

struct Draw {
    dice: Dice,
    six: bool,
    /// Whether rules change sets, too.
    changing: bool,
}

const TYPES: [&str; 9] = [
    "hash:ip",
    "hash:ip,port",
    "hash:ip,port,ip",
    "hash:ip,port,net",
    "hash:net",
    "hash:net,port",
    "hash:net,iface",
    "bitmap:ip",
    "bitmap:port",
];

impl Draw {
    fn address(&mut self) -> String {
        let (net, host) = (1 + self.dice.roll(2), 10 + self.dice.roll(5));
        if self.six { format!("fd00:{net}::{host}") } else { format!("10.{net}.0.{host}") }
    }

    fn network(&mut self) -> String {
        let lens: &[&str] = match self.six {
            true => &["1", "8", "31", "32", "47", "64", "96", "120", "125", "126", "127", "128"],
            false => &["1", "8", "15", "16", "20", "24", "28", "29", "30", "31", "32"],
        };
        let len = self.dice.pick(lens);
        format!("{}/{len}", self.address())
    }

    fn port(&mut self) -> String {
        let icmp = if self.six { "icmpv6:echo-request" } else { "icmp:echo-request" };
        match self.dice.roll(10) {
            0 => icmp.to_owned(),
            1 => "gre:0".to_owned(),
            n => format!("{}:{}", if n < 6 { "udp" } else { "tcp" }, 1 + self.dice.roll(4)),
        }
    }

    fn element(&mut self, kind: &str) -> String {
        match kind {
            "bitmap:ip" => format!("10.1.0.{}", 10 + self.dice.roll(5)),
            "bitmap:port" => (1 + self.dice.roll(4)).to_string(),
            _ => {
                let parts = kind.trim_start_matches("hash:").split(',');
                let parts: Vec<String> = parts
                    .map(|part| match part {
                        "ip" => self.address(),
                        "net" => self.network(),
                        "port" => self.port(),
                        _ if self.six => self.dice.pick(&["rc", "rs", "lo", "r wildcard"]).to_owned(),
                        _ => self.dice.pick(&["eth0", "eth1", "eth2", "eth wildcard"]).to_owned(),
                    })
                    .collect();
                parts.join(",")
            }
        }
    }

    fn create(&mut self, name: &str, kind: &str) -> String {
        let mut line = format!("create {name} {kind}");
        match kind {
            "bitmap:ip" => line += " range 10.1.0.8-10.1.0.40",
            "bitmap:port" => line += " range 0-100",
            _ => {
                if self.six {
                    line += " family inet6";
                }
                if self.dice.one_in(2) {
                    // A packet makes no room in legacy's tables, so those that rules add to have some.
                    line += if self.changing { " hashsize 64" } else { " hashsize 64 bucketsize 2" };
                }
            }
        }
        if kind == "hash:ip" && self.dice.one_in(3) {
            line += if self.six { " netmask 127" } else { " netmask 31" };
        }
        if self.dice.one_in(3) {
            line += " timeout 1000";
        }
        if self.dice.one_in(4) {
            line += " comment";
        }
        line
    }

    /// Commands of ipset, and rules.
    fn sets(&mut self) -> (Vec<String>, String) {
        let (mut lines, mut rules, mut names): (Vec<String>, String, Vec<String>) = Default::default();
        // Lines of all sets by now that rules may add to, and delete from.
        let mut members: Vec<[bool; 2]> = Vec::new();
        for number in 0..SETS {
            let name = format!("set{number}");
            let list = names.len() > 3 && self.dice.one_in(8);
            if list {
                lines.push(format!("create {name} list:set"));
                let mut may = [true; 2];
                for _ in 0..self.dice.roll(4) {
                    let at = self.dice.roll(names.len() as u64) as usize;
                    lines.push(format!("add {name} {} -exist", names[at]));
                    may = [may[0] && members[at][1], may[1] && members[at][1]];
                }
                if self.changing {
                    rules += &self.change(&name, may, false);
                }
            } else {
                let kinds = if self.six { &TYPES[..7] } else { &TYPES[..] };
                let kind = if self.dice.one_in(12) { "bitmap:port" } else { self.dice.pick(kinds) };
                let line = self.create(&name, kind);
                let may = [kind != "hash:net,iface", !kind.contains("net")];
                if self.changing {
                    rules += &self.change(&name, may, !line.contains("comment"));
                }
                members.push(may);
                lines.push(line);
                let most = if self.dice.one_in(5) { 60 } else { 8 };
                for _ in 0..self.dice.roll(most) {
                    let nomatch = if kind.contains("net") && self.dice.one_in(3) { " nomatch" } else { "" };
                    lines.push(format!("add {name} {}{nomatch} -exist", self.element(kind)));
                }
                names.push(name.clone());
            }
            for _ in 0..2 {
                let count = 1 + self.dice.roll(3);
                let sides: Vec<&str> = (0..count).map(|_| self.dice.pick(&["src", "dst"])).collect();
                let not = if self.dice.one_in(4) { "! " } else { "" };
                let nomatch = if self.dice.one_in(4) { " --return-nomatch" } else { "" };
                let _ = writeln!(rules, "-A FORWARD -m set {not}--match-set {name} {}{nomatch}", sides.join(","));
            }
        }
        (lines, format!("*filter\n{rules}COMMIT\n"))
    }

    /// Rules that change a set, if they may add to it, and delete from it.
    fn change(&mut self, name: &str, may: [bool; 2], renew: bool) -> String {
        let mut rules = String::new();
        for _ in 0..self.dice.roll(3) {
            let proto = self.dice.pick(&["", "-p tcp ", "-p udp --dport 1 ", "-p udp --sport 2 ", "-p udp --dport 3 "]);
            let sides: Vec<&str> = (0..1 + self.dice.roll(3)).map(|_| self.dice.pick(&["src", "dst"])).collect();
            let what = self.dice.roll(2) as usize;
            if may[what] {
                let option = ["--add-set", "--del-set"][what];
                let _ = write!(rules, "-A FORWARD {proto}-j SET {option} {name} {}", sides.join(","));
                if what == 0 && renew && self.dice.one_in(3) {
                    rules += " --exist";
                }
                if what == 0 && self.dice.one_in(3) {
                    rules += " --timeout 900";
                }
                rules += "\n";
            }
        }
        rules
    }

    fn packet(&mut self) -> String {
        let (from, to) = (10 + self.dice.roll(5), 10 + self.dice.roll(5));
        let (sport, dport) = (1 + self.dice.roll(5), 1 + self.dice.roll(5));
        let (from, to, separator) = match self.six {
            true => (format!("fd00:1::{from}"), format!("fd00:2::{to}"), ','),
            false => (format!("10.1.0.{from}"), format!("10.2.0.{to}"), ':'),
        };
        match self.dice.roll(8) {
            0 if self.six => format!("icmp {from} {to} 128/0 id=1"),
            0 => format!("icmp {from} {to} 8/0 id=1"),
            1 => format!("ip {from} {to} proto=47 len=8"),
            n => {
                let (proto, flags) = if n < 5 { ("udp", "") } else { ("tcp", " S") };
                format!("{proto} {from}{separator}{sport} {to}{separator}{dport}{flags}")
            }
        }
    }

    fn scenario(&mut self, prologue: &str) -> String {
        let (lines, rules) = self.sets();
        let mut text = format!("### sets at random\n@ipset {}\n{rules}---\n{prologue}", lines.join(";"));
        for _ in 0..PACKETS {
            let _ = writeln!(text, "c> {}", self.packet());
        }
        text
    }
}

#[test]
fn sets_of_every_type_drawn_at_random_have_what_they_have_in_legacy() {
    let mut draw = Draw { dice: Dice(1), six: false, changing: false };
    let text: Vec<String> = (0..2).map(|n| draw.scenario("").replacen("random", &format!("random {n}"), 1)).collect();
    suite::scenarios("random sets", &scenario::parse(&text.concat()).expect("scenarios"));
}

#[test]
fn sets_drawn_at_random_are_changed_by_rules_as_by_legacys() {
    let mut draw = Draw { dice: Dice(3), six: false, changing: true };
    let text: Vec<String> = (0..4).map(|n| draw.scenario("").replacen("random", &format!("random {n}"), 1)).collect();
    suite::scenarios("random changes of sets", &scenario::parse(&text.concat()).expect("scenarios"));
}

#[test]
fn sets_of_ipv6_drawn_at_random_have_what_they_have_in_legacy_also_where_rules_change_them() {
    let mut neighbours = String::new();
    for (net, dev) in [(1, "rc"), (2, "rs")] {
        for host in 10..15 {
            let _ = writeln!(
                neighbours,
                "ip neighbour replace fd00:{net}::{host} lladdr 02:00:00:00:0{net}:10 nud permanent dev {dev}"
            );
        }
    }
    for (seed, changing) in [(6, false), (7, true)] {
        let mut draw = Draw { dice: Dice(seed), six: true, changing };
        let found = ipv6::differences(&draw.scenario(&neighbours), suite::subject()).expect("scenarios can be run");
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

fn ours() -> World {
    World::new(Kind::Ours, 0).expect("a world")
}

fn ipset(world: &mut World, lines: &[&str]) {
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    let said = world.ipset(&lines).expect("ipset(8)");
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn sets_that_programs_would_have_to_write_into_are_refused_by_name() {
    let mut world = ours();
    ipset(
        &mut world,
        &["create n hash:ip counters", "create l list:set", "create p hash:ip", "add l p", "create q list:set"],
    );
    ipset(
        &mut world,
        &[
            "add q n",
            "create net hash:net",
            "create iface hash:net,iface",
            "create m list:set",
            "add m net",
            "create said hash:ip comment",
        ],
    );
    let exit = |world: &World, rule: &str| {
        let args: Vec<&str> = rule.split(' ').collect();
        let out = world.tool("iptables", &args, "").expect("iptables");
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    for refused in ["n src", "n src ! --update-subcounters", "q src"] {
        let (code, said) = exit(&world, &format!("-A FORWARD -m set --match-set {refused} -j DROP"));
        assert_eq!(code, Some(1), "{refused}: {said}");
        assert!(said.contains("--update-") && said.contains("FORWARD, rule 1"), "{refused}: {said}");
    }
    let refused = [
        ("--add-set n src", "set n counts"),
        ("--add-set q src", "a set of q counts"),
        ("--add-set m src", "a set of m is of type hash:net, which --add-set can't change"),
        ("--add-set iface src,src", "set iface is of type hash:net,iface, which --add-set can't change"),
        ("--del-set net src", "set net is of type hash:net, which --del-set can't change"),
        ("--add-set said src --exist", "set said has comments"),
    ];
    for (refused, reason) in refused {
        let (code, said) = exit(&world, &format!("-A FORWARD -j SET {refused}"));
        assert!(code == Some(1) && said.contains(reason) && said.contains("FORWARD, rule 1"), "{code:?}: {said}");
    }
    let refused = [
        ("p src --map-mark --map-queue", "--map-queue can't be run"),
        ("n src --map-mark", "set n counts"),
        ("l src --map-mark", "set l is a list"),
    ];
    for (refused, reason) in refused {
        let (code, said) = exit(&world, &format!("-t mangle -A FORWARD -j SET --map-set {refused}"));
        assert!(code == Some(1) && said.contains(reason), "{code:?}: {said}");
    }
    assert_eq!(world.save().expect("a save"), "", "something was changed");
    for taken in ["n src ! --update-counters", "q src ! --update-subcounters", "q src ! --update-counters", "l src"] {
        let (code, said) = exit(&world, &format!("-A FORWARD -m set --match-set {taken} -j DROP"));
        assert_eq!((code, said.as_str()), (Some(0), ""), "{taken}");
    }
}

#[test]
fn a_swap_is_met_whole_by_every_packet() {
    let mut world = ours();
    let mut lines = Vec::new();
    for n in 0..30 {
        // The rule's set is not among the first, where it would be found by chance.
        lines.push(format!("create other{n} hash:ip"));
    }
    lines.extend(
        ["create a hash:ip", "create a-longer-name hash:ip", "create bitmap bitmap:ip range 10.1.0.0/24"]
            .map(str::to_owned),
    );
    lines.extend(["a", "a-longer-name", "bitmap"].map(|set| format!("add {set} 10.1.0.10")));
    assert_eq!(world.ipset(&lines).expect("ipset(8)"), [""; 0]);
    world.restore("*filter\n-A FORWARD -m set ! --match-set a src -j DROP\n-A FORWARD\nCOMMIT\n", &[]).expect("rules");
    let swaps = "swap a a-longer-name\nswap bitmap a\n".repeat(200);
    let frame = {
        let packet = packet::build("udp 10.1.0.10:1 10.2.0.10:53").expect("a packet");
        [&Node::C.router_mac()[..], &Node::C.mac(), &[8, 0], &packet].concat()
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            let mut times = 0;
            while !done.load(Ordering::Relaxed) {
                let mut command = std::process::Command::new("ipset");
                command.arg("restore");
                let out = world.net(Node::R).command(command, swaps.as_bytes()).expect("ipset(8)");
                assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
                times += 1;
            }
            times
        });
        for n in 0..SENT {
            world.taps[0].send(&frame).expect("a frame is sent");
            while n % 100 == 0 && world.taps[1].recv().expect("frames can be read").is_some() {}
        }
        done.store(true, Ordering::Relaxed);
        let times: u32 = swapping.join().expect("a thread");
        println!("{times} times 400 swaps, {SENT} packets");
    });
    std::thread::sleep(std::time::Duration::from_millis(50));
    let saved = world.save().expect("a save");
    assert!(saved.contains(&format!("[{SENT}:{}] -A FORWARD\n", 28 * SENT)), "{SENT} packets: {saved}");
    assert!(saved.contains("[0:0] -A FORWARD -m set ! --match-set a src -j DROP"), "{SENT} packets: {saved}");
}
