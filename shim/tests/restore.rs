//! `iptables-restore`: what it loads, refuses and says, as legacy 1.8.11.

mod common;

use bpftables::lock::{Wait, XtablesLock};
use common::{Host, Outcome};
use std::fmt::Write as _;

const TRY: &str = "Try `iptables-restore -h' or 'iptables-restore --help' for more information.\n";

fn restore(host: &mut Host, options: &str, text: &str) -> Outcome {
    let line = format!("iptables-restore {options}");
    host.run_with(&line.split_whitespace().collect::<Vec<_>>(), text.as_bytes())
}

fn restored(host: &mut Host, options: &str, text: &str) -> String {
    let outcome = restore(host, options, text);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{text}");
    outcome.stdout
}

/// What is saved, without comments.
fn saved(host: &mut Host) -> String {
    let text = host.ok("iptables-save -c");
    text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_table_is_replaced_and_others_stay() {
    let mut host = Host::default();
    host.ok("iptables -t nat -N stays");
    host.ok("iptables -N goes");
    host.ok("iptables -A INPUT -j goes");
    restored(
        &mut host,
        "",
        "*filter\n:INPUT DROP [7:8]\n:new - [0:0]\n[5:6] -A INPUT -j new\n-A new -j ACCEPT -c 1 2\nCOMMIT\n",
    );
    assert_eq!(
        saved(&mut host),
        "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:new - [0:0]\n\
         [0:0] -A INPUT -j new\n[1:2] -A new -j ACCEPT\nCOMMIT\n\
         *nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
         :stays - [0:0]\nCOMMIT\n"
    );
    assert_eq!(host.memory.commits, 4);
}

#[test]
fn counters_are_taken_when_asked_for() {
    let mut host = Host::default();
    restored(&mut host, "-c", "*filter\n:INPUT ACCEPT [7:8]\n[5:6] -A INPUT -j DROP\nCOMMIT\n");
    assert_eq!(
        saved(&mut host),
        "*filter\n:INPUT ACCEPT [7:8]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n[5:6] -A INPUT -j DROP\nCOMMIT\n"
    );
}

#[test]
fn noflush_flushes_only_the_chains_that_it_names() {
    let mut host = Host::default();
    restored(
        &mut host,
        "",
        "*nat\n:A - [0:0]\n:B - [0:0]\n:OLD - [0:0]\n-A PREROUTING -j A\n-A A -j OLD\n-A B -p tcp\n-A OLD -p udp\nCOMMIT\n",
    );
    restored(
        &mut host,
        "--noflush --counters -w 5",
        "*nat\n:A - [0:0]\n:OLD - [0:0]\n:NEW - [0:0]\n-A A -j NEW\n-X OLD\nCOMMIT\n",
    );
    assert_eq!(
        saved(&mut host),
        "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
         :A - [0:0]\n:B - [0:0]\n:NEW - [0:0]\n\
         [0:0] -A PREROUTING -j A\n[0:0] -A A -j NEW\n[0:0] -A B -p tcp\nCOMMIT\n"
    );
}

#[test]
fn each_table_is_committed_on_its_own() {
    let mut host = Host::default();
    let outcome = restore(&mut host, "", "*filter\n-A INPUT -j DROP\nCOMMIT\n*nat\n-A NOPE -j ACCEPT\nCOMMIT\n");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (1, "iptables-restore: line 5 failed\n"));
    assert_eq!(host.ok("iptables -S INPUT"), "-P INPUT ACCEPT\n-A INPUT -j DROP\n");
    assert_eq!(host.memory.commits, 1);
    assert_eq!(host.ok("iptables -t nat -S PREROUTING"), "-P PREROUTING ACCEPT\n");
}

#[test]
fn a_restore_of_several_tables_reads_what_is_in_force_once() {
    let mut host = Host::default();
    restored(&mut host, "", "*filter\nCOMMIT\n*nat\nCOMMIT\n*raw\nCOMMIT\n*mangle\nCOMMIT\n");
    assert_eq!((host.memory.reads, host.memory.commits), (1, 4));
}

