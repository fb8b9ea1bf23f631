//! What the programs cannot run yet is refused by name, and nothing of it is applied. Needs root and the binary under test.

use bpftables_compat_tests::cli::{Answer, Call, Place, words};
use bpftables_compat_tests::world::Kind;

fn call(place: &Place, line: &str, stdin: &str) -> Answer {
    let argv = words(line).expect("a command line");
    place.call(&Call { argv, stdin: stdin.into() }).expect("the command can be run")
}

/// Table, the extension's name, and a rule that legacy accepts.
const REFUSED: &[(&str, &str, &str)] = &[
    ("filter", "NFQUEUE", "-A INPUT -j NFQUEUE --queue-num 1"),
    ("filter", "QUEUE", "-A INPUT -j QUEUE"),
    ("filter", "policy", "-A FORWARD -m policy --dir out --pol ipsec -j ACCEPT"),
    ("filter", "policy", "-A INPUT -m policy --dir in --pol ipsec --strict --reqid 1 --next --reqid 2"),
    ("filter", "mac", "-A INPUT -m mac --mac-source 01:00:00:00:00:01 -j DROP"),
    ("filter", "string", "-A INPUT -m string --hex-string \"|df|\" --icase --algo bm -j DROP"),
    ("filter", "bpf", "-A INPUT -m bpf --bytecode \"2,32 0 0 4294963200,6 0 0 1\" -j DROP"),
    ("filter", "realm", "-A INPUT -m realm --realm 1 -j DROP"),
    ("filter", "AUDIT", "-A INPUT -j AUDIT --type drop"),
    ("filter", "IDLETIMER", "-A INPUT -j IDLETIMER --timeout 9 --label x"),
    ("raw", "connlimit", "-A PREROUTING -m connlimit --connlimit-above 1 -j DROP"),
    ("raw", "CT", "-A PREROUTING -p tcp -j CT --helper ftp"),
];

#[test]
fn what_cannot_run_is_refused_by_name_and_changes_nothing() {
    let p = Place::new(Kind::Ours).expect("a place");
    assert_eq!(call(&p, "iptables -A INPUT -s 10.0.0.1 -j DROP", "").code, Some(0));
    let before = call(&p, "iptables-save", "").stdout;
    let rules = |save: &str| save.lines().filter(|l| l.starts_with("-A")).collect::<Vec<_>>().join("\n");
    for (table, name, rule) in REFUSED {
        let a = call(&p, &format!("iptables -t {table} {rule}"), "");
        assert!(matches!(a.code, Some(1 | 2)), "{rule}: {a:?}");
        assert!(a.stderr.contains(name), "{rule}: the message does not name {name}: {}", a.stderr);
        let a = call(&p, "iptables-restore", &format!("*{table}\n-A OUTPUT -j ACCEPT\n{rule}\nCOMMIT\n"));
        assert!(matches!(a.code, Some(1 | 2)), "{rule}: {a:?}");
        assert!(a.stderr.contains(name), "{rule}: the message does not name {name}: {}", a.stderr);
        let after = call(&p, "iptables-save", "").stdout;
        assert_eq!(rules(&before), rules(&after), "{rule} changed something");
    }
}
