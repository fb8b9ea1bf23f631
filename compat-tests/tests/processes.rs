//! Packets by the process that sends them: its groups, and the control group that it was in when it made its socket. Needs root, `setpriv`, `bash`,
//! a hierarchy of control groups (version 2), and the binary under test.

use bpftables_compat_tests::cli::{Call, Place};
use bpftables_compat_tests::world::{Kind, Node, World};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory of the hierarchy that is gone in the end.
struct Group(PathBuf);

impl Group {
    fn make(path: PathBuf) -> Self {
        std::fs::create_dir(&path).expect("a control group can be made");
        Self(path)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Where the hierarchy is mounted.
fn hierarchy() -> PathBuf {
    let mounts = std::fs::read_to_string("/proc/mounts").expect("mounts");
    let found = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|words| words[2] == "cgroup2");
    PathBuf::from(found.expect("a hierarchy of control groups is mounted")[1])
}

/// What rules counted after these shell scripts ran on the router.
fn counted(kind: Kind, rules: &str, scripts: &[String]) -> String {
    let w = World::new(kind, 0).expect("a world");
    w.restore(rules, &[]).expect("rules");
    for script in scripts {
        let mut command = Command::new("bash");
        command.args(["-c", script]);
        let out = w.net(Node::R).command(command, b"").expect("bash");
        assert!(out.status.success(), "{script}: {out:?}");
    }
    w.save().expect("a save")
}

fn same(rules: &str, scripts: &[String]) {
    let (theirs, ours) = (counted(Kind::Legacy, rules, scripts), counted(Kind::Ours, rules, scripts));
    assert_eq!(theirs, ours);
}

#[test]
fn a_process_is_told_by_its_other_groups_as_by_legacy() {
    let rules = "*filter\n\
        -A OUTPUT -m owner --gid-owner 5 --suppl-groups\n\
        -A OUTPUT -m owner --gid-owner 7 --suppl-groups\n\
        -A OUTPUT -m owner ! --gid-owner 7 --suppl-groups\n\
        -A OUTPUT -m owner --gid-owner 8-19 --suppl-groups\n\
        -A OUTPUT -m owner --gid-owner 8-20 --suppl-groups\n\
        -A OUTPUT -m owner --gid-owner 300-4294967294 --suppl-groups\n\
        -A OUTPUT -m owner --gid-owner 301-4294967294 --suppl-groups\n\
        -A OUTPUT -m owner --gid-owner 7\n\
        -A OUTPUT -m owner --gid-owner 7 --suppl-groups\n\
        -A OUTPUT -m owner --uid-owner 0 --gid-owner 7 --suppl-groups\n\
        -A OUTPUT -m owner --socket-exists --gid-owner 7 --suppl-groups\n\
        -A OUTPUT -m owner ! --socket-exists --gid-owner 7 --suppl-groups\n\
        COMMIT\n";
    let many: Vec<String> = (1000..3000).map(|gid| (gid * 3).to_string()).collect();
    let groups = ["7,20,300", "300", "8", &many.join(",")]
        .map(|groups| format!("setpriv --regid 5 --groups {groups} bash -c 'echo x > /dev/udp/10.1.0.10/9'"));
    let mut scripts = groups.to_vec();
    scripts.push("setpriv --regid 5 --clear-groups bash -c 'echo x > /dev/udp/10.1.0.10/9'".to_owned());
    scripts.push("setpriv --regid 7 --clear-groups bash -c 'echo x > /dev/udp/10.1.0.10/9'".to_owned());
    same(rules, &scripts);
}

#[test]
fn a_process_is_told_by_its_control_group_as_by_legacy() {
    let name = format!("bpftables-test-{}", std::process::id());
    let root = hierarchy();
    let outer = Group::make(root.join(&name));
    let inner = Group::make(outer.0.join("inner"));
    let beside = Group::make(root.join(format!("{name}-beside")));
    let mut rules = "*mangle\n".to_owned();
    for chain in ["OUTPUT", "POSTROUTING"] {
        for path in ["/", &name, &format!("/{name}//inner/"), &format!("{name}-beside")] {
            rules += &format!("-A {chain} -m cgroup --path \"{path}\"\n-A {chain} -m cgroup ! --path \"{path}\"\n");
        }
    }
    rules += "COMMIT\n";
    let from = |group: &Path| {
        let procs = group.join("cgroup.procs");
        format!("echo $$ > {} && echo x > /dev/udp/10.1.0.10/9 && echo x > /dev/udp/127.0.0.1/9", procs.display())
    };
    same(&rules, &[from(&root), from(&outer.0), from(&inner.0), from(&beside.0)]);
}

#[test]
fn a_control_group_that_there_is_not_is_refused_as_by_legacy() {
    let answers = [Kind::Legacy, Kind::Ours].map(|kind| {
        let place = Place::new(kind).expect("a place");
        ["nosuch", ".", "..", "cgroup.procs"].map(|path| {
            let argv = ["iptables", "-A", "OUTPUT", "-m", "cgroup", "--path", path].map(str::to_owned).to_vec();
            let answer = place.call(&Call { argv, stdin: String::new() }).expect("the command can be run");
            (answer.code, answer.stderr)
        })
    });
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn a_rule_keeps_its_control_group_while_its_table_stays_as_in_legacy() {
    let name = format!("bpftables-kept-{}", std::process::id());
    let root = hierarchy();
    let counts = [Kind::Legacy, Kind::Ours].map(|kind| {
        let group = Group::make(root.join(&name));
        let w = World::new(kind, 0).expect("a world");
        w.restore(&format!("*mangle\n-A OUTPUT -m cgroup --path {name}\nCOMMIT\n"), &[]).expect("rules");
        drop(group);
        // Another table's change asks nothing of this one.
        let other = w.tool("iptables", &["-A", "INPUT", "-j", "ACCEPT"], "").expect("iptables");
        assert!(other.status.success(), "{other:?}");
        let own = w.tool("iptables", &["-t", "mangle", "-A", "INPUT", "-j", "ACCEPT"], "").expect("iptables");
        assert_eq!(own.status.code(), Some(1), "{own:?}");
        let _again = Group::make(root.join(&name));
        let mut command = Command::new("bash");
        let procs = root.join(&name).join("cgroup.procs");
        command.args(["-c", &format!("echo $$ > {} && echo x > /dev/udp/10.1.0.10/9", procs.display())]);
        assert!(w.net(Node::R).command(command, b"").expect("bash").status.success());
        w.save().expect("a save")
    });
    assert_eq!(counts[0], counts[1]);
}
