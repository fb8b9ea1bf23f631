//! `cargo xtask setup`: the programs that building, testing and the demo need, installed by apt.
//!
//! Every command calls it, so it only looks files up along PATH until something is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::sys;

/// A program, and the Debian package that brings it.
struct Tool {
    program: &'static str,
    package: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool { program: "clang-19", package: "clang-19" },
    Tool { program: "iptables-legacy", package: "iptables" },
    Tool { program: "iptables-legacy-restore", package: "iptables" },
    Tool { program: "nft", package: "nftables" },
    Tool { program: "ip", package: "iproute2" },
    Tool { program: "ping", package: "iputils-ping" },
    Tool { program: "nsenter", package: "util-linux" },
    Tool { program: "conntrack", package: "conntrack" },
    Tool { program: "ipset", package: "ipset" },
    Tool { program: "iperf3", package: "iperf3" },
    Tool { program: "ethtool", package: "ethtool" },
    Tool { program: "tcpdump", package: "tcpdump" },
    Tool { program: "curl", package: "curl" },
    Tool { program: "cc", package: "gcc" },
];

/// What virtual machines with other kernels need besides, for the tests alone.
const MACHINES: &[Tool] = &[
    Tool { program: "qemu-system-x86_64", package: "qemu-system-x86" },
    Tool { program: "busybox", package: "busybox-static" },
    Tool { program: "cpio", package: "cpio" },
    Tool { program: "modprobe", package: "kmod" },
    Tool { program: "xz", package: "xz-utils" },
    Tool { program: "zstd", package: "zstd" },
    Tool { program: "wg", package: "wireguard-tools" },
];

/// What a machine in which systemd is the first process needs.
const SERVICES: &[Tool] = &[
    Tool { program: "systemctl", package: "systemd" },
    Tool { program: "deb-systemd-helper", package: "init-system-helpers" },
    Tool { program: "dpkg-reconfigure", package: "debconf" },
    Tool { program: "busybox", package: "busybox-static" },
];

/// Files that no program stands for: kernel and C library headers of the eBPF build.
const FILES: &[(&str, &str)] =
    &[("/usr/include/linux/bpf.h", "linux-libc-dev"), ("/usr/include/bpf/bpf_helpers.h", "libbpf-dev")];

/// Installs what is missing. `verbose` says so when nothing is.
///
/// # Errors
/// No apt on this machine, no way to become root, or apt's own failure.
pub(crate) fn run(verbose: bool) -> Result<()> {
    install(verbose, missing)
}

/// Installs what is missing for virtual machines.
///
/// # Errors
/// As [`run`].
pub(crate) fn machines() -> Result<()> {
    install(false, || {
        let mut packages = packages_of(MACHINES);
        // A part of qemu up to Debian 12, then a package of its own.
        let daemons = ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"];
        if !daemons.iter().any(|file| Path::new(file).exists()) {
            packages.push(if debian() <= 12 { "qemu-system-common" } else { "virtiofsd" });
        }
        packages
    })
}

/// Installs what is missing for machines that systemd runs.
///
/// # Errors
/// As [`run`].
pub(crate) fn services() -> Result<()> {
    install(false, || packages_of(SERVICES))
}

/// The major version of this Debian; that of the oldest we know where the file says nothing.
fn debian() -> u32 {
    let version = std::fs::read_to_string("/etc/debian_version").unwrap_or_default();
    version.split('.').next().and_then(|major| major.trim().parse().ok()).unwrap_or(12)
}

fn install(verbose: bool, missing: impl Fn() -> Vec<&'static str>) -> Result<()> {
    let packages = missing();
    if packages.is_empty() {
        if verbose {
            println!("setup: nothing is missing");
        }
        return Ok(());
    }
    println!("setup: installing {}", packages.join(" "));
    if find("apt-get").is_none() {
        bail!("missing: {}; there is no apt-get here, so install them by hand", packages.join(" "));
    }
    apt(&["update", "-q"])?;
    let mut install = vec!["install", "-q", "-y", "--no-install-recommends"];
    install.extend(&packages);
    apt(&install)?;
    let left = missing();
    if !left.is_empty() {
        bail!("apt-get succeeded, but still missing: {}", left.join(" "));
    }
    Ok(())
}

/// The path of a program, looked up as a shell would, plus the system directories that a plain user's
/// PATH lacks on Debian.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn missing() -> Vec<&'static str> {
    let own_clang = std::env::var_os("BPF_CLANG").is_some();
    let mut packages = packages_of(TOOLS);
    packages.retain(|package| !(own_clang && *package == "clang-19"));
    packages.extend(FILES.iter().filter(|(file, _)| !Path::new(file).exists()).map(|(_, package)| *package));
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn packages_of(tools: &[Tool]) -> Vec<&'static str> {
    tools.iter().filter(|tool| find(tool.program).is_none()).map(|tool| tool.package).collect()
}

fn apt(args: &[&str]) -> Result<()> {
    let mut command = if sys::is_root() {
        Command::new("apt-get")
    } else {
        if find("sudo").is_none() {
            bail!("not root and no sudo: run `apt-get {}` as root, then this again", args.join(" "));
        }
        let mut sudo = Command::new("sudo");
        sudo.arg("DEBIAN_FRONTEND=noninteractive").arg("apt-get");
        sudo
    };
    let status = command.args(args).env("DEBIAN_FRONTEND", "noninteractive").status().context("cannot run apt-get")?;
    if !status.success() {
        bail!("`apt-get {}` failed ({status}); its messages are above", args.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_the_system_directories_is_found_and_an_invented_one_is_not() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-as-this"), None);
    }

    #[test]
    fn every_package_name_is_one_that_a_shell_takes_as_it_stands() {
        for tool in TOOLS.iter().chain(MACHINES).chain(SERVICES) {
            assert!(
                tool.package.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.+".contains(&b)),
                "{}",
                tool.package
            );
        }
    }
}
