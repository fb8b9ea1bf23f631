//! What the commands say and answer, word for word as legacy 1.8.11.

mod common;

use bpftables::lock::{Wait, XtablesLock};
use common::Host;

const NO_CHAIN: &str = "iptables: No chain/target/match by that name.\n";
const TRY: &str = "Try `iptables -h' or 'iptables --help' for more information.\n";

#[test]
fn the_version_line_names_the_backend() {
    let mut host = Host::default();
    for line in ["iptables -V", "iptables --version", "iptables-bpf -V"] {
        assert_eq!(host.ok(line), "iptables v1.8.11 (bpf)\n", "{line}");
    }
    assert_eq!(host.ok("iptables ! -V"), "Not 1.8.11 (bpf) ;-)\n");
    assert_eq!(host.ok("iptables-save -V"), "iptables-save v1.8.11 (bpf)\n");
    assert_eq!(host.ok("iptables-restore -V"), "iptables-restore v1.8.11 (bpf)\n");
    assert_eq!(host.ok("ip6tables -V"), "ip6tables v1.8.11 (bpf)\n");
    assert_eq!(host.memory.commits, 0);
}

#[test]
fn refusals_of_the_rules_have_the_words_of_libiptc() {
    let mut host = Host::default();
    host.ok("iptables -N foo");
    host.ok("iptables -A INPUT -j foo");
    let cases = [
        ("iptables -N foo", "Chain already exists."),
        ("iptables -X foo", "Too many links."),
        ("iptables -X INPUT", "Invalid argument. Run `dmesg' for more information."),
        ("iptables -P foo DROP", "Bad built-in chain name."),
        ("iptables -P INPUT nope", "Bad policy name. Run `dmesg' for more information."),
        ("iptables -D INPUT 9", "Index of deletion too big."),
        ("iptables -Z INPUT 9", "Index of counter too big."),
        ("iptables -R INPUT 9 -j DROP", "Index of replacement too big."),
        ("iptables -I INPUT 9 -j DROP", "Index of insertion too big."),
        ("iptables -L nope", "No chain/target/match by that name."),
        ("iptables -S nope", "No chain/target/match by that name."),
        ("iptables -F nope", "No chain/target/match by that name."),
        ("iptables -Z nope", "No chain/target/match by that name."),
        ("iptables -X nope", "No chain/target/match by that name."),
        ("iptables -A nope -p tcp", "No chain/target/match by that name."),
        ("iptables -I nope -p tcp", "No chain/target/match by that name."),
        ("iptables -A foo -j INPUT", "Invalid argument. Run `dmesg' for more information."),
        ("iptables -A foo -j foo", "Too many levels of symbolic links."),
        ("iptables -E foo INPUT", "File exists."),
        ("iptables -E nope new", "No chain/target/match by that name."),
        ("iptables -D INPUT -p tcp", "Bad rule (does a matching rule exist in that chain?)."),
        ("iptables -D nope -p tcp", "Bad rule (does a matching rule exist in that chain?)."),
        ("iptables -D nope 1", "No chain/target/match by that name."),
        ("iptables -C INPUT -p tcp", "Bad rule (does a matching rule exist in that chain?)."),
        ("iptables -C FORWARD -j foo", "No chain/target/match by that name."),
    ];
    let before = host.ok("iptables -S");
    let commits = host.memory.commits;
    for (line, text) in cases {
        assert_eq!(host.fails(line), (1, format!("iptables: {text}\n")), "{line}");
    }
    assert_eq!(host.memory.commits, commits);
    assert_eq!(host.ok("iptables -S"), before);
}

#[test]
fn a_target_that_nobody_knows_is_a_parse_error() {
    let mut host = Host::default();
    let expected = format!("iptables v1.8.11 (bpf): Couldn't load target `NOPE':No such file or directory\n\n{TRY}");
    for line in ["iptables -A INPUT -j NOPE", "iptables -C INPUT -j NOPE", "iptables -D INPUT -j NOPE"] {
        assert_eq!(host.fails(line), (2, expected.clone()), "{line}");
    }
}