#[test]
fn refusals_name_the_line() {
    let cases = [
        (
            "*filter\n-A INPUT -j NOPE\nCOMMIT\n",
            2,
            format!(
                "iptables-restore v1.8.11 (bpf): Couldn't load target `NOPE':No such file or directory\n\nError occurred at line: 2\n{TRY}"
            ),
        ),
        ("*filter\n-A NOPE -j DROP\nCOMMIT\n", 1, "iptables-restore: line 2 failed\n".to_owned()),
        ("*filter\n-A INPUT -j DROP\n", 1, "iptables-restore: COMMIT expected at line 3\n".to_owned()),
        ("*filter\n-A INPUT -j DROP\nCOMMIT", 2, format!("Bad argument `COMMIT'\nError occurred at line: 3\n{TRY}")),
        (
            "*filter\n:foo - [0:0]\n-A foo -j foo\n-A INPUT -j foo\nCOMMIT\n",
            1,
            "iptables-restore: line 5 failed\n".to_owned(),
        ),
        (
            "*nope\nCOMMIT\n",
            2,
            format!(
                "iptables-restore v1.8.11 (bpf): iptables-restore: unable to initialize table 'nope'\nError occurred at line: 1\n{TRY}"
            ),
        ),
        (
            "*filter\n:INPUT NOPE\nCOMMIT\n",
            1,
            "iptables-restore v1.8.11 (bpf): Can't set policy `NOPE' on `INPUT' line 2: Bad policy name\n".to_owned(),
        ),
        (
            "*filter\n:foo ACCEPT\nCOMMIT\n",
            1,
            "iptables-restore v1.8.11 (bpf): Can't set policy `ACCEPT' on `foo' line 2: Bad built-in chain name\n"
                .to_owned(),
        ),
        (
            "*filter\n:foo - [0:0]\n:foo - [0:0]\nCOMMIT\n",
            2,
            format!(
                "iptables-restore v1.8.11 (bpf): error creating chain 'foo':File exists\nError occurred at line: 3\n{TRY}"
            ),
        ),
        ("nonsense\n", 1, "iptables-restore: line 1 failed\n".to_owned()),
        ("COMMIT\n", 1, "iptables-restore: line 1 failed\n".to_owned()),
        (
            "*filter\n-t nat -A INPUT\n",
            2,
            format!(
                "iptables-restore v1.8.11 (bpf): The -t option cannot be used in iptables-restore.\n\nError occurred at line: 2\n{TRY}"
            ),
        ),
        (
            "*filter\n:INPUT ACCEPT [x:y]\nCOMMIT\n",
            2,
            format!(
                "iptables-restore v1.8.11 (bpf): invalid policy counters for chain 'INPUT'\nError occurred at line: 2\n{TRY}"
            ),
        ),
    ];
    for (text, code, stderr) in cases {
        let mut host = Host::default();
        let outcome = restore(&mut host, "", text);
        assert_eq!((outcome.code, outcome.stderr), (code, stderr), "{text}");
        assert_eq!(host.memory.commits, 0, "{text}");
    }
}

#[test]
fn the_command_line_is_checked_as_by_legacy() {
    let mut host = Host::default();
    let cases = [
        ("-z", "iptables-restore: invalid option -- 'z'\nTry `iptables-restore -h' for more information.\n"),
        ("a b", "Unknown arguments found on commandline\n"),
        ("/nonexistent", "Can't open /nonexistent: No such file or directory\n"),
        ("-W 5", "Ignoring deprecated --wait-interval option.\nOption --wait-interval requires option --wait\n"),
    ];
    for (options, stderr) in cases {
        let outcome = restore(&mut host, options, "");
        assert_eq!((outcome.code, outcome.stderr.as_str()), (1, stderr), "{options}");
    }
    assert!(restore(&mut host, "-h", "").stderr.starts_with("Usage: iptables-restore [-c] [-v]"));
}

#[test]
fn test_mode_commits_nothing_but_reads_everything() {
    let mut host = Host::default();
    restored(&mut host, "--test", "*filter\n:foo - [0:0]\n-A foo -j foo\n-A INPUT -j foo\nCOMMIT\n");
    assert_eq!(host.memory.commits, 0);
    assert_eq!(restore(&mut host, "-t", "*filter\n-A INPUT --nope\nCOMMIT\n").code, 2);
}

#[test]
fn one_table_of_many_can_be_chosen() {
    let mut host = Host::default();
    let text = "*filter\n-A NONSENSE\nCOMMIT\n*nat\n-A OUTPUT -j ACCEPT\nCOMMIT\n*raw\nCOMMIT\n";
    restored(&mut host, "-T nat", text);
    assert_eq!(
        saved(&mut host),
        "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
         [0:0] -A OUTPUT -j ACCEPT\nCOMMIT\n"
    );
}

#[test]
fn verbose_shows_comments_and_what_is_flushed_and_added() {
    let mut host = Host::default();
    host.ok("iptables -N old");
    assert_eq!(
        restored(&mut host, "-v", "# hello\n*filter\n-A INPUT -j DROP\nCOMMIT\n"),
        "# hello\nFlushing chain `INPUT'\nFlushing chain `FORWARD'\nFlushing chain `OUTPUT'\nFlushing chain `old'\n\
         Deleting chain `old'\nDROP  all opt -- in * out *  0.0.0.0/0  -> 0.0.0.0/0  \n"
    );
    assert_eq!(restored(&mut host, "-v -n", "*filter\n-A INPUT -j DROP\nCOMMIT\n"), "");
}

