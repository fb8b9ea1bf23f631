//! `cargo xtask systemd`: the package as it is installed, and its services as systemd runs them, in a machine of its own
//! ([`machine`]): nothing of it reaches this one's services, files, devices or rules.

mod machine;
mod node;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::project::{self, Project};
use crate::{deb, setup, static_build};

use machine::Machine;

/// The command line of `cargo xtask systemd`.
#[derive(Args)]
pub(crate) struct Options {
    /// Install a binary that needs no shared library
    #[arg(long = "static")]
    standalone: bool,
}

/// What the machine is to do within, be it as busy as it may.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the unit allows the agent, as the kernel numbers it: DAC_READ_SEARCH, NET_ADMIN, NET_RAW, SYS_CHROOT, SYS_PTRACE, SYS_ADMIN,
/// PERFMON, BPF.
const CAPABILITIES: [u32; 8] = [2, 12, 13, 18, 19, 21, 38, 39];

/// A part of the check.
type Step = fn(&mut Machine) -> Result<()>;

/// In the order in which they are made: each begins with what the one before left.
const STEPS: [(&str, Step); 14] = [
    ("the package brings names, pages, completions and a running agent", installed),
    ("systemd finds no fault with the units", verified),
    ("the agent is confined as the unit says", confined),
    ("it serves network namespaces, attaches, writes LOG, and lets go", serves),
    ("it writes LOG into a file that its options name, and opens it anew", logs),
    ("an agent that hangs is begun anew, and rules stay in force", watched),
    ("an agent that is killed is begun anew, and takes over", restarted),
    ("stopping it leaves what is attached", stopped),
    ("priorities decide who is iptables", alternatives),
    ("rules are restored at boot, before there is a network", booted),
    ("a file that does not load is said, and changes nothing", refused),
    ("an upgrade leaves rules and devices alone", upgraded),
    ("removal leaves nothing", removed),
    ("deploy/kubernetes installs, and serves kube-proxy's container", node::check),
];

/// Builds, packages, boots and checks.
///
/// # Errors
/// Setup or build fail, or something is not as it should be.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::run(false)?;
    setup::services()?;
    let project = Project::find()?;
    let binary = if options.standalone { static_build::build(&project)? } else { project.build()? };
    project::become_root()?;
    project::own_mounts()?;
    let begin = Instant::now();
    let mut machine = Machine::new(&project.target.join("systemd"))?;
    let package = deb::package(&project, &binary, "0.0.1-1", &machine.disk(""), options.standalone)?;
    fs::rename(&package, machine.disk("package.deb")).context("cannot name the package")?;
    node::prepare(&machine, &project.root, &binary)?;
    machine.boot()?;
    for (what, step) in STEPS {
        let begin = Instant::now();
        if let Err(error) = step(&mut machine) {
            let journal = machine.shell("journalctl -b -u 'bpftables*' --no-pager -o short-monotonic | tail -n 40");
            bail!("{what}: {error:#}\n{}", journal.unwrap_or_default());
        }
        println!("{:5.1} s  {what}", begin.elapsed().as_secs_f64());
    }
    machine.shut_down()?;
    println!("{:5.1} s  in all", begin.elapsed().as_secs_f64());
    Ok(())
}

