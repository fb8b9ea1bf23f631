//! Generated scenarios: every match at every hook where it is legal, every target in every chain.
//!
//! Rules without a target only count, so one ruleset holds all spellings of a match in all chains, and the
//! counters say for each packet and hook whether it matched.

use crate::Result;
use crate::scenario::Scenario;

/// Table and chain of every hook, in the order in which they are loaded.
pub const CHAINS: [(&str, &str); 17] = [
    ("raw", "PREROUTING"),
    ("raw", "OUTPUT"),
    ("mangle", "PREROUTING"),
    ("mangle", "INPUT"),
    ("mangle", "FORWARD"),
    ("mangle", "OUTPUT"),
    ("mangle", "POSTROUTING"),
    ("nat", "PREROUTING"),
    ("nat", "INPUT"),
    ("nat", "OUTPUT"),
    ("nat", "POSTROUTING"),
    ("filter", "INPUT"),
    ("filter", "FORWARD"),
    ("filter", "OUTPUT"),
    ("security", "INPUT"),
    ("security", "FORWARD"),
    ("security", "OUTPUT"),
];

/// Spellings of one match.
#[derive(Debug)]
pub struct Family {
    /// The match's name.
    pub name: &'static str,
    /// It looks at connections, so the nat table takes part.
    pub connections: bool,
    /// Packets of its own, after the common ones.
    pub traffic: &'static str,
    /// The spellings, each a rule without target.
    pub rules: &'static [&'static str],
}

/// Packets that reach every hook in every role: forwarded both ways, delivered, sent, through lo.
pub const TRAFFIC: &str = "\
c> udp 10.1.0.10:1000 10.2.0.10:53 len=8
s reply len=4
c> udp 10.1.0.10:1000 10.2.0.10:53 len=9
c> udp 10.1.0.11:5000 10.3.0.10:5353 len=8 tos=0x10
c> udp 10.1.0.10:0 10.2.0.11:65535 len=1
c> tcp 10.1.0.10:1000 10.2.0.10:80 S seq=100 topts=020405b4
s reply SA
c> tcp 10.1.0.10:1000 10.2.0.10:80 A seq=101 ack=5001
c> tcp 10.1.0.10:1000 10.2.0.10:80 PA seq=101 ack=5001 len=30
s reply FA
c> tcp 10.1.0.10:1001 10.2.0.10:443 SU
c> tcp 10.1.0.10:1001 10.2.0.10:8080 FPU
s> tcp 10.2.0.10:80 10.1.0.10:7777 R seq=7
c> icmp 10.1.0.10 10.2.0.10 8/0 len=8
s reply len=8
c> icmperr 10.1.0.10 10.2.0.10 3/1 : udp 10.2.0.10:53 10.1.0.10:1000 len=4
c> icmp 10.1.0.10 10.2.0.10 13/0 len=12
c> ip 10.1.0.10 10.2.0.10 proto=253 len=10
s> udp 10.2.0.10:1 10.1.0.12:2 len=8
t> udp 10.3.0.10:53 10.2.0.10:1000 len=8
c> udp 10.1.0.10:1000 10.1.0.1:53 len=8
c> udp 10.1.0.10:1000 10.2.0.1:54 len=8
c> tcp 10.1.0.10:1000 10.1.0.1:80 S
c> icmp 10.1.0.10 10.1.0.1 8/0 len=8
c> udp 10.1.0.10:1000 10.1.0.255:53 len=8
r> udp 10.1.0.1:1000 10.1.0.10:53 len=8
r> mark=1 udp 10.2.0.1:1000 10.2.0.10:53 len=8
r> mark=0x11 udp 10.2.0.1:53 10.2.0.10:5353 len=8
r> tcp 10.2.0.1:1000 10.2.0.10:80 S seq=100
s reply SA
r> icmp 10.2.0.1 10.2.0.10 8/0
s reply
r> udp 127.0.0.1:1000 127.0.0.1:53 len=8
r> tcp 127.0.0.1:1000 127.0.0.1:80 S
r> icmp 127.0.0.1 127.0.0.1 8/0
r> udp 10.1.0.1:1000 10.2.0.1:5353 len=8
";

