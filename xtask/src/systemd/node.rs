//! `deploy/kubernetes/` on a node: what the manifests say is done with mounts, namespaces and capabilities, as a container runtime does it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::machine::Machine;
use super::{attached, eventually};

/// Where a busybox and our binary are the image, on the machine's disk.
const IMAGE: &str = "/image";
/// kube-proxy's image: nothing of ours, and an `iptables` that must not be found.
const KUBE_PROXY: &str = "/kube-proxy";
/// Of these images.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Puts the images and the manifests on the disk of a machine that is off.
///
/// # Errors
/// A file is not there.
pub(super) fn prepare(machine: &Machine, sources: &Path, binary: &Path) -> Result<()> {
    let copy = |from: &Path, to: &str| -> Result<()> {
        let to = machine.disk(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().context("no directory")?)?;
        fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display())).map(drop)
    };
    for name in ["bpftables.yaml", "kube-proxy-patch.yaml", "host-alternatives-patch.yaml", "uninstall.yaml"] {
        copy(&sources.join("deploy/kubernetes").join(name), name)?;
    }
    copy(binary, &format!("{IMAGE}/usr/local/sbin/xtables-bpf-multi"))
}

/// The images' shells, and the libraries of a binary that needs some.
const IMAGES: &str = "for root in /image /kube-proxy; do \
     mkdir -p $root/bin $root/proc $root/sys $root/dev $root/run $root/lib64 $root/usr/sbin $root/usr/local/sbin; \
     cp $(command -v busybox) $root/bin/busybox; for name in sh cp chmod mv ln cat chroot stat awk nsenter rm rmdir ls; do ln -sf busybox $root/bin/$name; done; \
     for library in $(ldd /image/usr/local/sbin/xtables-bpf-multi 2>/dev/null | grep -o '/[^ ]*'); do \
     mkdir -p $root$(dirname $library); cp -L $library $root$library; done; done; \
     printf '#!/bin/sh\\necho the image has its own iptables >&2\\nexit 9\\n' >/kube-proxy/usr/sbin/iptables; \
     chmod 755 /kube-proxy/usr/sbin/iptables";

/// A container that a manifest describes.
struct Container {
    /// `(path on the node, path in the container, read only)`
    mounts: Vec<(String, String, bool)>,
    read_only_root: bool,
    privileged: bool,
}

