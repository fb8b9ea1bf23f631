//! Command lines under both implementations. Needs root and the binary under test.

use bpftables_compat_tests::cli::{Call, Place};
use bpftables_compat_tests::world::Kind;
use bpftables_compat_tests::{cli, suite};
use std::fmt::Write as _;

#[test]
fn command_lines_are_answered_as_by_legacy() {
    let all = cli::parse(include_str!("../cli/sessions.txt")).expect("the table of sessions is well formed");
    let bad = cli::differences(&all, suite::subject());
    let mut report = String::new();
    for (name, diff) in &bad {
        let _ = writeln!(report, "\n### {name}\n{diff}");
    }
    assert!(bad.is_empty(), "{report}\n{} of {} sessions differ", bad.len(), all.len());
}

/// Extensions are no files here: the variables that tell the installed legacy where to load them from change nothing.
#[test]
fn extensions_are_found_whatever_the_library_directory_is() {
    let place = Place::new(Kind::Ours).expect("a place");
    let nowhere = ["XTABLES_LIBDIR", "IPTABLES_LIB_DIR", "IP6TABLES_LIB_DIR"].map(|name| (name, "/nonexistent"));
    let call = |line: &str, environment: &[(&str, &str)]| {
        let argv = cli::words(line).expect("words");
        place.call_with(&Call { argv, stdin: String::new() }, environment).expect("the command can be run")
    };
    for (program, reject) in [("iptables", "icmp-port-unreachable"), ("ip6tables", "icmp6-port-unreachable")] {
        let line = format!("{program} -A INPUT -p tcp -m multiport --dports 1,2 -j REJECT --reject-with {reject}");
        let added = call(&line, &nowhere);
        assert_eq!((added.code, added.stderr.as_str()), (Some(0), ""), "{line}");
        let listed = format!("{program} -S INPUT");
        assert_eq!(call(&listed, &nowhere), call(&listed, &[]));
        assert!(call(&listed, &nowhere).stdout.contains("--dports 1,2 -j REJECT"));
        assert!(call(&format!("{program} -m multiport -h"), &nowhere).stdout.contains("--destination-ports"));
    }
}