/// Every match of the first issue.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "source and destination address",
        connections: false,
        traffic: "",
        rules: &[
            "-s 10.1.0.10/32",
            "! -s 10.1.0.10/32",
            "-d 10.2.0.0/24",
            "! -d 10.2.0.0/24",
            "-s 10.0.0.0/8 -d 10.0.0.0/8",
            "-s 0.0.0.0/0",
            "! -s 0.0.0.0/0",
            "-s 10.1.0.10/255.255.0.255",
            "! -d 127.0.0.0/8",
            "-d 10.1.0.255/32",
            "-s 10.1.0.10/31 ! -d 10.2.0.10/32",
            "-s 10.2.0.1/32",
            "-d 128.0.0.0/1",
            "! -d 128.0.0.0/1",
        ],
    },
    Family {
        name: "device in and out",
        connections: false,
        traffic: "",
        rules: &[
            "-i eth0",
            "! -i eth0",
            "-i eth+",
            "! -i eth+",
            "-i lo",
            "-i +",
            "-o eth1",
            "! -o eth1",
            "-o eth+",
            "! -o eth+",
            "-o lo",
            "! -o lo",
            "-i nosuch0",
            "-o nosuch0",
            "! -o nosuch+",
            "-i eth0 -o eth1",
            "-i eth",
            "-i e+",
        ],
    },
    Family {
        name: "protocol",
        connections: false,
        traffic: "",
        rules: &["-p tcp", "! -p tcp", "-p udp", "-p icmp", "-p 253", "! -p 253", "-p all", "-p 47", "-f", "! -f"],
    },
    Family {
        name: "tcp",
        connections: false,
        traffic: "c> tcp 10.1.0.10:1 10.2.0.10:2 S topts=01030307
c> tcp 10.1.0.10:1 10.2.0.10:2 SA topts=0101080a00000000
c> tcp 10.1.0.10:1 10.2.0.10:2 -
c> tcp 10.1.0.10:1 10.2.0.10:2 FSRPAUEC
c> tcp 10.1.0.10:1 10.2.0.10:2 EC
",
        rules: &[
            "-p tcp -m tcp --dport 80",
            "-p tcp -m tcp ! --dport 80",
            "-p tcp -m tcp --sport 1000",
            "-p tcp -m tcp ! --sport 1000",
            "-p tcp -m tcp --sport 1000:1001 --dport 80:8080",
            "-p tcp -m tcp --dport :80",
            "-p tcp -m tcp --dport 443:",
            "-p tcp -m tcp ! --dport 81:442",
            "-p tcp -m tcp --syn",
            "-p tcp -m tcp ! --syn",
            "-p tcp -m tcp --tcp-flags ALL NONE",
            "-p tcp -m tcp --tcp-flags ALL FIN,PSH,URG",
            "-p tcp -m tcp ! --tcp-flags SYN,ACK SYN",
            "-p tcp -m tcp --tcp-flags SYN,ACK SYN,ACK",
            "-p tcp -m tcp --tcp-flags RST RST",
            "-p tcp -m tcp --tcp-flags ALL ALL",
            "-p tcp -m tcp --tcp-flags FIN,SYN NONE",
            "-p tcp -m tcp --tcp-option 2",
            "-p tcp -m tcp ! --tcp-option 2",
            "-p tcp -m tcp --tcp-option 8",
            "-p tcp -m tcp --tcp-option 3",
            "-p tcp -m tcp --sport 0:65535",
            "-p tcp -m tcp",
        ],
    },
    Family {
        name: "udp",
        connections: false,
        traffic: "",
        rules: &[
            "-p udp -m udp --dport 53",
            "-p udp -m udp ! --dport 53",
            "-p udp -m udp --sport 1000",
            "-p udp -m udp ! --sport 1000",
            "-p udp -m udp --sport 53:1000 --dport 53:5353",
            "-p udp -m udp --dport 65535",
            "-p udp -m udp --sport 0",
            "-p udp -m udp ! --sport 0:999 ! --dport 54",
            "-p udp -m udp",
            "-p udp -m udp --dport 54:65534",
        ],
    },
    Family {
        name: "icmp",
        connections: false,
        traffic: "c> icmp 10.1.0.10 10.2.0.10 8/1
c> icmperr 10.1.0.10 10.2.0.10 3/13 : udp 10.2.0.10:53 10.1.0.10:1000 len=4
c> icmperr 10.1.0.10 10.2.0.10 11/1 : udp 10.2.0.10:53 10.1.0.10:1000 len=4
c> icmp 10.1.0.10 10.2.0.10 255/255
",
        rules: &[
            "-p icmp -m icmp --icmp-type 8",
            "-p icmp -m icmp ! --icmp-type 8",
            "-p icmp -m icmp --icmp-type 3/1",
            "-p icmp -m icmp ! --icmp-type 3/1",
            "-p icmp -m icmp --icmp-type 3",
            "-p icmp -m icmp --icmp-type any",
            "-p icmp -m icmp --icmp-type echo-reply",
            "-p icmp -m icmp --icmp-type ttl-exceeded",
            "-p icmp -m icmp --icmp-type timestamp-request",
            "-p icmp -m icmp --icmp-type 8/1",
            "-p icmp",
        ],
    },
    Family {
        name: "comment",
        connections: false,
        traffic: "",
        rules: &[
            "-m comment --comment plain",
            "-m comment --comment \"two words\"",
            "-p udp -m comment --comment x -m udp --dport 53",
        ],
    },
    Family {
        name: "mark",
        connections: false,
        traffic: "",
        rules: &[
            "-m mark --mark 0x1",
            "-m mark ! --mark 0x1",
            "-m mark --mark 0x1/0x1",
            "-m mark ! --mark 0x10/0x10",
            "-m mark --mark 0x0",
            "-m mark --mark 0x11/0xff",
            "-m mark --mark 0x3/0x1",
        ],
    },
    Family {
        name: "multiport",
        connections: false,
        traffic: "",
        rules: &[
            "-p udp -m multiport --dports 53,54",
            "-p udp -m multiport ! --dports 53,54",
            "-p udp -m multiport --sports 1000,5000",
            "-p udp -m multiport --ports 53",
            "-p udp -m multiport ! --ports 53",
            "-p tcp -m multiport --dports 80,440:450",
            "-p tcp -m multiport ! --sports 1:999",
            "-p tcp -m multiport --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,80",
            "-p udp -m multiport --dports 0:52,54:65535",
        ],
    },
    Family {
        name: "addrtype",
        connections: false,
        traffic: "c> udp 10.1.0.10:1 203.0.113.1:2 len=4
c> udp 10.1.0.10:1 203.0.113.70:2 len=4
c> udp 10.1.0.10:1 203.0.113.130:2 len=4
c> udp 10.1.0.10:1 224.0.0.1:2 len=4
c> udp 203.0.113.1:1 10.2.0.10:2 len=4
c> udp 0.0.0.0:68 255.255.255.255:67 len=4
",
        rules: &[
            "-m addrtype --dst-type LOCAL",
            "-m addrtype ! --dst-type LOCAL",
            "-m addrtype --src-type LOCAL",
            "-m addrtype ! --src-type LOCAL",
            "-m addrtype --dst-type UNICAST",
            "-m addrtype --dst-type BROADCAST",
            "-m addrtype ! --dst-type BROADCAST,MULTICAST",
            "-m addrtype --dst-type MULTICAST",
            "-m addrtype --dst-type UNREACHABLE",
            "-m addrtype --dst-type PROHIBIT",
            "-m addrtype --dst-type BLACKHOLE",
            "-m addrtype --src-type UNREACHABLE",
            "-m addrtype --src-type UNSPEC",
            "-m addrtype --src-type LOCAL --dst-type LOCAL",
            "-m addrtype ! --src-type LOCAL --dst-type UNICAST",
            "-m addrtype --dst-type ANYCAST",
            "-m addrtype --dst-type LOCAL --limit-iface-in",
            "-m addrtype --dst-type LOCAL --limit-iface-out",
            "-m addrtype --src-type LOCAL --limit-iface-in",
            "-m addrtype --src-type UNICAST --limit-iface-out",
        ],
    },
    Family {
        name: "statistic nth",
        connections: false,
        traffic: "repeat 7 c> udp 10.1.0.10:{i} 10.2.0.10:53 len=8\n",
        rules: &[
            "-m statistic --mode nth --every 2 --packet 0",
            "-m statistic --mode nth --every 3 --packet 2",
            "-m statistic --mode nth ! --every 4 --packet 1",
            "-p udp -m udp --dport 53 -m statistic --mode nth --every 2 --packet 1",
            "-m statistic --mode nth --every 1 --packet 0",
            "-m statistic --mode random --probability 1.0",
            "-m statistic --mode random ! --probability 1.0",
            "-m statistic --mode random --probability 0.0",
        ],
    },
    Family {
        name: "limit",
        connections: false,
        traffic: "repeat 9 c> udp 10.1.0.10:{i} 10.2.0.10:53 len=8\n",
        rules: &[
            "-m limit --limit 1/hour --limit-burst 3",
            "-m limit --limit 1/hour",
            "-p udp -m limit --limit 1/hour --limit-burst 1",
            "-m limit --limit 10000/sec --limit-burst 100",
            "-p udp -m udp --dport 53 -m limit --limit 2/hour --limit-burst 4",
        ],
    },
    Family {
        name: "quota",
        connections: false,
        traffic: "repeat 9 c> udp 10.1.0.10:{i} 10.2.0.10:53 len=8\nc> udp 10.1.0.10:9 10.2.0.10:53 len=200\n",
        rules: &[
            "-m quota --quota 0",
            "-m quota ! --quota 0",
            "-m quota --quota 36",
            "-m quota --quota 100",
            "-m quota ! --quota 100",
            "-p udp -m udp --dport 53 -m quota --quota 300",
            "-p udp -m quota ! --quota 145 -m quota --quota 80",
            "-m quota --quota 18446744073709551615",
            "-m quota ! --quota 4294967296",
        ],
    },
    Family {
        name: "cluster",
        connections: true,
        traffic: "c> udp 10.1.0.12:1 10.2.0.10:53 len=8\nc> udp 10.1.0.13:1 10.2.0.10:53 len=8\ns reply len=3\n",
        rules: &[
            "-m cluster --cluster-total-nodes 2 --cluster-local-node 1 --cluster-hash-seed 0xdeadbeef",
            "-m cluster --cluster-total-nodes 2 --cluster-local-node 2 --cluster-hash-seed 0xdeadbeef",
            "-m cluster --cluster-total-nodes 2 ! --cluster-local-node 2 --cluster-hash-seed 0xdeadbeef",
            "-m cluster --cluster-total-nodes 3 --cluster-local-nodemask 0x5 --cluster-hash-seed 0",
            "-m cluster --cluster-total-nodes 5 --cluster-local-nodemask 0x13 --cluster-hash-seed 7",
            "-m cluster --cluster-total-nodes 32 ! --cluster-local-nodemask 0x1f --cluster-hash-seed 4294967295",
        ],
    },
    Family {
        name: "hashlimit",
        connections: false,
        traffic: "repeat 6 c> udp 10.1.0.10:{i} 10.2.0.10:53 len=8\nc> udp 10.1.0.12:1 10.2.0.10:54 len=0\nc> udp 10.1.0.12:1 10.2.0.10:54 len=0\n",
        rules: &[
            "-m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 3 --hashlimit-name all",
            "-m hashlimit --hashlimit-above 1/hour --hashlimit-burst 3 --hashlimit-name all",
            "-m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 2 --hashlimit-mode srcip --hashlimit-name src",
            "-m hashlimit --hashlimit-above 1/hour --hashlimit-burst 2 --hashlimit-mode dstip --hashlimit-name dst",
            "-p udp -m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 1 --hashlimit-mode dstip,dstport --hashlimit-name dp",
            "-p udp -m hashlimit --hashlimit-above 1/hour --hashlimit-burst 1 --hashlimit-mode srcip,srcport,dstip,dstport --hashlimit-name sp",
            "-m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 4 --hashlimit-mode srcip --hashlimit-srcmask 24 --hashlimit-name net",
            "-m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 4 --hashlimit-mode srcip --hashlimit-srcmask 0 --hashlimit-name none",
            "-p udp -m hashlimit --hashlimit-upto 16b/s --hashlimit-mode srcip --hashlimit-name bytes",
            "-p udp -m hashlimit --hashlimit-above 16b/s --hashlimit-burst 64b --hashlimit-mode dstport --hashlimit-name burst",
            "-m hashlimit --hashlimit-upto 2/hour --hashlimit-mode srcip --hashlimit-name rm --hashlimit-rate-match --hashlimit-rate-interval 3600",
            "-m hashlimit --hashlimit-above 100kb/s --hashlimit-mode srcip --hashlimit-name rmb --hashlimit-rate-match --hashlimit-rate-interval 9000",
            "-m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 9 --hashlimit-name all",
        ],
    },
    Family {
        name: "connbytes",
        connections: true,
        traffic: "c> udp 10.1.0.12:1 10.2.0.10:53 len=8\ns reply len=3\ns reply len=30\nc> udp 10.1.0.12:1 10.2.0.10:53 len=100\n",
        rules: &[
            "-m connbytes --connbytes 1 --connbytes-mode packets --connbytes-dir both",
            "-m connbytes ! --connbytes 1 --connbytes-mode packets --connbytes-dir both",
            "-m connbytes --connbytes 2:3 --connbytes-mode packets --connbytes-dir original",
            "-m connbytes ! --connbytes 2:3 --connbytes-mode packets --connbytes-dir reply",
            "-m connbytes --connbytes 0:0 --connbytes-mode packets --connbytes-dir reply",
            "-m connbytes --connbytes 100 --connbytes-mode bytes --connbytes-dir both",
            "-m connbytes --connbytes 60:200 --connbytes-mode bytes --connbytes-dir reply",
            "-m connbytes ! --connbytes 30:80 --connbytes-mode bytes --connbytes-dir original",
            "-m connbytes --connbytes 40:90 --connbytes-mode avgpkt --connbytes-dir both",
            "-m connbytes --connbytes 40 --connbytes-mode avgpkt --connbytes-dir original",
            "-m connbytes --connbytes 0:0 --connbytes-mode avgpkt --connbytes-dir reply",
        ],
    },
    Family {
        name: "labels and helpers",
        connections: true,
        traffic: "c> udp 10.1.0.12:1 10.2.0.10:53 len=8\ns reply len=3\nc> udp 10.1.0.12:1 10.2.0.10:53 len=8\n",
        rules: &[
            "-m connlabel --label 0",
            "-p udp -m connlabel --label 0 --set",
            "-m connlabel --label 0",
            "-m connlabel ! --label 0",
            "-m connlabel ! --label 127",
            "-p tcp -m connlabel ! --label 127 --set",
            "-m connlabel --label 127",
            "-p icmp -m connlabel --label 64 --set",
            "-m connlabel --label 64",
            "-m connlabel ! --label 63 --set",
            "-m helper --helper ftp",
            "-m helper ! --helper ftp",
        ],
    },
    Family {
        name: "recent",
        connections: false,
        traffic: "repeat 6 c> udp 10.1.0.10:{i} 10.2.0.10:53 len=8\nc> udp 10.1.0.12:1 10.2.0.10:53 len=8\n",
        rules: &[
            "-m recent --set --name A --rsource",
            "-m recent --rcheck --name A --rsource",
            "-m recent ! --rcheck --name A --rsource",
            "-m recent --rcheck --seconds 600 --hitcount 4 --name A --rsource",
            "-m recent --update --name A --rdest",
            "-p icmp -m recent --remove --name A --rsource",
            "-m recent --update --hitcount 3 --name A --rsource",
            "-m recent --set --name B --mask 255.255.255.0 --rdest",
            "-m recent --rcheck --name B --mask 255.255.255.0 --rdest",
            "-m recent --rcheck --rttl --seconds 600 --name A --rsource",
            "-m recent ! --set --name C --rsource",
            "-m recent --rcheck --name C --rsource",
        ],
    },
    Family {
        name: "connmark",
        connections: true,
        traffic: "",
        rules: &[
            "-m connmark --mark 0x0",
            "-m connmark ! --mark 0x0",
            "-m connmark --mark 0x1/0x1",
            "-m connmark ! --mark 0x1/0x1",
        ],
    },
    Family {
        name: "state",
        connections: true,
        traffic: "",
        rules: &[
            "-m state --state NEW",
            "-m state ! --state NEW",
            "-m state --state ESTABLISHED",
            "-m state --state RELATED,ESTABLISHED",
            "-m state --state INVALID",
            "-m state ! --state INVALID",
            "-m state --state UNTRACKED",
        ],
    },
    Family {
        name: "conntrack state and status",
        connections: true,
        traffic: "",
        rules: &[
            "-m conntrack --ctstate NEW",
            "-m conntrack ! --ctstate NEW",
            "-m conntrack --ctstate ESTABLISHED",
            "-m conntrack --ctstate RELATED",
            "-m conntrack --ctstate INVALID",
            "-m conntrack ! --ctstate INVALID,NEW",
            "-m conntrack --ctstate UNTRACKED",
            "-m conntrack --ctstate SNAT",
            "-m conntrack --ctstate DNAT",
            "-m conntrack ! --ctstate DNAT",
            "-m conntrack --ctstatus NONE",
            "-m conntrack --ctstatus SEEN_REPLY",
            "-m conntrack ! --ctstatus SEEN_REPLY",
            "-m conntrack --ctstatus ASSURED",
            "-m conntrack --ctstatus CONFIRMED",
            "-m conntrack ! --ctstatus CONFIRMED",
            "-m conntrack --ctstatus EXPECTED",
            "-m conntrack --ctdir ORIGINAL",
            "-m conntrack --ctdir REPLY",
            "-m conntrack --ctexpire 0:1000000",
            "-m conntrack ! --ctexpire 0:1000000",
            "-m conntrack --ctexpire 1:1000000",
        ],
    },
    Family {
        name: "conntrack tuples",
        connections: true,
        traffic: "",
        rules: &[
            "-m conntrack --ctproto 17",
            "-m conntrack ! --ctproto 17",
            "-m conntrack --ctproto 6 --ctorigdstport 80",
            "-m conntrack --ctorigsrc 10.1.0.10",
            "-m conntrack ! --ctorigsrc 10.1.0.10",
            "-m conntrack --ctorigdst 10.2.0.0/24",
            "-m conntrack ! --ctorigdst 10.2.0.0/24",
            "-m conntrack --ctreplsrc 10.2.0.10",
            "-m conntrack ! --ctreplsrc 10.2.0.10",
            "-m conntrack --ctrepldst 10.1.0.10",
            "-m conntrack ! --ctrepldst 10.1.0.0/24",
            "-m conntrack --ctproto 17 --ctorigsrcport 1000",
            "-m conntrack --ctproto 17 ! --ctorigdstport 53",
            "-m conntrack --ctproto 17 --ctreplsrcport 53:54",
            "-m conntrack --ctproto 17 ! --ctrepldstport 1000",
            "-m conntrack --ctstate NEW --ctproto 17 --ctorigsrc 10.1.0.0/16 --ctdir ORIGINAL",
        ],
    },
];