/// Fails unless the script does, in the end.
fn eventually(machine: &Machine, script: &str) -> Result<()> {
    let begin = Instant::now();
    loop {
        match machine.shell(script) {
            Ok(_) => return Ok(()),
            Err(error) if begin.elapsed() > PATIENCE => return Err(error.context("still after 20 s")),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// What a script prints is this, but for white space around it.
fn prints(machine: &Machine, script: &str, expected: &str) -> Result<()> {
    let printed = machine.shell(script)?;
    ensure!(printed.trim() == expected, "`{script}` printed {:?}, expected {expected:?}", printed.trim());
    Ok(())
}

fn installed(machine: &mut Machine) -> Result<()> {
    // What Debian makes of its own two.
    machine.shell(
        "update-alternatives --auto iptables; update-alternatives --auto ip6tables; iptables --version >/before",
    )?;
    machine.shell("dpkg -i /package.deb 2>&1")?;
    prints(machine, "systemctl is-active bpftablesd", "active")?;
    prints(machine, "systemctl is-enabled bpftablesd", "enabled")?;
    prints(machine, "systemctl is-enabled bpftables-restore || true", "disabled")?;
    prints(machine, "systemctl show bpftablesd --value -p StatusText", "serving 0 network namespaces")?;
    for family in ["iptables", "ip6tables"] {
        for name in ["", "-save", "-restore"] {
            prints(machine, &format!("readlink -f /usr/sbin/{family}{name}"), "/usr/sbin/xtables-bpf-multi")?;
            let said = machine.shell(&format!("{family}{name} --version"))?;
            ensure!(said.contains("(bpf)"), "{family}{name} is {said}");
        }
    }
    // Some installations keep no manual pages; ours are in the package for those that do.
    let files = machine.shell("dpkg -L bpftables")?;
    for file in [
        "/usr/share/man/man8/bpftables.8.gz",
        "/usr/share/man/man8/bpftablesd.8.gz",
        "/usr/share/man/man8/iptables-bpf.8.gz",
        "/usr/share/bash-completion/completions/bpftables",
        "/usr/share/zsh/vendor-completions/_bpftables",
        "/usr/share/fish/vendor_completions.d/bpftables.fish",
    ] {
        ensure!(files.lines().any(|line| line == file), "{file} is not in the package");
    }
    machine.shell("bash -n /usr/share/bash-completion/completions/bpftables")?;
    Ok(())
}

fn verified(machine: &mut Machine) -> Result<()> {
    prints(
        machine,
        "systemd-analyze verify bpftablesd.service bpftables-restore.service 2>&1 | grep bpftables || true",
        "",
    )?;
    println!("         {}", machine.shell("systemd-analyze security --no-pager bpftablesd | tail -n 1")?.trim());
    Ok(())
}

fn confined(machine: &mut Machine) -> Result<()> {
    let status = machine.shell("cat /proc/$(systemctl show bpftablesd --value -p MainPID)/status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).with_context(|| format!("no {name} in\n{status}"))
    };
    let expected: u64 = CAPABILITIES.iter().map(|number| 1 << number).sum();
    for set in ["CapBnd", "CapPrm", "CapEff"] {
        ensure!(u64::from_str_radix(field(set)?, 16)? == expected, "{set} is {}, not {expected:x}", field(set)?);
    }
    ensure!(field("NoNewPrivs")? == "1" && field("Seccomp")? == "2", "{status}");
    let inside = |script: &str| {
        machine.shell(&format!("nsenter -m -t $(systemctl show bpftablesd --value -p MainPID) sh -c '{script}' 2>&1"))
    };
    for place in ["/usr/x", "/etc/x", "/var/x", "/root/x"] {
        let refused = inside(&format!("! touch {place}"))?;
        ensure!(refused.contains("Read-only") || refused.contains("Permission denied"), "{place}: {refused}");
    }
    inside(": >/run/x && rm /run/x && mkdir /sys/fs/bpf/x && rmdir /sys/fs/bpf/x && test -z \"$(ls /root)\"")?;
    Ok(())
}

/// Succeeds once our programs are at both hooks of a device.
fn attached(device: &str) -> String {
    format!("bpftables status | grep -F ' {device} (' | grep -qF 'ingress ours, egress ours'")
}

fn serves(machine: &mut Machine) -> Result<()> {
    machine.shell(
        "ip link set lo up; iptables -P FORWARD DROP; iptables -A INPUT -i lo -p icmp -j LOG --log-prefix xtask-systemd:$$:",
    )?;
    let serving = |count: &str| {
        let words = format!("serving {count} network namespaces");
        eventually(machine, &format!("systemctl show bpftablesd --value -p StatusText | grep -qx '{words}'"))
    };
    serving("1")?;
    machine.shell("ip link add d1 type veth peer name d2")?;
    eventually(machine, &attached("d1"))?;
    // A container's namespace, whose commands see another /sys, and in which no process is left once the agent looks.
    machine.shell(
        "agent=$(systemctl show bpftablesd --value -p MainPID); kill -STOP $agent; ip netns add pod; \
         ip netns exec pod iptables -A INPUT -j DROP; ip -n pod link set lo up; kill -CONT $agent",
    )?;
    serving("2")?;
    machine.shell("ip -n pod link add d3 type veth peer name d4")?;
    eventually(machine, &format!("ip netns exec pod {}", attached("d3").replacen("| ", "| cat | ", 1)))?;
    machine.shell("ip netns del pod")?;
    serving("1")?;
    // A line of LOG in the kernel's log.
    machine.shell("ping -c 1 127.0.0.1 >/dev/null")?;
    eventually(
        machine,
        "dmesg | grep -q \"xtask-systemd:[0-9]*:IN=lo OUT= MAC=.* SRC=127.0.0.1 DST=127.0.0.1 .*PROTO=ICMP\"",
    )?;
    prints(machine, "journalctl -q -u bpftablesd -p warning --no-pager -o cat", "")?;
    Ok(())
}

fn logs(machine: &mut Machine) -> Result<()> {
    machine.shell(
        "cp /etc/default/bpftables /default; \
         echo 'BPFTABLESD_OPTIONS=\"--log-to /var/log/bpftables/log --nflog-to /var/log/bpftables/nflog.pcapng\"' >>/etc/default/bpftables; \
         systemctl restart bpftablesd; ping -c 1 127.0.0.1 >/dev/null",
    )?;
    let written = "grep -qE '^20[0-9T:.-]*Z warning host: xtask-systemd:[0-9]*:IN=lo ' /var/log/bpftables/log";
    eventually(machine, written)?;
    machine.shell("mv /var/log/bpftables/log /var/log/bpftables/log.1; systemctl reload bpftablesd")?;
    eventually(machine, "test -e /var/log/bpftables/log")?;
    machine.shell("ping -c 1 127.0.0.1 >/dev/null")?;
    eventually(machine, written)?;
    machine.shell("cp /default /etc/default/bpftables; systemctl restart bpftablesd")?;
    prints(machine, "journalctl -q -u bpftablesd -p warning --no-pager -o cat", "")
}

/// Begun anew `times` times since it was last started by hand, and serving.
fn begun_anew(machine: &Machine, times: u32) -> Result<()> {
    let script = format!(
        "[ $(systemctl show bpftablesd --value -p NRestarts) = {times} ] && systemctl is-active -q bpftablesd && \
         systemctl show bpftablesd --value -p StatusText | grep -q 'serving 1 '"
    );
    eventually(machine, &script)
}

/// What is sent to this machine's UDP port 9 does not get there, which a rule sees to.
const CLOSED: &str = "n() { iptables -t raw -L PREROUTING -v -x -n | awk '/dpt:9/ { print $1 }'; }; b=$(n); \
     echo x >/dev/udp/127.0.0.1/9 || true; [ $(n) = $((b + 1)) ]";

fn watched(machine: &mut Machine) -> Result<()> {
    machine.shell("iptables -t raw -A PREROUTING -p udp --dport 9 -j DROP")?;
    machine.shell(
        "mkdir -p /run/systemd/system/bpftablesd.service.d; \
         printf '[Service]\\nWatchdogSec=3s\\nLimitCORE=0\\n' >/run/systemd/system/bpftablesd.service.d/test.conf; \
         systemctl daemon-reload; systemctl restart bpftablesd; sleep 4; [ $(systemctl show bpftablesd --value -p NRestarts) = 0 ]",
    )?;
    machine.shell("kill -STOP $(systemctl show bpftablesd --value -p MainPID)")?;
    machine.shell(CLOSED)?;
    begun_anew(machine, 1)?;
    machine.shell("journalctl -u bpftablesd --no-pager | grep -q 'Watchdog timeout'")?;
    machine.shell(CLOSED)?;
    machine.shell(
        "rm -r /run/systemd/system/bpftablesd.service.d; systemctl daemon-reload; systemctl restart bpftablesd",
    )?;
    Ok(())
}

fn restarted(machine: &mut Machine) -> Result<()> {
    machine
        .shell("kill -KILL $(systemctl show bpftablesd --value -p MainPID); ip link add d5 type veth peer name d6")?;
    machine.shell(CLOSED)?;
    begun_anew(machine, 1)?;
    eventually(machine, &attached("d5"))
}

fn stopped(machine: &mut Machine) -> Result<()> {
    machine.shell("systemctl stop bpftablesd; [ $(systemctl show bpftablesd --value -p Result) = success ]")?;
    machine.shell(&attached("d5"))?;
    machine.shell(CLOSED)?;
    // Without it a command attaches.
    machine.shell(&format!(
        "ip link add d7 type veth peer name d8; ! {{ {0}; }}; iptables -A INPUT; {0}",
        attached("d7")
    ))?;
    machine.shell("systemctl start bpftablesd")?;
    Ok(())
}

fn alternatives(machine: &mut Machine) -> Result<()> {
    let set = |line: &str| {
        machine
            .shell(&format!("echo {line} >/etc/default/bpftables; dpkg-reconfigure bpftables 2>&1; iptables --version"))
    };
    let before = machine.shell("cat /before")?;
    ensure!(set("BPFTABLES_PRIORITY=5")?.ends_with(&before), "a priority of 5 is below Debian's");
    machine.shell("! iptables --version | grep -qF '(bpf)'; iptables-bpf --version | grep -qF '(bpf)'")?;
    ensure!(set("")?.contains("(bpf)"), "30 is above Debian's");
    // Whoever chooses by hand, chooses.
    machine.shell(
        "update-alternatives --set iptables /usr/sbin/iptables-legacy; iptables-save --version | grep -qF '(legacy)'",
    )?;
    machine.shell("update-alternatives --auto iptables; iptables-save --version | grep -qF '(bpf)'")?;
    Ok(())
}

/// As netfilter-persistent keeps them.
const KEPT: &str =
    "mkdir -p /etc/iptables; iptables-save >/etc/iptables/rules.v4; ip6tables-save >/etc/iptables/rules.v6";
/// Rules without counters and without their tables' order, which is that of their making.
const RULES: &str = "{ iptables-save; ip6tables-save; } | sed -e '/^#/d' -e 's/ \\[[0-9:]*\\]$//' | sort";

fn booted(machine: &mut Machine) -> Result<()> {
    machine.shell("ip6tables -A INPUT -s fd00::/8 -j ACCEPT; ip6tables -P FORWARD DROP")?;
    machine.shell(&format!("{KEPT}; systemctl enable bpftables-restore 2>&1; {RULES} >/rules"))?;
    machine.shut_down()?;
    machine.boot()?;
    prints(machine, &format!("{RULES} | diff /rules -"), "")?;
    prints(machine, "systemctl is-active bpftables-restore bpftablesd", "active\nactive")?;
    eventually(machine, "systemctl show bpftablesd --value -p StatusText | grep -q 'serving 1 '")?;
    machine.shell(
        "t() { systemctl show $1 --value -p $2; }; \
         [ $(t bpftables-restore ExecMainExitTimestampMonotonic) -le $(t network-pre.target ActiveEnterTimestampMonotonic) ] && \
         [ $(t bpftablesd ActiveEnterTimestampMonotonic) -le $(t network-pre.target ActiveEnterTimestampMonotonic) ]",
    )?;
    // The same files, where netfilter-persistent loads them.
    machine.shell("touch /usr/sbin/netfilter-persistent; systemctl restart bpftables-restore")?;
    prints(machine, "systemctl show bpftables-restore --value -p ConditionResult", "no")?;
    machine.shell("rm /usr/sbin/netfilter-persistent")?;
    Ok(())
}

fn refused(machine: &mut Machine) -> Result<()> {
    machine.shell("printf '*filter\\n-A INPUT -j NOWHERE\\nCOMMIT\\n' >/etc/iptables/rules.v4")?;
    machine.shell("ip6tables -F; ! systemctl restart bpftables-restore 2>/dev/null")?;
    machine.shell("journalctl -u bpftables-restore --no-pager | grep -q 'iptables-restore.*NOWHERE'")?;
    // The other family's are restored all the same.
    prints(machine, &format!("{RULES} | diff /rules -"), "")
}

fn upgraded(machine: &mut Machine) -> Result<()> {
    machine.shell("ip link add d1 type veth peer name d2")?;
    eventually(machine, &attached("d1"))?;
    machine.shell("bpftables status | grep ^device >/devices; systemctl show bpftablesd -p MainPID >/pid; dpkg -i /package.deb 2>&1")?;
    prints(machine, &format!("{RULES} | diff /rules -"), "")?;
    prints(machine, "bpftables status | grep ^device | diff /devices -", "")?;
    machine.shell("! systemctl show bpftablesd -p MainPID | cmp -s - /pid; systemctl is-active -q bpftablesd")?;
    prints(machine, "systemctl is-enabled bpftablesd bpftables-restore", "enabled\nenabled")?;
    Ok(())
}

fn removed(machine: &mut Machine) -> Result<()> {
    machine.shell("ip netns add pod; ip netns exec pod iptables -A INPUT -j DROP; bpftables host-routing off; bpftables conntrack limit 5000; dpkg -r bpftables 2>&1")?;
    prints(machine, "iptables --version | cmp - /before; ls -d /sys/fs/bpf/bpftables 2>/dev/null || true", "")?;
    prints(machine, "for at in '' '-n pod'; do ip $at -j link show | grep -c prog; done || true", "0\n0")?;
    machine.shell("dpkg -P bpftables 2>&1; ! ls /etc/default/bpftables /lib/systemd/system/bpftables* 2>/dev/null")?;
    prints(
        machine,
        "find /etc/systemd /var/lib/systemd /etc/alternatives /usr /run /var/log -name '*bpftables*' -o -name '*xtables-bpf*' | cat",
        "",
    )
}