/// Installs as the DaemonSet does, runs its agent, and has commands of kube-proxy's container change rules.
pub(super) fn check(machine: &mut Machine) -> Result<()> {
    machine.shell(IMAGES)?;
    let manifest = machine.shell("cat /bpftables.yaml")?;
    ensure!(manifest.contains("hostNetwork: true") && manifest.contains("hostPID: true"), "{manifest}");
    machine.shell("touch /run/xtables.lock; mkdir -p /opt/bpftables/sbin")?;

    let (install, agent) = (container(&manifest, "install")?, container(&manifest, "agent")?);
    ensure!(install.read_only_root && !install.privileged && agent.read_only_root && agent.privileged, "{manifest}");
    let script = block(&manifest, "- |")?;
    machine.shell(&run(IMAGE, &install, "--", &script))?;
    let words = manifest.lines().find_map(|line| line.trim().strip_prefix("command: [")).context("no command")?;
    let words = words.trim_end_matches(']').replace(',', "");
    machine.shell(&format!(
        "cat >/agent.sh <<'EOF'\n{}\nEOF\nsystemd-run -q --unit=node-agent bash -eu /agent.sh",
        run(IMAGE, &agent, "--", &format!("exec {words}"))
    ))?;
    eventually(machine, "journalctl -u node-agent --no-pager | grep -q 'serving namespaces=0'")?;

    // kube-proxy's container has process numbers of its own.
    let patch = machine.shell("cat /kube-proxy-patch.yaml")?;
    let mut proxy = container(&patch, "kube-proxy")?;
    ensure!(proxy.privileged, "{patch}");
    proxy.mounts.push(("/run/xtables.lock".to_owned(), "/run/xtables.lock".to_owned(), false));
    let rules = "iptables -w 5 -W 100000 -N KUBE-PROXY-CANARY -t mangle\n\
         iptables-restore -w 5 --noflush --counters <<END\n*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-A - [0:0]\n\
         -A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-A\n\
         -A KUBE-SVC-A -p tcp -m tcp -j DNAT --to-destination 10.1.0.1:6443\nCOMMIT\nEND\n\
         iptables -w 5 -t nat -I OUTPUT -j KUBE-SERVICES\nip6tables -w 5 -N KUBE-FIREWALL\niptables-save -t nat";
    let saved = machine.shell(&run(KUBE_PROXY, &proxy, "--pid --fork --", rules))?;
    ensure!(saved.contains("-A KUBE-SVC-A -p tcp -m tcp -j DNAT --to-destination 10.1.0.1:6443"), "{saved}");

    // The node's own command sees the same rules, and the agent attaches to what comes.
    let seen =
        machine.shell("/opt/bpftables/sbin/iptables-save -t nat | grep -c KUBE-; /opt/bpftables/sbin/ip6tables -S")?;
    ensure!(seen.starts_with("5\n") && seen.contains("-N KUBE-FIREWALL"), "{seen}");
    machine.shell("ip link add k1 type veth peer name k2")?;
    let status =
        |device: &str| attached(device).replacen("bpftables status", "/opt/bpftables/sbin/bpftables status", 1);
    eventually(machine, &status("k1"))?;
    // A new version while commands run: each finds the old file or the new one.
    machine.shell(&format!(
        "(for i in $(seq 200); do /opt/bpftables/sbin/iptables-save >/dev/null || exit 1; done) & {}\nwait $!",
        run(IMAGE, &install, "--", &script)
    ))?;
    alternatives(machine)?;
    machine.shell("systemctl stop node-agent")?;
    uninstall(machine)
}

/// What the node's own processes call is ours, unless somebody chose.
fn alternatives(machine: &Machine) -> Result<()> {
    let patch = machine.shell("cat /host-alternatives-patch.yaml")?;
    let container = container(&patch, "alternatives")?;
    ensure!(container.read_only_root && !container.privileged, "{patch}");
    let script = run(IMAGE, &container, "--", &block(&patch, "- |")?);
    let refused = machine.shell(&format!(
        "update-alternatives --set iptables /usr/sbin/iptables-legacy >/dev/null; ! {{ {script}\n}} 2>&1; update-alternatives --auto iptables"
    ))?;
    ensure!(refused.contains("iptables of this node is still another one"), "{refused}");
    for _ in 0..2 {
        machine.shell(&script)?;
    }
    let seen = machine.shell(
        "for f in iptables ip6tables; do for n in $f $f-save $f-restore; do readlink -f /usr/sbin/$n; done; done | sort -u; \
         iptables-save -t nat | grep -c KUBE-",
    )?;
    ensure!(seen == "/opt/bpftables/sbin/xtables-bpf-multi\n5\n", "{seen}");
    Ok(())
}

/// Nothing of ours is left of a node, whoever made rules there.
fn uninstall(machine: &Machine) -> Result<()> {
    machine.shell("ip netns add pod2; ip netns exec pod2 iptables -A INPUT -j DROP; ip -n pod2 link set lo up")?;
    let manifest = machine.shell("cat /uninstall.yaml")?;
    let container = container(&manifest, "uninstall")?;
    ensure!(manifest.contains("hostPID: true") && container.privileged, "{manifest}");
    machine.shell(&run(IMAGE, &container, "--", &block(&manifest, "- |")?))?;
    machine.shell(
        "iptables --version | cmp - /before; [ ! -e /sys/fs/bpf/bpftables ]; [ ! -e /opt/bpftables ]; \
         ! update-alternatives --list iptables | grep -q bpftables",
    )?;
    let programs = machine.shell("for at in '' '-n pod2'; do ip $at -j link show | grep -c prog; done || true")?;
    ensure!(programs == "0\n0\n", "programs are left: {programs}");
    machine.shell("ip netns del pod2").map(drop)
}

