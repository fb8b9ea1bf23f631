//! The binary itself against the kernel, in network namespaces of its own. Needs root.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

/// The binary under its names, and a lock file beside them.
struct Names(PathBuf);

impl Names {
    fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("bpftables-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for name in ["iptables", "iptables-save", "iptables-restore", "bpftables"] {
            symlink(env!("CARGO_BIN_EXE_xtables-bpf-multi"), dir.join(name)).unwrap();
        }
        Self(dir)
    }

    /// Runs a script in a new network namespace with lo up; what it printed, errors too.
    fn script(&self, text: &str) -> String {
        let path = format!("{}:{}", self.0.display(), std::env::var("PATH").unwrap_or_default());
        let script = format!("exec 2>&1; trap 'bpftables uninstall-hooks >/dev/null' EXIT; ip link set lo up\n{text}");
        let output = Command::new("unshare")
            .args(["--net", "bash", "-c", &script])
            .env("PATH", path)
            .env("XTABLES_LOCKFILE", self.0.join("lock"))
            .output()
            .expect("unshare(1)");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn rules_are_kept_count_and_go() {
    let names = Names::new("count");
    let text = names.script(
        "iptables -A INPUT -p udp --dport 9 -j DROP
         iptables -N chain
         for i in 1 2 3; do echo -n 0123456789 > /dev/udp/127.0.0.1/9; done
         iptables-save -c | grep -v '^#'
         iptables -Z
         iptables -nvL INPUT
         bpftables uninstall-hooks
         iptables-save",
    );
    assert_eq!(
        text,
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [3:114]\n:chain - [0:0]\n\
         [3:114] -A INPUT -p udp -m udp --dport 9 -j DROP\nCOMMIT\n\
         Chain INPUT (policy ACCEPT 0 packets, 0 bytes)\n \
         pkts bytes target     prot opt in     out     source               destination         \n    \
         0     0 DROP       udp  --  *      *       0.0.0.0/0            0.0.0.0/0            udp dpt:9\n\
         removed\n"
    );
}

#[test]
fn looking_makes_nothing() {
    let names = Names::new("look");
    let text = names.script(
        "iptables -L >/dev/null; iptables -t nat -S >/dev/null; iptables -Z; iptables-save
         bpftables status; bpftables uninstall-hooks",
    );
    assert_eq!(text, "nothing is loaded in this network namespace\nnothing to remove\n");
}

#[test]
fn a_restore_in_one_namespace_is_not_seen_in_another() {
    let names = Names::new("apart");
    let text = names.script(
        "printf '*nat\\n:A - [0:0]\\n-A PREROUTING -j A\\nCOMMIT\\n*filter\\n-A INPUT -j DROP\\nCOMMIT\\n' | iptables-restore
         iptables-save | grep -c '^-A'
         unshare --net iptables-save
         iptables-save | grep '^[*]'",
    );
    assert_eq!(text, "2\n*filter\n*nat\n");
}

#[test]
fn a_file_is_checked_without_touching_anything() {
    let names = Names::new("check");
    let text = names.script(
        "printf '*filter\\n:A - [0:0]\\n-A INPUT -j A\\nCOMMIT\\n' > $XTABLES_LOCKFILE.rules
         bpftables check $XTABLES_LOCKFILE.rules | cut -d: -f1
         printf '*filter\\n-A INPUT -j NFQUEUE --queue-num 1\\n-A INPUT -j ACCEPT\\n-A INPUT -j QUEUE\\nCOMMIT\\n' > $XTABLES_LOCKFILE.rules
         bpftables check $XTABLES_LOCKFILE.rules; echo $?
         iptables-save; bpftables status",
    );
    assert_eq!(
        text,
        "1 table, 4 chains, 1 rule\n\
         table filter, chain INPUT, rule 1: -A INPUT -j NFQUEUE --queue-num 1: -j NFQUEUE can't be run, for no program can hand a packet to a process and wait for its verdict\n\
         table filter, chain INPUT, rule 3: -A INPUT -j QUEUE: -j QUEUE can't be run, for no program can hand a packet to a process and wait for its verdict\n\
         1\n\
         nothing is loaded in this network namespace\n"
    );
}
