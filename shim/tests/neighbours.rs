//! `bpftables status` names who else looks at packets. Needs root.

#[path = "../../runtime/tests/common/mod.rs"]
mod netns;
#[path = "common/own.rs"]
mod own;

use bpftables_runtime::sys::bpf::{self, nf};
use bpftables_runtime::sys::ns;
use netns::{in_namespace, ip};
use own::temporary;
use std::os::fd::AsFd;
use std::process::Command;

/// The binary.
const BINARY: &str = env!("CARGO_BIN_EXE_xtables-bpf-multi");

/// Standard output of a command that has to work.
fn run(program: &str, words: &str) -> String {
    let out = Command::new(program).args(words.split(' ')).env("XTABLES_LOCKFILE", temporary("lock")).output().unwrap();
    assert!(out.status.success(), "{words}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// A program of a kind that returns `value`.
fn returning(name: &str, prog_type: u32, value: i32) -> std::os::fd::OwnedFd {
    let instructions = [u64::from(value.cast_unsigned()) << 32 | 0xb7, 0x95];
    nf::load(&nf::Load { name, prog_type, attach_type: 0, btf_id: 0, instructions: &instructions }).unwrap()
}

#[test]
fn status_lists_who_else_looks_at_packets_and_what_it_means() {
    in_namespace(|| {
        ip("link add a1 type veth peer name a2\nlink set a1 up\n");
        let lines = || -> Vec<String> {
            let status = run(BINARY, "bpftables status");
            status.lines().filter_map(|line| line.strip_prefix("neighbour    ").map(str::to_owned)).collect()
        };
        assert_eq!(lines(), [""; 0]);

        // SCHED_CLS that lets pass: one that is there before ours, and one that goes before ours later.
        let last = returning("other_last", 3, -1);
        let _last = bpf::attach_tcx_first(last.as_fd(), index("a1"), bpf::TCX_INGRESS).unwrap();
        run(BINARY, "iptables -A INPUT -j ACCEPT");
        let first = returning("other_first", 3, -1);
        let _first = bpf::attach_tcx_first(first.as_fd(), index("a1"), bpf::TCX_INGRESS).unwrap();
        // XDP that lets pass.
        let xdp = returning("other_xdp", 6, 2);
        let pin = std::path::PathBuf::from(format!("/sys/fs/bpf/xdp_test_{:x}", ns::netns_cookie().unwrap()));
        bpf::pin(xdp.as_fd(), &pin).unwrap();
        run("ip", &format!("link set dev a1 xdp pinned {}", pin.display()));
        std::fs::remove_file(&pin).unwrap();
        let classifier = returning("other_clsact", 3, 0);
        bpf::pin(classifier.as_fd(), &pin).unwrap();
        run("tc", "qdisc add dev a1 clsact");
        run("tc", &format!("filter add dev a1 egress bpf da object-pinned {}", pin.display()));
        std::fs::remove_file(&pin).unwrap();
        run("iptables-legacy", "-t mangle -A FORWARD -j ACCEPT");
        run("nft", "add table inet theirs");
        run("nft", "add chain inet theirs c");
        run("nft", "add rule inet theirs c drop");
        run("nft", "add table bridge switch");
        run("nft", "add chain bridge switch c { type filter hook input priority 0; policy drop; }");
        // Tables that are there and let everything pass: those that somebody has listed, or emptied.
        run("iptables-legacy", "-t raw -S");
        run("ip6tables-legacy", "-P INPUT DROP");
        run("ip6tables-legacy", "-t nat -A OUTPUT -j ACCEPT");
        run("ip6tables-legacy", "-t nat -F");
        run("nft", "add table ip empty");

        let found = lines();
        let expect = [
            ("tcx ingress of a1: program other_first (", "meets no rule of ours"),
            ("tcx ingress of a1: program other_last (", "what our rules let pass"),
            ("tc egress of a1: filter of kind bpf", "what our rules let pass"),
            ("XDP of a1: program other_xdp (", "meets no rule of ours"),
            ("netfilter: table mangle of iptables-legacy", "packets have to pass both"),
            ("netfilter: table filter of ip6tables-legacy", "packets have to pass both"),
            ("netfilter: table inet theirs of nft", "packets have to pass both"),
            ("netfilter: table bridge switch of nft", "no IP packet of this host"),
        ];
        assert_eq!(found.len(), expect.len(), "{found:#?}");
        for (line, (what, meaning)) in found.iter().zip(expect) {
            assert!(line.starts_with(what) && line.contains(meaning), "{line}: expected {what} ... {meaning}");
        }
        // Ours being gone, theirs go on.
        run(BINARY, "bpftables uninstall-hooks");
        assert_eq!(lines().len(), expect.len());
    });
}

fn index(device: &str) -> u32 {
    // sysfs would show those of the namespace that mounted it.
    run("ip", &format!("-o link show {device}")).split(':').next().unwrap().parse().unwrap()
}