/// Whether a rule's words are legal in a chain.
pub fn legal(rule: &str, table: &str, chain: &str) -> bool {
    let words: Vec<&str> = rule.split_whitespace().collect();
    let has = |w: &str| words.contains(&w);
    let incoming = matches!(chain, "PREROUTING" | "INPUT");
    let outgoing = matches!(chain, "OUTPUT" | "POSTROUTING");
    let _ = table;
    !(has("-i") && outgoing
        || has("-o") && incoming
        || has("--limit-iface-in") && outgoing
        || has("--limit-iface-out") && incoming)
}

/// Makes restore input of one rule text per chain; `None` leaves a chain without that rule.
fn ruleset(chains: &[(&str, &str)], user: &[&str], rule: impl Fn(&str, &str) -> Vec<String>) -> String {
    let mut out = String::new();
    let mut table = "";
    for (t, c) in chains {
        if *t != table {
            if !table.is_empty() {
                out += "COMMIT\n";
            }
            out += &format!("*{t}\n");
            for u in user {
                out += &format!(":{u} - [0:0]\n");
            }
            table = t;
        }
        for r in rule(t, c) {
            out += &format!("{r}\n");
        }
    }
    out + "COMMIT\n"
}

/// One scenario for every match: all spellings in all chains, counting.
pub fn matches() -> Result<Vec<Scenario>> {
    let mut all = Vec::new();
    for f in FAMILIES {
        let chains: Vec<_> = CHAINS.iter().copied().filter(|(t, _)| f.connections || *t != "nat").collect();
        let rules = ruleset(&chains, &[], |t, c| {
            f.rules.iter().filter(|r| legal(r, t, c)).map(|r| format!("-A {c} {r}")).collect()
        });
        all.push(Scenario::new(format!("{} at every hook", f.name), rules, &format!("{TRAFFIC}{}", f.traffic))?);
    }
    // The same spellings as decisions: the first that fits takes the packet.
    for f in FAMILIES {
        let rules = ruleset(&[("filter", "INPUT"), ("filter", "FORWARD"), ("filter", "OUTPUT")], &["T"], |t, c| {
            let mut lines: Vec<String> = f
                .rules
                .iter()
                .filter(|r| legal(r, t, c))
                .enumerate()
                .map(|(i, r)| {
                    format!(
                        "-A {c} {r} -m statistic --mode nth --every {} --packet 1 -j {}",
                        i % 3 + 2,
                        ["DROP", "ACCEPT", "T"][i % 3]
                    )
                })
                .collect();
            if c == "OUTPUT" {
                lines.push("-A T -p udp -j RETURN".into());
                lines.push("-A T -j ACCEPT".into());
            }
            lines
        });
        all.push(Scenario::new(format!("{} decides", f.name), rules, &format!("{TRAFFIC}{}", f.traffic))?);
    }
    Ok(all)
}

