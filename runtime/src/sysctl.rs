//! Settings of the network namespace: what the programs follow, and those of `lo` that they need.

use crate::devices::Shown;
use crate::error::{Doing, Result};
use crate::sys::clock;
use bpftables_abi::maps::{Control, IcmpConf, timeout};
use bpftables_ruleset::Family;
use std::fs;
use std::io;
use std::path::Path;

/// `nf_conntrack_max` where nothing says otherwise.
const DEFAULT_MAX: u32 = 262_144;

/// Sysctls of timeouts (below `net/netfilter/nf_conntrack_`), where they go, and the kernel's default in seconds.
const TIMEOUTS: [(&str, usize, u32); 25] = [
    ("tcp_timeout_syn_sent", timeout::TCP + 1, 120),
    ("tcp_timeout_syn_recv", timeout::TCP + 2, 60),
    ("tcp_timeout_established", timeout::TCP + 3, 432_000),
    ("tcp_timeout_fin_wait", timeout::TCP + 4, 120),
    ("tcp_timeout_close_wait", timeout::TCP + 5, 60),
    ("tcp_timeout_last_ack", timeout::TCP + 6, 30),
    ("tcp_timeout_time_wait", timeout::TCP + 7, 120),
    ("tcp_timeout_close", timeout::TCP + 8, 10),
    // SYN_SENT2 follows SYN_SENT, as in the kernel.
    ("tcp_timeout_syn_sent", timeout::TCP + 9, 120),
    ("tcp_timeout_max_retrans", timeout::TCP_RETRANS, 300),
    ("tcp_timeout_unacknowledged", timeout::TCP_UNACK, 300),
    ("udp_timeout", timeout::UDP, 30),
    ("udp_timeout_stream", timeout::UDP_STREAM, 120),
    ("icmp_timeout", timeout::ICMP, 30),
    ("generic_timeout", timeout::GENERIC, 600),
    ("sctp_timeout_closed", timeout::SCTP, 10),
    ("sctp_timeout_closed", timeout::SCTP + 1, 10),
    ("sctp_timeout_cookie_wait", timeout::SCTP + 2, 3),
    ("sctp_timeout_cookie_echoed", timeout::SCTP + 3, 3),
    ("sctp_timeout_established", timeout::SCTP + 4, 210),
    ("sctp_timeout_shutdown_sent", timeout::SCTP + 5, 3),
    ("sctp_timeout_shutdown_recd", timeout::SCTP + 6, 3),
    ("sctp_timeout_shutdown_ack_sent", timeout::SCTP + 7, 3),
    ("sctp_timeout_heartbeat_sent", timeout::SCTP + 8, 30),
    // The kernel has no state 0; a connection is never left in it.
    ("tcp_timeout_close", timeout::TCP, 10),
];

fn number(path: &str) -> Option<u32> {
    fs::read_to_string(format!("/proc/sys/net/{path}")).ok()?.trim().parse().ok()
}

fn conntrack(name: &str, default: u32) -> u32 {
    number(&format!("netfilter/nf_conntrack_{name}")).unwrap_or(default)
}

/// The families to whose hooks br_netfilter shows what any bridge hands from port to port.
pub(crate) fn bridged() -> Shown {
    let mut shown = Shown::default();
    for (family, name) in [(Family::V4, "iptables"), (Family::V6, "ip6tables")] {
        shown[family as usize] = number(&format!("bridge/bridge-nf-call-{name}")).is_some_and(|on| on != 0);
    }
    shown
}

/// Connections at most, as netfilter would hold them here.
pub(crate) fn max_conns() -> u32 {
    conntrack("max", DEFAULT_MAX)
}

/// Fills in what sysctls say.
pub(crate) fn follow(family: Family, control: &mut Control) {
    for (name, index, default) in TIMEOUTS {
        control.timeouts[index] = conntrack(name, default);
    }
    if family == Family::V6 {
        control.timeouts[timeout::ICMP] = conntrack("icmpv6_timeout", 30);
    }
    control.tcp_loose = conntrack("tcp_loose", 1);
    control.tcp_be_liberal = conntrack("tcp_be_liberal", 0);
    control.tcp_max_retrans = conntrack("tcp_max_retrans", 3);
    control.tcp_ignore_invalid_rst = conntrack("tcp_ignore_invalid_rst", 0);
    control.checksum = conntrack("checksum", 1);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ports = range.split_whitespace().filter_map(|word| word.parse::<u16>().ok());
    let (lo, hi) = (ports.next().unwrap_or(32768), ports.next().unwrap_or(60999));
    control.local_ports = u32::from(lo) | u32::from(hi) << 16;
    let clock = clock::read();
    control.tai_offset = clock.tai_offset.cast_unsigned();
    control.minutes_west = clock.minutes_west.cast_unsigned();
}