/// A script of the node that runs another in a container. `isolated` are further words of unshare(1).
fn run(image: &str, container: &Container, isolated: &str, script: &str) -> String {
    let mut text = format!(
        "unshare --mount {isolated} bash -eu <<'NODE'\nmount --make-rprivate /\nroot=/run/container.$$\nmkdir $root\n\
         mount --bind {image} $root\nmount -t proc proc $root/proc\nmount -t sysfs sys $root/sys\nmount --bind /dev $root/dev\n\
         mount -t tmpfs run $root/run\n"
    );
    for (from, to, read_only) in &container.mounts {
        text += &format!(
            "if [ -d {from} ]; then mkdir -p $root{to}; else : >$root{to}; fi\nmount --rbind {from} $root{to}\n"
        );
        if *read_only {
            text += &format!("mount -o remount,bind,ro $root{to}\n");
        }
    }
    if container.read_only_root {
        text += "mount -o remount,bind,ro $root\n";
    }
    // The manifest's, and what chroot(1) needs itself.
    let capabilities =
        if container.privileged { "" } else { "setpriv --bounding-set=-all,+dac_override,+sys_chroot --no-new-privs " };
    text + &format!(
        "exec {capabilities}chroot $root /bin/busybox env -i PATH={PATH} /bin/sh -ec \"$(cat <<'CONTAINER'\n{script}\nCONTAINER\n)\"\nNODE\n"
    )
}

/// What a manifest says of a container; its volumes are the node's own directories and files.
fn container(manifest: &str, name: &str) -> Result<Container> {
    let lines = || manifest.lines().map(str::trim);
    let volumes: BTreeMap<&str, &str> = lines()
        .zip(lines().skip(1))
        .filter_map(|(name, path)| {
            let path = path.strip_prefix("hostPath: {path: ")?.split(',').next()?;
            Some((name.strip_prefix("- name: ")?, path))
        })
        .collect();
    let begin = format!("- name: {name}");
    let mut lines = manifest.lines().skip_while(|line| line.trim() != begin);
    let indent = lines.next().with_context(|| format!("no container {name}"))?.find('-').unwrap_or(0);
    let own: Vec<&str> =
        lines.take_while(|line| line.find(|c| c != ' ').is_none_or(|at| at > indent)).map(str::trim).collect();
    let mut mounts = Vec::new();
    for line in &own {
        let Some(mount) = line.strip_prefix("- {name: ").and_then(|rest| rest.strip_suffix('}')) else { continue };
        let mut words = mount.split(", ");
        let volume = words.next().unwrap_or_default();
        let path =
            words.next().and_then(|word| word.strip_prefix("mountPath: ")).with_context(|| (*line).to_owned())?;
        let from = volumes.get(volume).with_context(|| format!("no volume {volume}"))?;
        mounts.push(((*from).to_owned(), path.to_owned(), words.any(|word| word == "readOnly: true")));
    }
    ensure!(!mounts.is_empty(), "{name} mounts nothing");
    let says = |text: &str| own.iter().any(|line| line.contains(text));
    Ok(Container { mounts, read_only_root: says("readOnlyRootFilesystem: true"), privileged: says("privileged: true") })
}

/// The text below a line, without its indentation.
fn block(manifest: &str, head: &str) -> Result<String> {
    let mut lines = manifest.lines().skip_while(|line| line.trim() != head);
    let outer = lines.next().and_then(|line| line.find('-')).with_context(|| format!("no {head}"))?;
    let own: Vec<&str> = lines.take_while(|line| line.find(|c| c != ' ').is_none_or(|at| at > outer)).collect();
    let indent = own.first().and_then(|line| line.find(|c| c != ' ')).context("an empty block")?;
    Ok(own.iter().map(|line| line.get(indent..).unwrap_or_default()).collect::<Vec<_>>().join("\n"))
}
