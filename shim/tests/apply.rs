//! `iptables-apply` in network namespaces of its own. Needs root.

use std::path::PathBuf;
use std::process::Command;

/// What a script left in a namespace that had one rule: exit code of `apply`, the rules, and what was said.
struct Left {
    code: i32,
    rules: String,
    said: String,
}

/// Runs `line` of a shell, in which `$apply` is the program, `$new` a file with other rules, and `$dir` a folder.
fn apply(name: &str, line: &str) -> Left {
    let dir = std::env::temp_dir().join(format!("bpftables-apply-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_xtables-bpf-multi"));
    let script = format!(
        "dir={dir} new={dir}/new apply='{binary} iptables-apply' XTABLES_LOCKFILE={dir}/lock\nexport XTABLES_LOCKFILE\n\
         ip link set lo up\n{binary} iptables -A INPUT -s 10.0.0.1 -j DROP || exit 99\n\
         printf '*filter\\n-A INPUT -s 10.0.0.2 -j DROP\\nCOMMIT\\n' >$new\n\
         {{ {line}\n}} >{dir}/said 2>&1; echo $? >{dir}/code\n{binary} iptables -S INPUT >{dir}/rules\n\
         {binary} bpftables uninstall-hooks >/dev/null",
        dir = dir.display(),
        binary = binary.display(),
    );
    let status = Command::new("unshare").args(["-n", "sh", "-c", &script]).status().expect("a namespace");
    assert!(status.success(), "{name}: {status}");
    let read = |file: &str| std::fs::read_to_string(dir.join(file)).expect("what the script wrote");
    let left = Left { code: read("code").trim().parse().expect("a code"), rules: read("rules"), said: read("said") };
    std::fs::remove_dir_all(dir).expect("the folder");
    left
}

const OLD: &str = "-P INPUT ACCEPT\n-A INPUT -s 10.0.0.1/32 -j DROP\n";
const NEW: &str = "-P INPUT ACCEPT\n-A INPUT -s 10.0.0.2/32 -j DROP\n";

#[test]
fn confirmed_rules_stay_and_are_saved() {
    let left = apply("yes", "echo y | $apply -w $dir/saved $new && grep -q 10.0.0.2 $dir/saved");
    assert_eq!((left.code, left.rules.as_str()), (0, NEW), "{}", left.said);
    assert!(left.said.starts_with("Applying new iptables rules from '"), "{}", left.said);
    assert!(
        left.said.contains("done.\nCan you establish NEW connections to the machine? (y/N) \nWriting "),
        "{}",
        left.said
    );
}

#[test]
fn what_is_refused_or_not_answered_goes_back() {
    for (name, line, told) in [
        ("no", "echo n | $apply $new", "No affirmative response!"),
        ("end", "$apply $new </dev/null", "Timeout!"),
        ("late", "sleep 3 | $apply -t 1 $new", "Timeout!"),
        ("gone", "sleep 5 | $apply $new & sleep 2; kill -HUP $!; wait $!", "Timeout!"),
    ] {
        let left = apply(name, line);
        assert_eq!((left.code, left.rules.as_str()), (255, OLD), "{name}: {}", left.said);
        assert!(left.said.contains(told), "{name}: {}", left.said);
        assert!(left.said.ends_with("Reverting to old iptables rules... done.\n"), "{name}: {}", left.said);
    }
}

#[test]
fn a_command_makes_the_rules_in_time_or_not() {
    let make = "printf '#!/bin/sh\\n%s\\n' \"$body\" >$dir/run; chmod +x $dir/run; ";
    let rule = "body=\"${apply% *} iptables -I INPUT -s 10.0.0.3\"; ";
    let left = apply("run", &format!("{rule}{make} echo y | $apply -c $dir/run"));
    assert_eq!(left.code, 0, "{}", left.said);
    assert!(left.rules.contains("10.0.0.3"), "{}", left.rules);
    for (name, body) in [("fails", "; exit 3\""), ("hangs", "; exec sleep 20\"")] {
        let rule = rule.replacen("\"; ", &format!("{body}; "), 1);
        let left = apply(name, &format!("{rule}{make} echo y | $apply -t 1 -c $dir/run"));
        assert_eq!((left.code, left.rules.as_str()), (7, OLD), "{name}: {}", left.said);
    }
}

#[test]
fn what_cannot_be_done_has_an_exit_code_of_its_own() {
    for (name, line, code, told) in [
        ("timeout", "$apply -t x $new", 1, "Error: timeout must be a positive number\n"),
        ("option", "$apply -q", 1, "iptables-apply: invalid option -- 'q'\n"),
        ("rulesfile", "$apply /nonexistent", 2, "Error: rulesfile not readable: /nonexistent\n"),
        ("default", "$apply", 2, "Error: rulesfile not readable: /etc/network/iptables.up.rules\n"),
        ("runcmd", "$apply -c /nonexistent", 6, "Error: runcmd not executable: /nonexistent\n"),
        ("nothing", "echo COMMIT | cat >$new; echo y | $apply $new", 5, "done.\n"),
        ("version", "$apply -V", 0, "iptables-apply 1.1 -- a safer way to update iptables remotely\n"),
    ] {
        let left = apply(name, line);
        assert_eq!((left.code, left.rules.as_str()), (code, OLD), "{name}: {}", left.said);
        assert!(left.said.ends_with(told), "{name}: {}", left.said);
    }
}
