//! Stock kernels in a virtual machine: the programs load there, and devices that this machine's kernel may not have are filtered as by
//! legacy. Needs `vmtest.sh` (BPFTABLES_VMTEST, or beside the corpus) and what it asks for.

#[path = "kernels/ipsec.rs"]
mod ipsec;

use bpftables_compat_tests::netns::Netns;
use bpftables_compat_tests::suite;
use bpftables_compat_tests::world::{Kind, Tools, our_binary};
use std::net::{SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Modules that a stock kernel does not load by itself where no udev runs, or not without CAP_SYS_MODULE in the right place.
const MODULES: [&str; 28] = [
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
    "ip6table_raw",
    "xfrm_user",
    "xfrm_interface",
    "ip_vti",
    "ip6_vti",
    "esp4",
    "esp6",
    "xt_policy",
];
/// Emulated, and maybe beside other tests: seconds mean little there.
const TIMEOUT: &str = "2400";

/// The tests that one kernel of both runs.
const SHARED: [&str; 5] = [
    "inside_types_of_sets_that_are_modules_are_searched",
    "inside_a_router_with_vrfs_does_as_with_legacy",
    "inside_the_devices_of_a_stock_kernel",
    "inside_sets_of_networks_that_are_modules_are_searched",
    "inside_sets_that_are_modules_are_changed",
];
/// The tests that both kernels run.
const BOTH: [&str; 4] = [
    "inside_both_families_load_and_a_vrf_is_open_once_it_has_programs",
    "inside_the_agent_follows_bonds_vlans_and_vrfs",
    "inside_what_comes_and_goes_by_wireguard_is_filtered_as_by_legacy",
    "ipsec::inside_what_ipsec_unwraps_is_filtered_as_by_legacy_or_not_let_pass",
];

#[test]
fn devices_and_vrfs_are_filtered_as_by_legacy_on_linux_6_12() {
    boot("6.12", &["inside_the_devices_of_a_stock_kernel", "inside_a_router_with_vrfs_does_as_with_legacy"]);
}

/// This one keeps the prefixes of sets otherwise than those before it.
#[test]
fn sets_are_searched_and_changed_as_by_legacy_on_linux_7_2() {
    boot(
        "7.2",
        &[
            "inside_types_of_sets_that_are_modules_are_searched",
            "inside_sets_of_networks_that_are_modules_are_searched",
            "inside_sets_that_are_modules_are_changed",
        ],
    );
}

/// Runs ignored tests of this program in a virtual machine: those for both kernels, and a share of the others. With `BPFTABLES_KERNELS=all`
/// each kernel runs all of them, which takes half as long again.
fn boot(kernel: &str, share: &[&str]) {
    let mut tests = [&BOTH[..], share].concat();
    if std::env::var_os("BPFTABLES_KERNELS").is_some_and(|which| which == "all") {
        tests = [&BOTH[..], &SHARED].concat();
    }
    let Some(vmtest) = vmtest() else {
        assert!(std::env::var_os("CI").is_none(), "vmtest.sh is missing (set BPFTABLES_VMTEST)");
        eprintln!("NOT RUN, vmtest.sh is missing (set BPFTABLES_VMTEST)");
        return;
    };
    let output = Command::new(vmtest)
        .args(["--kernel", kernel, "--mem", "2000", "--timeout", TIMEOUT, "--"])
        .arg(std::env::current_exe().expect("this program has a path"))
        .args(["--ignored", "--test-threads=1", "--nocapture", "--exact"])
        .args(&tests)
        .env("BPFTABLES_BIN", our_binary().expect("the binary under test"))
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .expect("vmtest.sh can be run");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "Linux {kernel}: {}\n{out}\n{err}", output.status);
    let passed = format!("{} passed; 0 failed", tests.len());
    assert!(out.contains(&passed), "Linux {kernel}: the guest ran other tests\n{out}\n{err}");
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
fn inside_a_router_with_vrfs_does_as_with_legacy() {
    load_modules();
    suite::file("vrf.txt");
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_types_of_sets_that_are_modules_are_searched() {
    load_modules();
    suite::file("set_types.txt");
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_sets_of_networks_that_are_modules_are_searched() {
    load_modules();
    suite::file("set_networks.txt");
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_sets_that_are_modules_are_changed() {
    load_modules();
    suite::file("set_changes_networks.txt");
    suite::file("set_changes_links.txt");
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_both_families_load_and_a_vrf_is_open_once_it_has_programs() {
    load_modules();
    let tools = Tools::new(Kind::Ours).expect("the binary under test");
    let (net, far) = (Netns::new(0).expect("a namespace"), Netns::new(0).expect("a namespace"));
    net.ip_batch(&format!(
        "link add m7 type veth peer name p7 netns {}\nlink set m7 up\naddr add 10.7.0.1/24 dev m7\n",
        far.path()
    ))
    .expect("a pair");
    far.ip_batch("link set p7 up\naddr add 10.7.0.2/24 dev p7\nroute add 224.0.0.0/4 dev p7\n").expect("its end");
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
    let group: SocketAddrV4 = "224.0.0.99:5000".parse().expect("an address");
    let heard = net.run(move || {
        std::fs::write("/proc/sys/net/ipv4/udp_l3mdev_accept", "1").expect("sockets hear VRFs as well");
        let socket = UdpSocket::bind(("0.0.0.0", group.port())).expect("a socket");
        socket.join_multicast_v4(group.ip(), &"10.7.0.1".parse().expect("an address")).expect("a group");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket's option");
        socket
    });
    let hears = || {
        far.run(move || UdpSocket::bind("10.7.0.2:0").and_then(|socket| socket.send_to(b"x", group)))
            .expect("it leaves");
        heard.recv(&mut [0; 8]).is_ok()
    };
    eventually("a group by a device of its own", hears);
    net.ip_batch("link add vrf7 type vrf table 7\n").expect("a VRF");
    let refused = |family: &str, line: &str, why: &str| {
        let refused = run(&format!("{family}tables"), line);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("device vrf7: {why}")), "{said}");
        assert_eq!(String::from_utf8_lossy(&run("iptables", "-S INPUT").stdout), "-P INPUT ACCEPT\n");
    };
    refused("ip", "-A INPUT -j ACCEPT", "it is a VRF whose setting `forwarding` is off");
    net.ip_batch("link set vrf7 up\nlink set m7 master vrf7\n").expect("a member");
    while heard.recv(&mut [0; 8]).is_ok() {}
    // The nat table's rules are there still, and no program at the VRF.
    assert!(!(0..5).any(|_| hears()), "a group by the member of a VRF that does not forward");
    net.sysctls(&["net/ipv4/ip_forward=1"]).expect("a setting");
    refused("ip", "-A INPUT -m socket -j ACCEPT", "it is a VRF, and of its packets nothing can be told that socket,");
    let added = run("iptables", "-A INPUT -i vrf7 -j ACCEPT");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    eventually("a group by a VRF's member", hears);
    let rules = run("iptables", "-S INPUT -v");
    let text = String::from_utf8_lossy(&rules.stdout);
    assert!(!text.contains("-i vrf7 -c 0 0"), "{text}");

    // It joins and leaves while packets come.
    for line in ["-P INPUT DROP", "-F INPUT"] {
        assert!(run("iptables", line).status.success(), "{line}");
    }
    while heard.recv(&mut [0; 8]).is_ok() {}
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flood = far.run(|| UdpSocket::bind("10.7.0.2:0")).expect("a socket");
        let over = &over;
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                for to in [group, "10.7.0.1:5000".parse().expect("an address")] {
                    let _ = flood.send_to(b"x", to);
                }
            }
        });
        for n in 0..40 {
            let master = if n % 2 == 0 { "nomaster" } else { "master vrf7" };
            net.ip_batch(&format!("link set m7 {master}\n")).expect("it joins or leaves");
            std::thread::sleep(Duration::from_millis(20));
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(heard.recv(&mut [0; 8]).is_err(), "a packet passed INPUT's policy DROP");
    let removed = run("bpftables", "uninstall-hooks");
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    eventually("a group by a VRF's member where there are no rules", hears);
}

/// Emulated machines are slow.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}: not within 60 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A process that ends with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_the_agent_follows_bonds_vlans_and_vrfs() {
    load_modules();
    let tools = Tools::new(Kind::Ours).expect("the binary under test");
    let (net, far) = (Netns::new(0).expect("a namespace"), Netns::new(0).expect("a namespace"));
    let run = |name: &str, line: &str| {
        let mut command = tools.command(name);
        command.args(line.split_whitespace());
        let out = net.command(command, b"").expect("the tool can be run");
        assert!(out.status.success(), "{name} {line}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    // Rules that name devices which come later.
    run("iptables", "-A INPUT -i bond+ -p udp --dport 9 -j ACCEPT");
    run("iptables", "-A INPUT -i e1.5 -p udp --dport 9 -j ACCEPT");
    run("iptables", "-P INPUT DROP");
    let mut command = tools.command("bpftablesd");
    command.arg("--this-namespace");
    let _agent = Running(net.start(command).expect("the agent can be run"));
    let says = |device: &str, text: &str| {
        eventually(&format!("{device}: {text}"), || {
            let status = run("bpftables", "status");
            status.lines().any(|line| line.contains(&format!(" {device} (")) && line.contains(text))
        });
    };
    let ours = "ingress ours, egress ours";
    let counted = |device: &str| {
        let rules = run("iptables", "-S INPUT -v");
        let line = rules.lines().find(|line| line.contains(&format!("-i {device} "))).expect("the rule");
        line.split("-c ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok()).expect("a counter")
    };
    let send = |to: &'static str| {
        far.run(move || UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"x", to)).map(drop))
    };
    let comes_by = |device: &str, to: &'static str| {
        eventually(&format!("packets come by {device}"), || {
            let _ = send(to);
            counted(device) > 0
        });
    };
    net.ip_batch(&format!("link add e1 type veth peer name p1 netns {}\nlink set e1 up\n", far.path()))
        .expect("a pair");
    far.ip_batch("link set p1 up\naddr add 10.1.0.2/24 dev p1\n").expect("its end");
    says("e1", ours);

    net.ip_batch(
        "link add bond7 type bond mode active-backup miimon 100\nlink set bond7 up\naddr add 10.1.0.1/24 dev bond7\n",
    )
    .expect("a bond");
    says("bond7", ours);
    net.ip_batch("link set e1 down\nlink set e1 master bond7\nlink set e1 up\n").expect("a member");
    says("e1", "ingress not ours, egress not ours, owned by another device");
    comes_by("bond+", "10.1.0.1:9");
    net.ip_batch("link set e1 nomaster\nlink set e1 up\n").expect("it leaves");
    says("e1", ours);

    net.ip_batch(
        "link del bond7\nlink add link e1 name e1.5 type vlan id 5\nlink set e1.5 up\naddr add 10.5.0.1/24 dev e1.5\n",
    )
    .expect("a VLAN");
    far.ip_batch("link add link p1 name p1.5 type vlan id 5\nlink set p1.5 up\naddr add 10.5.0.2/24 dev p1.5\n")
        .expect("a VLAN");
    says("e1.5", ours);
    comes_by("e1.5", "10.5.0.1:9");

    net.ip_batch("link add vrf7 type vrf table 7\nlink set vrf7 up\n").expect("a VRF");
    says("vrf7", "a VRF that does not forward: the guard drops its packets");
    net.sysctls(&["net/ipv4/conf/vrf7/forwarding=1"]).expect("a setting");
    says("vrf7", ours);
    net.ip_batch("link set e1.5 master vrf7\n").expect("a member");
    run("iptables", "-A INPUT -i vrf7 -p udp --dport 9 -j ACCEPT");
    comes_by("vrf7", "10.5.0.1:9");
    net.ip_batch("link del vrf7\n").expect("it goes");
    says("e1.5", ours);
    run("bpftables", "uninstall-hooks");
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_what_comes_and_goes_by_wireguard_is_filtered_as_by_legacy() {
    load_modules();
    assert_eq!(tunnel(Kind::Ours), tunnel(Kind::Legacy));
}