#[test]
fn a_table_that_nobody_knows_is_exit_code_3_and_for_save_1() {
    let mut host = Host::default();
    let text = "Table does not exist (do you need to insmod?)";
    assert_eq!(
        host.fails("iptables -t nope -L"),
        (
            3,
            format!(
                "iptables v1.8.11 (bpf): can't initialize iptables table `nope': {text}\n\
                 Perhaps iptables or your kernel needs to be upgraded.\n"
            )
        )
    );
    let save = format!("iptables-save v1.8.11 (bpf): Cannot initialize: {text}\n");
    assert_eq!(host.fails("iptables-save -t nope"), (1, save));
}

#[test]
fn verbose_commands_echo_what_they_do() {
    let mut host = Host::default();
    assert_eq!(
        host.ok("iptables -v -A INPUT -s 1.2.3.4 -p tcp --dport 80 -i eth0 -j ACCEPT"),
        "ACCEPT  tcp opt -- in eth0 out *  1.2.3.4  -> 0.0.0.0/0   tcp dpt:80\n"
    );
    assert_eq!(host.ok("iptables -v -I INPUT -j DROP"), "DROP  all opt -- in * out *  0.0.0.0/0  -> 0.0.0.0/0  \n");
    host.ok("iptables -N foo");
    assert_eq!(
        host.ok("iptables -v -F"),
        "Flushing chain `INPUT'\nFlushing chain `FORWARD'\nFlushing chain `OUTPUT'\nFlushing chain `foo'\n"
    );
    assert_eq!(host.ok("iptables -v -X"), "Deleting chain `foo'\n");
    assert_eq!(host.ok("iptables -v -Z"), "Zeroing chain `INPUT'\nZeroing chain `FORWARD'\nZeroing chain `OUTPUT'\n");
}

#[test]
fn looking_and_zeroing_nothing_commits_nothing() {
    let mut host = Host::default();
    for line in ["iptables -L", "iptables -S", "iptables -Z", "iptables -F", "iptables -X", "iptables -t nat -nvL"] {
        host.ok(line);
    }
    host.ok("iptables -P INPUT ACCEPT");
    assert_eq!(host.memory.commits, 0);
    host.ok("iptables -P INPUT DROP");
    assert_eq!(host.memory.commits, 1);
}

#[test]
fn the_table_first_met_is_saved_last() {
    let mut host = Host::default();
    host.ok("iptables -t nat -L");
    host.ok("iptables -A INPUT -j ACCEPT");
    host.ok("iptables-save -t raw");
    assert_eq!(host.run("iptables -t mangle -A NOPE").code, 1);
    let saved = host.ok("iptables-save");
    let tables: Vec<&str> = saved.lines().filter(|line| line.starts_with('*')).collect();
    assert_eq!(tables, ["*mangle", "*raw", "*filter", "*nat"]);
}

#[test]
fn save_prints_headings_chains_rules_and_counters_on_demand() {
    let mut host = Host::default();
    host.ok("iptables -N zebra");
    host.ok("iptables -N ant");
    host.ok("iptables -A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 22 -j ant");
    host.memory.count(3);
    assert_eq!(
        host.ok("iptables-save -c"),
        "# Generated by iptables-save v1.8.11 on Sat Nov 21 23:27:09 2026\n\
         *filter\n\
         :INPUT ACCEPT [3:300]\n\
         :FORWARD ACCEPT [3:300]\n\
         :OUTPUT ACCEPT [3:300]\n\
         :ant - [0:0]\n\
         :zebra - [0:0]\n\
         [3:300] -A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 22 -j ant\n\
         COMMIT\n\
         # Completed on Sat Nov 21 23:27:09 2026\n"
    );
    assert!(host.ok("iptables-save").contains("\n-A INPUT -s 10.0.0.0/8"));
}

#[test]
fn save_into_a_file_prints_nothing() {
    let mut host = Host::default();
    host.ok("iptables -A INPUT -j ACCEPT");
    let path = std::env::temp_dir().join(format!("bpftables-save-{}", std::process::id()));
    assert_eq!(host.ok(&format!("iptables-save -f {}", path.display())), "");
    assert!(std::fs::read_to_string(&path).unwrap().contains("\n-A INPUT -j ACCEPT\n"));
    std::fs::remove_file(path).unwrap();
    assert_eq!(
        host.fails("iptables-save -f /nonexistent/file"),
        (1, "Failed to open file, error: No such file or directory\n".to_owned())
    );
}