/// One scenario for every chain: verdicts, jumps and marks in it.
pub fn targets() -> Result<Vec<Scenario>> {
    let mut all = Vec::new();
    for (table, chain) in CHAINS {
        let mut lines = vec![
            format!("-A {chain} -j MARK --set-xmark 0x100/0xffff"),
            format!("-A {chain} -j MARK --or-mark 0x3"),
            format!("-A {chain} -m mark --mark 0x103"),
            format!("-A {chain} -p tcp -j MARK --xor-mark 0x1"),
            format!("-A {chain} -j MARK --and-mark 0xff"),
            format!("-A {chain} -m mark --mark 0x2"),
            format!("-A {chain} -p icmp -j RETURN"),
            format!("-A {chain} -p udp -m udp --dport 53 -j U"),
            format!("-A {chain} -p udp -m udp --dport 54 -j ACCEPT"),
            format!("-A {chain} -p udp -m udp --dport 5353 -g V"),
            format!("-A {chain} -p tcp -m tcp --dport 80 -g U"),
            format!("-A {chain}"),
            "-A U -p udp -m udp --sport 1000 -j V".into(),
            "-A U -j RETURN".into(),
            "-A V -m mark --mark 0x2".into(),
        ];
        if table == "nat" {
            // Without a rule that needs it conntrack does not run, and nat sees nothing.
            lines.push(format!("-A {chain} -m conntrack --ctstate NEW"));
        } else {
            lines.push("-A V -p udp -m udp --sport 53 -j DROP".into());
            lines.push(format!("-A {chain} -p 253 -j DROP"));
        }
        let rules = ruleset(&[(table, chain)], &["U", "V"], |_, _| lines.clone());
        all.push(Scenario::new(format!("verdicts and marks in {table} {chain}"), rules, TRAFFIC)?);

        if table != "raw" {
            let rules = ruleset(&[(table, chain)], &[], |_, _| {
                [
                    "-p udp -j CONNMARK --set-xmark 0x5/0xffffffff",
                    "-m connmark --mark 0x5",
                    "-p tcp -j CONNMARK --or-mark 0x10",
                    "-p icmp -j MARK --set-xmark 0x77/0xffffffff",
                    "-p icmp -j CONNMARK --save-mark",
                    "-j CONNMARK --restore-mark --mask 0xf",
                    "-m mark --mark 0x5",
                    "-j CONNMARK --xor-mark 0x40",
                    "-m connmark --mark 0x40/0x40",
                ]
                .iter()
                .map(|r| format!("-A {chain} {r}"))
                .collect()
            });
            all.push(Scenario::new(format!("connection marks in {table} {chain}"), rules, TRAFFIC)?);
        }
        if table == "raw" {
            let rules = ruleset(&[(table, chain)], &[], |_, _| {
                vec![
                    format!("-A {chain} -p udp -m udp --dport 53 -j CT --notrack"),
                    format!("-A {chain} -p tcp -j NOTRACK"),
                    format!("-A {chain}"),
                ]
            });
            let seen = ruleset(&[("filter", "INPUT"), ("filter", "FORWARD"), ("filter", "OUTPUT")], &[], |_, c| {
                ["UNTRACKED", "NEW", "ESTABLISHED", "RELATED", "INVALID"]
                    .iter()
                    .map(|s| format!("-A {c} -m conntrack --ctstate {s}"))
                    .collect()
            });
            all.push(Scenario::new(format!("untracked connections from {chain}"), rules + &seen, TRAFFIC)?);
        }
    }
    Ok(all)
}