/// Two hosts with a WireGuard tunnel, rules at one: what arrives, and what was counted.
fn tunnel(kind: Kind) -> (Vec<&'static str>, Vec<String>) {
    /// Each is 32 bytes in base64; the public ones are `wg pubkey`'s of the others.
    const KEY: &str = "umask 077; wg genkey >$0 && wg pubkey <$0";
    let tools = Tools::new(kind).expect("the tools");
    let hosts = [Netns::new(0).expect("a namespace"), Netns::new(0).expect("a namespace")];
    let directory = tools.lock_file().with_file_name("keys");
    std::fs::create_dir_all(&directory).expect("a directory");
    let keys = ["0", "1"].map(|name| directory.join(name));
    let public = [0, 1].map(|n: usize| {
        let mut command = Command::new("sh");
        command.args(["-c", KEY]).arg(&keys[n]);
        let out = hosts[n].command(command, b"").expect("wg(8)");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    });
    hosts[0].ip_batch(&format!("link add e1 type veth peer name e1 netns {}\n", hosts[1].path())).expect("a pair");
    for n in [0, 1] {
        let (own, other) = (n + 1, 2 - n);
        hosts[n]
            .ip_batch(&format!(
                "link set e1 up\naddr add 10.1.0.{own}/24 dev e1\nlink add wg0 type wireguard\naddr add 10.6.0.{own}/24 dev wg0\n"
            ))
            .expect("devices");
        let mut command = Command::new("wg");
        command
            .args(["set", "wg0", "listen-port", "51820", "private-key"])
            .arg(&keys[n])
            .args(["peer", &public[1 - n]]);
        command.args(["allowed-ips", "10.6.0.0/24", "endpoint", &format!("10.1.0.{other}:51820")]);
        let out = hosts[n].command(command, b"").expect("wg(8)");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        hosts[n].ip_batch("link set wg0 up\n").expect("the tunnel");
    }
    let rules = "*nat\n-A PREROUTING -i wg0 -p udp -m udp --dport 100 -j REDIRECT --to-ports 101\nCOMMIT\n\
                 *filter\n-A INPUT -i wg0 -p udp -m udp --dport 9 -j DROP\n-A INPUT -i wg0 -p udp -m udp --dport 8 -j REJECT\n\
                 -A INPUT -i wg0 -p udp\n-A OUTPUT -o wg0 -p udp\n-A OUTPUT -o wg0 -p icmp\nCOMMIT\n";
    let restored = hosts[0].command(tools.command("iptables-restore"), rules.as_bytes()).expect("the tool can be run");
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let socket = |host: &Netns, at: &'static str| {
        host.run(move || {
            let socket = UdpSocket::bind(at).expect("a socket");
            socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
            socket
        })
    };
    let (here, far) = (socket(&hosts[0], "10.6.0.1:101"), socket(&hosts[1], "10.6.0.2:7"));
    let mut arrived = Vec::new();
    far.send_to(b"x", "10.6.0.1:100").expect("sent");
    let (_, from) = here.recv_from(&mut [0; 8]).expect("what is translated comes through the tunnel");
    arrived.push("translated");
    here.send_to(b"y", from).expect("sent");
    assert_eq!(far.recv_from(&mut [0; 8]).expect("the answer").1.port(), 100, "of the address that was asked");
    arrived.push("answered");
    far.send_to(b"x", "10.6.0.1:9").expect("sent");
    let refused = socket(&hosts[1], "10.6.0.2:0");
    refused.connect("10.6.0.1:8").expect("an address");
    refused.send(b"x").expect("sent");
    assert_eq!(refused.recv(&mut [0; 8]).expect_err("REJECT").kind(), std::io::ErrorKind::ConnectionRefused);
    arrived.push("refused");
    let mut command = tools.command("iptables-save");
    command.arg("-c");
    let saved = hosts[0].command(command, b"").expect("the tool can be run");
    let saved =
        String::from_utf8_lossy(&saved.stdout).lines().filter(|l| l.contains("wg0")).map(str::to_owned).collect();
    if kind == Kind::Ours {
        let mut command = tools.command("bpftables");
        command.arg("uninstall-hooks");
        let _ = hosts[0].command(command, b"");
    }
    (arrived, saved)
}