#[test]
fn options_that_save_does_not_know_point_to_the_manual() {
    let mut host = Host::default();
    assert_eq!(
        host.fails("iptables-save -z"),
        (
            1,
            "iptables-save: invalid option -- 'z'\nLook at manual page `iptables-save.8' for more information.\n"
                .to_owned()
        )
    );
    assert_eq!(host.fails("iptables-save nope"), (1, "Unknown arguments found on commandline\n".to_owned()));
}

#[test]
fn counters_are_kept_zeroed_and_set_as_by_legacy() {
    let mut host = Host::default();
    host.ok("iptables -A INPUT -p tcp -c 5 6");
    host.ok("iptables -A INPUT -p udp");
    host.memory.count(2);
    assert_eq!(
        host.ok("iptables -v -S INPUT"),
        "-P INPUT ACCEPT -c 2 200\n-A INPUT -p tcp -c 7 206\n-A INPUT -p udp -c 2 200\n"
    );
    host.ok("iptables -Z INPUT 1");
    host.memory.count(1);
    assert_eq!(
        host.ok("iptables -v -S INPUT"),
        "-P INPUT ACCEPT -c 3 300\n-A INPUT -p tcp -c 1 100\n-A INPUT -p udp -c 3 300\n"
    );
    host.ok("iptables -P INPUT ACCEPT -c 8 9");
    host.ok("iptables -A INPUT -p icmp");
    assert_eq!(host.ok("iptables -v -S INPUT 2"), "-A INPUT -p udp -c 3 300\n");
    assert!(host.ok("iptables -v -S INPUT").starts_with("-P INPUT ACCEPT -c 8 9\n"));
    host.ok("iptables -P INPUT ACCEPT");
    assert!(host.ok("iptables -v -S INPUT").starts_with("-P INPUT ACCEPT -c 0 0\n"));
    host.ok("iptables -L -Z");
    assert!(!host.ok("iptables-save -c").contains("[3:300]"));
}

#[test]
fn a_held_lock_is_exit_code_4() {
    let mut host = Host::default();
    let lock = XtablesLock::acquire(&host.lock_path, Wait::No).unwrap();
    let path = host.lock_path.display().to_string();
    let busy = format!(
        "Can't lock {path}: Resource temporarily unavailable\n\
         Another app is currently holding the xtables lock. Perhaps you want to use the -w option?\n"
    );
    assert_eq!(host.fails("iptables -S"), (4, busy.clone()));
    assert_eq!(host.fails("ip6tables -S"), (4, busy.clone()));
    let outcome = host.run_with(&["iptables-restore"], b"*filter\nCOMMIT\n");
    assert_eq!((outcome.code, outcome.stderr), (4, busy));
    let (code, text) = host.fails("iptables -w 1 -S");
    assert_eq!(code, 4);
    assert!(text.ends_with("Stopped waiting after 1s.\n"), "{text}");
    assert_eq!(host.ok("iptables-save"), "", "iptables-save never asks for the lock");
    drop(lock);
    host.ok("iptables -w 10 -S");
}

#[test]
fn a_deprecated_option_is_said_to_be_ignored() {
    let mut host = Host::default();
    let outcome = host.run("iptables -w 5 -W 100000 -N foo");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, "Ignoring deprecated --wait-interval option.\n"));
    let outcome = host.run("iptables -w 5 -W 100000 -C INPUT -j foo");
    assert_eq!(outcome.stderr, format!("Ignoring deprecated --wait-interval option.\n{NO_CHAIN}"));
    let (code, stderr) = host.fails("iptables -w 5 -W 100000 -A INPUT --nope");
    let refused = format!("iptables v1.8.11 (bpf): unknown option \"--nope\"\n{TRY}");
    assert_eq!((code, stderr), (2, format!("Ignoring deprecated --wait-interval option.\n{refused}")));
}