/// Jumps as deep as netfilter goes, by jump and by goto.
pub fn depth() -> Result<Vec<Scenario>> {
    let mut all = Vec::new();
    for (word, name) in [("-j", "jumps"), ("-g", "gotos")] {
        let chain = |i: usize| format!("D{i:02}");
        let mut rules = String::from("*filter\n");
        for i in 1..=16 {
            rules += &format!(":{} - [0:0]\n", chain(i));
        }
        rules += "-A FORWARD -p udp -j D01\n-A FORWARD -p udp -m udp --dport 1 -j DROP\n-A FORWARD -j ACCEPT\n";
        for i in 1..=16 {
            rules += &format!("-A {} -p udp -m udp --sport {i} -j RETURN\n", chain(i));
            if i < 16 {
                rules += &format!("-A {} {word} {}\n", chain(i), chain(i + 1));
            } else {
                rules += &format!("-A {} -p udp -m udp --dport 2 -j DROP\n", chain(i));
            }
            rules += &format!("-A {} -p udp -m udp --dport 3 -m mark --mark 0x0\n", chain(i));
        }
        rules += "COMMIT\n";
        let mut steps = String::new();
        for sport in [100, 1, 2, 8, 15, 16] {
            for dport in 1..=3 {
                steps += &format!("c> udp 10.1.0.10:{sport} 10.2.0.10:{dport} len=4\n");
            }
        }
        all.push(Scenario::new(format!("sixteen nested {name}"), rules, &steps)?);
    }
    // Many rules, so that every strategy of classification takes part.
    for n in [5usize, 60, 700] {
        let mut rules = String::from("*filter\n");
        for i in 0..n {
            let (a, b) = (i / 200, i % 200);
            rules += &match i % 7 {
                0 => format!("-A FORWARD -s 10.1.{a}.{b}/32 -d 10.2.0.0/16 -p udp -m udp --dport {}\n", 1000 + i),
                1 => format!("-A FORWARD -d 10.2.{a}.{b}/32 -p tcp -m tcp --dport {} -j ACCEPT\n", 80 + i),
                2 => format!("-A FORWARD -p udp -m udp --sport {} --dport 1:{} -j DROP\n", 2000 + i, 3000 + i),
                3 => format!("-A FORWARD ! -s 10.1.{a}.{b}/32 -p udp -m udp --dport {}\n", 1000 + i - 3),
                4 => format!("-A FORWARD -i eth0 -p udp -m udp --dport {}:{}\n", 1000 + i / 2, 1000 + i),
                5 => format!("-A FORWARD -s 10.{}.0.0/16 -p icmp -m icmp --icmp-type 8\n", 1 + i % 3),
                _ => format!("-A FORWARD -o eth1 -d 10.2.0.{} -j ACCEPT\n", 100 + i % 100),
            };
        }
        rules += "-A FORWARD -p udp -j DROP\nCOMMIT\n";
        let mut steps = String::new();
        for i in (0..n).step_by((n / 30).max(1)) {
            steps += &format!("c> udp 10.1.0.10:{} 10.2.0.10:{} len=4\n", 2000 + i, 1000 + i);
            steps += &format!("c> tcp 10.1.0.10:1 10.2.0.{}:{} S\n", 2 + i % 9, 80 + i);
        }
        steps += "c> icmp 10.1.0.10 10.2.0.10 8/0\nc> udp 10.1.0.10:1 10.2.0.100:1 len=4\n";
        // FORWARD is asked once the next hop is known (docs/deviations.md), so every one of them is.
        let mut neighbours = String::new();
        for host in 3..=9 {
            neighbours +=
                &format!("@ip r neigh replace 10.2.0.{host} lladdr 02:00:00:00:02:02 dev eth1 nud permanent\n");
        }
        let name = format!("a chain of {n} mixed rules");
        all.extend(crate::scenario::parse(&format!("### {name}\n{neighbours}{rules}---\n{steps}"))?);
    }
    Ok(all)
}
