//! Stock kernels in a virtual machine: the programs load there, and devices that this machine's kernel may not have are filtered as by
//! legacy. Needs `vmtest.sh` (BPFTABLES_VMTEST, or beside the corpus) and what it asks for.

use bpftables_compat_tests::netns::Netns;
use bpftables_compat_tests::suite;
use bpftables_compat_tests::world::{Kind, Tools, our_binary};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Modules that a stock kernel does not load by itself where no udev runs, or not without CAP_SYS_MODULE in the right place.
const MODULES: [&str; 20] = [
    "tun",
    "netkit",
    "veth",
    "8021q",
    "dummy",
    "bonding",
    "macvlan",
    "ipvlan",
    "vrf",
    "wireguard",
    "nf_conntrack",
    "xt_conntrack",
    "xt_nat",
    "iptable_raw",
    "iptable_mangle",
    "iptable_nat",
    "iptable_filter",
    "iptable_security",
    "ip6table_filter",
    "xt_set",
];
/// Emulated, and maybe beside other tests: seconds mean little there.
const TIMEOUT: &str = "600";

#[test]
fn devices_are_filtered_as_by_legacy_on_linux_6_12() {
    boot("6.12");
}

#[test]
fn devices_are_filtered_as_by_legacy_on_linux_7_2() {
    boot("7.2");
}

/// Runs the ignored tests of this program in a virtual machine.
fn boot(kernel: &str) {
    let Some(vmtest) = vmtest() else {
        assert!(std::env::var_os("CI").is_none(), "vmtest.sh is missing (set BPFTABLES_VMTEST)");
        eprintln!("NOT RUN, vmtest.sh is missing (set BPFTABLES_VMTEST)");
        return;
    };
    let output = Command::new(vmtest)
        .args(["--kernel", kernel, "--mem", "2000", "--timeout", TIMEOUT, "--"])
        .arg(std::env::current_exe().expect("this program has a path"))
        .args(["--ignored", "--test-threads=1", "--nocapture"])
        .env("BPFTABLES_BIN", our_binary().expect("the binary under test"))
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .expect("vmtest.sh can be run");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "Linux {kernel}: {}\n{out}\n{err}", output.status);
    assert!(out.contains("3 passed; 0 failed"), "Linux {kernel}: the guest ran other tests\n{out}\n{err}");
}

fn vmtest() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/tools/vmtest.sh");
    let path = std::env::var_os("BPFTABLES_VMTEST").map_or_else(beside, PathBuf::from);
    path.is_file().then_some(path)
}

fn load_modules() {
    let status = Command::new("modprobe").arg("-a").args(MODULES).status().expect("modprobe can be run");
    assert!(status.success(), "a module is missing: {status}");
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_the_devices_of_a_stock_kernel() {
    load_modules();
    suite::devices_of("devices.txt");
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_sets_that_are_modules_are_searched() {
    load_modules();
    suite::file("set_types.txt");
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    if release.starts_with("6.") {
        suite::file("set_networks.txt");
        return;
    }
    // Linux 7.2 keeps the prefixes of a set otherwise, and the programs do not know how: it is refused, not searched wrongly.
    let tools = Tools::new(Kind::Ours).expect("the binary under test");
    let net = Netns::new(0).expect("a namespace");
    assert_eq!(net.ipset(&["create nets hash:net".to_owned()]).expect("ipset(8)"), [""; 0]);
    let mut command = tools.command("iptables");
    command.args("-A INPUT -m set --match-set nets src -j DROP".split(' '));
    let refused = net.command(command, b"").expect("the tool can be run");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("set nets is of type hash:net, which no program can search here"), "{said}");
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_both_families_load_and_a_vrf_is_refused() {
    let tools = Tools::new(Kind::Ours).expect("the binary under test");
    let net = Netns::new(0).expect("a namespace");
    let run = |name: &str, line: &str| {
        let mut command = tools.command(name);
        command.args(line.split_whitespace());
        net.command(command, b"").expect("the tool can be run")
    };
    for name in ["iptables", "ip6tables"] {
        let added = run(name, "-t nat -A POSTROUTING -m conntrack --ctstate NEW -j MASQUERADE");
        assert!(added.status.success(), "{name}: {}", String::from_utf8_lossy(&added.stderr));
        let listed = run(name, "-t nat -S POSTROUTING");
        let text = String::from_utf8_lossy(&listed.stdout);
        assert!(text.ends_with("-A POSTROUTING -m conntrack --ctstate NEW -j MASQUERADE\n"), "{name}: {text}");
    }
    net.ip_batch("link add vrf7 type vrf table 7\n").expect("a VRF");
    let refused = run("iptables", "-A INPUT -j ACCEPT");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("device vrf7"), "{said}");
    assert_eq!(String::from_utf8_lossy(&run("iptables", "-S INPUT").stdout), "-P INPUT ACCEPT\n");
    let removed = run("bpftables", "uninstall-hooks");
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
}