#[test]
fn one_command_stands_for_every_pair_of_addresses() {
    let mut host = Host::default();
    host.ok("iptables -A INPUT -s 1.1.1.1,2.2.2.2 -d 3.3.3.3,4.4.4.4");
    host.ok("iptables -I INPUT -s 5.5.5.5,6.6.6.6");
    assert_eq!(
        host.ok("iptables -S INPUT"),
        "-P INPUT ACCEPT\n\
         -A INPUT -s 6.6.6.6/32\n\
         -A INPUT -s 5.5.5.5/32\n\
         -A INPUT -s 1.1.1.1/32 -d 3.3.3.3/32\n\
         -A INPUT -s 1.1.1.1/32 -d 4.4.4.4/32\n\
         -A INPUT -s 2.2.2.2/32 -d 3.3.3.3/32\n\
         -A INPUT -s 2.2.2.2/32 -d 4.4.4.4/32\n"
    );
    let before = host.ok("iptables -S INPUT");
    assert_eq!(host.run("iptables -D INPUT -s 5.5.5.5,7.7.7.7").code, 1);
    assert_eq!(host.ok("iptables -S INPUT"), before, "a deletion is done whole or not at all");
}

#[test]
fn ip6tables_has_a_ruleset_of_its_own() {
    let mut host = Host::default();
    host.ok("ip6tables -A INPUT -s fd00::/8 -p ipv6-icmp -j DROP");
    host.ok("iptables -A INPUT -s 10.0.0.0/8 -j ACCEPT");
    assert_eq!(
        host.ok("ip6tables -S"),
        "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n-A INPUT -s fd00::/8 -p ipv6-icmp -j DROP\n"
    );
    assert!(host.ok("iptables -S").ends_with("-A INPUT -s 10.0.0.0/8 -j ACCEPT\n"));
    let nat = b"*nat\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n";
    assert_eq!(host.run_with(&["ip6tables-restore", "-n"], nat).code, 0);
    assert!(host.ok("ip6tables-save -t nat").contains("-A POSTROUTING -j MASQUERADE\n"));
    assert!(!host.ok("iptables-save").contains("MASQUERADE"));
}

#[test]
fn ip6tables_edits_and_saves_a_ruleset_of_its_own() {
    let mut host = Host::default();
    assert_eq!(host.ok("ip6tables -S"), "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n");
    host.ok("ip6tables -N foo");
    host.ok("ip6tables -A INPUT -s fc00::/7,::1 -p icmpv6 --icmpv6-type ping -j foo");
    host.ok("ip6tables -P FORWARD DROP");
    host.ok("ip6tables -t nat -A POSTROUTING -p tcp -j SNAT --to-source [fc00::1]:1-2");
    let saved = "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
                 -A POSTROUTING -p tcp -j SNAT --to-source [fc00::1]:1-2\nCOMMIT\n\
                 *filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:foo - [0:0]\n\
                 -A INPUT -s fc00::/7 -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j foo\n\
                 -A INPUT -s ::1/128 -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j foo\nCOMMIT\n";
    let comments =
        |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    let without: String = comments(&host.ok("ip6tables-save"));
    assert_eq!(without, saved);
    assert!(host.ok("ip6tables-save").starts_with("# Generated by ip6tables-save v1.8.11 on "));
    assert_eq!(host.ok("iptables-save"), "", "IPv4's is another ruleset");
    assert_eq!(host.run_with(&["ip6tables-restore"], saved.as_bytes()).code, 0);
    let without: String = comments(&host.ok("ip6tables-save"));
    assert_eq!(without, saved);
    assert_eq!(host.fails("ip6tables -X foo"), (1, "ip6tables: Too many links.\n".to_owned()));
    let refused = host.run_with(&["ip6tables-restore"], b"*filter\n-A INPUT -f\nCOMMIT\n");
    assert_eq!(
        (refused.code, refused.stderr.as_str()),
        (
            2,
            "ip6tables-restore v1.8.11 (bpf): `-f' is not supported in IPv6, use -m frag instead\nError occurred at line: 2\n\
             Try `ip6tables-restore -h' or 'ip6tables-restore --help' for more information.\n"
        )
    );
}