#[test]
fn other_commands_work_within_a_restore() {
    let mut host = Host::default();
    let text = "*filter\n-N a\n-I INPUT -j a\n-P FORWARD DROP\n-E a b\n-S\n-6 -A INPUT -j NOPE\n-4 -A b -p tcp\n-D INPUT 1\nCOMMIT\n";
    assert_eq!(
        restored(&mut host, "", text),
        "-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n-N b\n-A INPUT -j b\n"
    );
    assert_eq!(host.ok("iptables -S"), "-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n-N b\n-A b -p tcp\n");
}

#[test]
fn the_lock_is_asked_for_when_a_table_begins() {
    let mut host = Host::default();
    let lock = XtablesLock::acquire(&host.lock_path, Wait::No).unwrap();
    assert_eq!(restore(&mut host, "", "# nothing\n\n").code, 0);
    assert_eq!(restore(&mut host, "", "*filter\nCOMMIT\n").code, 4);
    drop(lock);
    assert_eq!(restore(&mut host, "", "*filter\nCOMMIT\n*nat\nCOMMIT\n").code, 0);
}

/// The shape of kube-proxy's rules: 11.3 rules and 4.1 chains for each service of three endpoints.
fn services(count: usize) -> String {
    let mut chains = String::from(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n",
    );
    let mut rules = String::new();
    let names = |n: usize| {
        let mut all = vec![format!("KUBE-SVC-{n:016}")];
        all.extend((0..3).map(|i| format!("KUBE-SEP-{n:013}{i:03}")));
        all
    };
    chains.push_str(":KUBE-MARK-MASQ - [0:0]\n");
    for n in 0..count {
        for name in names(n).iter().skip(1) {
            writeln!(chains, ":{name} - [0:0]").unwrap();
        }
    }
    chains.push_str(":KUBE-SERVICES - [0:0]\n");
    for n in 0..count {
        writeln!(chains, ":{} - [0:0]", names(n)[0]).unwrap();
    }
    rules.push_str("-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n");
    rules.push_str("-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n");
    for n in 0..count {
        for (i, sep) in names(n).iter().skip(1).enumerate() {
            let ip = format!("10.{}.{}.{}", 100 + i, n / 250, n % 250 + 1);
            writeln!(rules, "-A {sep} -s {ip}/32 -m comment --comment \"ns/svc-{n}:http\" -j KUBE-MARK-MASQ").unwrap();
            writeln!(
                rules,
                "-A {sep} -p tcp -m comment --comment \"ns/svc-{n}:http\" -m tcp -j DNAT --to-destination {ip}:8080"
            )
            .unwrap();
        }
    }
    for n in 0..count {
        let vip = format!("10.96.{}.{}", n / 250, n % 250 + 1);
        writeln!(rules, "-A KUBE-SERVICES -d {vip}/32 -p tcp -m comment --comment \"ns/svc-{n}:http cluster IP\" -m tcp --dport 80 -j {}", names(n)[0]).unwrap();
    }
    for n in 0..count {
        let vip = format!("10.96.{}.{}", n / 250, n % 250 + 1);
        let all = names(n);
        let svc = &all[0];
        writeln!(rules, "-A {svc} ! -s 10.100.0.0/16 -d {vip}/32 -p tcp -m comment --comment \"ns/svc-{n}:http cluster IP\" -m tcp --dport 80 -j KUBE-MARK-MASQ").unwrap();
        for (sep, probability) in all[1..].iter().zip(["0.33333333349", "0.50000000000", ""]) {
            write!(rules, "-A {svc} -m comment --comment \"ns/svc-{n}:http -> x\"").unwrap();
            if !probability.is_empty() {
                write!(rules, " -m statistic --mode random --probability {probability}").unwrap();
            }
            writeln!(rules, " -j {sep}").unwrap();
        }
    }
    format!("{chains}{rules}COMMIT\n")
}

#[test]
fn twenty_thousand_services_are_restored_and_saved_byte_for_byte() {
    let text = services(20_000);
    assert!(text.lines().filter(|line| line.starts_with("-A")).count() > 220_000);
    let mut host = Host::default();
    let begin = std::time::Instant::now();
    restored(&mut host, "", &text);
    let restore_time = begin.elapsed();
    let begin = std::time::Instant::now();
    let saved = host.ok("iptables-save");
    println!("restore {restore_time:?}, save {:?}", begin.elapsed());
    let saved: String = saved.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    assert!(saved == text, "the text changed on its way");
    assert!(restore_time.as_secs() < 20, "{restore_time:?}: something is not linear");
}