/// What answers of the programs obey; the kernel's defaults where there is no such sysctl here (the limits of the whole namespace
/// are those of the first namespace on older kernels).
pub(crate) fn icmp(family: Family) -> IcmpConf {
    let setting = |name: &str, default| number(name).unwrap_or(default);
    let (ratelimit_ms, ratemask, ttl) = match family {
        Family::V4 => (
            setting("ipv4/icmp_ratelimit", 1000),
            setting("ipv4/icmp_ratemask", 6168),
            setting("ipv4/ip_default_ttl", 64),
        ),
        Family::V6 => (
            setting("ipv6/icmp/ratelimit", 1000),
            fs::read_to_string("/proc/sys/net/ipv6/icmp/ratemask").map_or(!(1 << 2), |list| first_bits(&list)),
            setting("ipv6/conf/default/hop_limit", 64),
        ),
    };
    IcmpConf {
        known: 1,
        ratelimit_ms,
        ratemask,
        msgs_per_sec: setting("ipv4/icmp_msgs_per_sec", 1000),
        msgs_burst: setting("ipv4/icmp_msgs_burst", 50),
        ttl,
    }
}

/// The first 32 bits of a list such as `0-1,3-127`.
fn first_bits(list: &str) -> u32 {
    let bound = |word: &str| word.trim().parse::<u32>().ok();
    let ranges = list.trim().split(',').filter_map(|range| match range.split_once('-') {
        Some((lo, hi)) => Some((bound(lo)?, bound(hi)?)),
        None => Some((bound(range)?, bound(range)?)),
    });
    ranges.flat_map(|(lo, hi)| lo..=hi.min(31)).filter(|bit| *bit < 32).fold(0, |bits, bit| bits | 1 << bit)
}

/// Settings of `lo` that rules need. The programs ask the FIB for ways of packets as if they came from `lo`, and it answers of no device that
/// does not forward (`forwarding`; whatever rules there are). Answers rewritten for a local socket come in by `lo` with a foreign source, and
/// packets to this host with a source of this host, or to 127.0.0.1 (`accept_local`, `route_localnet`, no strict `rp_filter`; where programs
/// send packets there). Only packets of this host are ever on `lo`.
const LO4: [(&str, &str); 4] = [FORWARDING, ("accept_local", "1"), ("route_localnet", "1"), ("rp_filter", "2")];
/// IPv6 has none of these checks; the FIB is asked alike.
const LO6: [(&str, &str); 1] = [FORWARDING];
/// What all rules need.
const FORWARDING: (&str, &str) = ("forwarding", "1");

const fn lo_settings(family: Family) -> &'static [(&'static str, &'static str)] {
    match family {
        Family::V4 => &LO4,
        Family::V6 => &LO6,
    }
}

const fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

/// Whether a device forwards what comes in by it.
pub(crate) fn forwards(family: Family, device: &str) -> bool {
    number(&format!("{}/conf/{device}/forwarding", ip(family))).is_some_and(|on| on != 0)
}

fn lo_path(family: Family, name: &str) -> String {
    format!("/proc/sys/net/{}/conf/lo/{name}", ip(family))
}

/// Where an old value is kept: a symbolic link in the namespace's directory whose target is the value.
fn record(dir: &Path, name: &str) -> std::path::PathBuf {
    dir.join(format!("sysctl_lo_{name}"))
}

/// Sets what rules need, and if `sends` what packets that programs send in by `lo` need besides; the old values are recorded first, once.
pub(crate) fn set_lo(family: Family, dir: &Path, sends: bool) -> Result<()> {
    for &(name, wanted) in lo_settings(family).iter().filter(|setting| sends || **setting == FORWARDING) {
        let path = lo_path(family, name);
        let old = fs::read_to_string(&path).doing(|| format!("read {path}"))?;
        let old = old.trim();
        // The stricter of `all` and `lo` counts, by number; only strict (1) is in the way.
        let lenient =
            || name == "rp_filter" && number("ipv4/conf/all/rp_filter").unwrap_or(0).max(old.parse().unwrap_or(0)) != 1;
        if old == wanted || lenient() {
            continue;
        }
        match std::os::unix::fs::symlink(old, record(dir, name)) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(e).doing(|| format!("record the old value of {path}"));
            }
            _ => {}
        }
        fs::write(&path, wanted).doing(|| format!("set {path} to {wanted}"))?;
    }
    Ok(())
}

/// Puts back what [`set_lo`] changed, unless somebody changed it since.
pub(crate) fn restore_lo(family: Family, dir: &Path) -> Result<()> {
    for &(name, wanted) in lo_settings(family) {
        let record = record(dir, name);
        let Ok(old) = fs::read_link(&record) else { continue };
        let path = lo_path(family, name);
        let now = fs::read_to_string(&path).doing(|| format!("read {path}"))?;
        if now.trim() == wanted {
            fs::write(&path, old.as_os_str().as_encoded_bytes()).doing(|| format!("put {path} back"))?;
        }
        fs::remove_file(&record).doing(|| format!("forget the old value of {path}"))?;
    }
    Ok(())
}

/// What was changed on `lo`: name, old value, ours.
pub(crate) fn changed(family: Family, dir: &Path) -> Vec<(&'static str, String, &'static str)> {
    lo_settings(family)
        .iter()
        .filter_map(|&(name, ours)| {
            let old = fs::read_link(record(dir, name)).ok()?;
            Some((name, old.to_string_lossy().into_owned(), ours))
        })
        .collect()
}
