//! What a ruleset with every match and target looks like when it is listed, printed as commands and saved.

#![allow(clippy::disallowed_methods, reason = "tests read files")]

mod support;

use bpftables_ruleset::{Family, Ruleset};
use support::{restore, run, saved, words};

const SAMPLE: &str = r#"*filter
:INPUT DROP [7:420]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [123456:7890123456]
:WEB - [0:0]
[10:600] -A INPUT -i lo -j ACCEPT
[20000000:1234567890123] -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
[0:0] -A INPUT -s 10.0.0.0/8 ! -d 192.168.1.1 -p tcp -m tcp --dport 22 -m comment --comment "the \"office\" net" -j ACCEPT
[0:0] -A INPUT -p tcp -m multiport --dports 80,443,8000:8080 -g WEB
[0:0] -A INPUT -p tcp -m tcp ! --sport 0:1023 --tcp-flags SYN,RST,ACK,FIN SYN --tcp-option 8 -j RETURN
[0:0] -A INPUT -p udp -m udp --sport 53 ! --dport 1024:65535 -j DROP
[0:0] -A INPUT -p icmp -m icmp --icmp-type echo-request -m limit --limit 5/min --limit-burst 8 -j ACCEPT
[0:0] -A INPUT -m addrtype ! --src-type LOCAL,BROADCAST --limit-iface-in -j DROP
[0:0] -A INPUT -m mark ! --mark 0x4000/0xffff -m connmark --mark 1 -j ACCEPT
[0:0] -A INPUT -m state --state NEW -m recent --update --seconds 60 --hitcount 4 --name ssh --mask 255.255.255.0 --rsource -j DROP
[0:0] -A INPUT -m conntrack --ctstate DNAT ! --ctorigsrc 10.0.0.0/8 --ctorigdstport 80:90 --ctstatus ASSURED --ctexpire 1:60 --ctdir ORIGINAL
[0:0] -A INPUT -f -p 47 -j REJECT --reject-with icmp-admin-prohibited
[0:0] -A FORWARD -i eth+ ! -o eth0 -m statistic --mode random --probability 0.25 -j WEB
[0:0] -A FORWARD -m statistic --mode nth ! --every 3 --packet 1 -j RETURN
[0:0] -A WEB -p tcp -j REJECT --reject-with tcp-reset
COMMIT
*mangle
-A PREROUTING -j MARK --set-xmark 0x10/0xff
-A PREROUTING -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xffff
-A OUTPUT -j CONNMARK --set-mark 5
COMMIT
*nat
-A PREROUTING -d 203.0.113.5 -p tcp -m tcp --dport 8000:8010 -j DNAT --to-destination 10.0.0.5-10.0.0.9:80-90/8000 --persistent
-A PREROUTING -p udp -j REDIRECT --to-ports 5300-5310 --random
-A PREROUTING -d 198.51.100.0/24 -j NETMAP --to 10.1.1.0/24
-A POSTROUTING -o eth0 -p tcp -j MASQUERADE --to-ports 1024-65535 --random-fully
-A POSTROUTING -s 10.0.0.0/8 -j SNAT --to-source 203.0.113.7-203.0.113.9 --random
COMMIT
*raw
-A PREROUTING -p udp -j CT --notrack
-A OUTPUT -j NOTRACK
COMMIT
"#;

#[test]
fn a_sample_of_every_match_and_target_prints_as_it_always_did() {
    let mut rules = Ruleset::new(Family::V4);
    let answer = restore(&mut rules, SAMPLE.as_bytes(), true, false);
    assert_eq!((answer.code, answer.err.as_str()), (0, ""));
    insta::assert_snapshot!("saved", saved(&rules, true));
    let listings = [
        ("listed", "-L"),
        ("listed_in_full", "-L -n -v --line-numbers"),
        ("listed_exactly", "-L INPUT -n -v -x"),
        ("commands", "-S"),
        ("commands_with_counters", "-S INPUT -v"),
        ("nat", "-t nat -L -n"),
        ("mangle", "-t mangle -L -n"),
        ("raw", "-t raw -L -n"),
    ];
    for (name, command) in listings {
        let answer = run(&mut rules, &words(command));
        assert_eq!((answer.code, answer.err.as_str()), (0, ""), "{command}");
        insta::assert_snapshot!(name, answer.out, command);
    }
}
