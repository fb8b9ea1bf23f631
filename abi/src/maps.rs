//! Maps that user space reads or fills, by name, and their values.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// ARRAY_OF_MAPS, [`IMAGE_SLOTS`] images.
pub const IMAGES: &str = "bt_images";
/// Number of image slots of the outer map. A commit takes the next one, so a packet in flight keeps reading its own.
pub const IMAGE_SLOTS: u32 = 64;
/// ARRAY of one [`Control`].
pub const CONTROL: &str = "bt_control";
/// ARRAY_OF_MAPS of counter chunks.
pub const COUNTERS: &str = "bt_counters";
/// Slots in a chunk. A chunk is an ARRAY of `possible CPUs * COUNTER_CHUNK` entries of [`Counter`]; entry `cpu * COUNTER_CHUNK + (slot & (COUNTER_CHUNK - 1))`.
pub const COUNTER_CHUNK: u32 = 4096;
/// Chunks at most: 4 Mi rules.
pub const COUNTER_CHUNKS: u32 = 1024;
/// LPM_TRIE of [`AddrKey`] to [`AddrInfo`]: the kernel's local routing table, mirrored at commit.
pub const ADDRS: &str = "bt_addrs";
/// HASH of ifindex to [`DevInfo`]: user space fills it at commit, the programs keep names and classes fresh.
pub const DEVS: &str = "bt_devs";
/// ARRAY of `struct bt_conn`, see [`crate::conn`].
pub const CONNS: &str = "bt_conns";
/// ARRAY of one [`ConnTable`].
pub const CONN_TABLE: &str = "bt_ct_globals";
/// ARRAY of [`crate::conn::TupleLine`]: directed tuples to connection number << 1 | direction.
pub const TUPLES: &str = "bt_tuples";
/// QUEUE of connection numbers that ended and rest.
pub const FREE_CONNS: &str = "bt_free_conns";
/// LRU_HASH of sources that are translated to the number of their last connection.
pub const NAT_SRCS: &str = "bt_nat_srcs";
/// What connections are kept in: of one connection where the programs' parts do not track, and made anew when they begin to.
pub const OF_CONNECTIONS: [&str; 5] = [CONNS, CONN_TABLE, TUPLES, FREE_CONNS, NAT_SRCS];
/// HASH of the numbers of `-m recent`'s lists.
pub const RECENT: &str = "bt_recent";
/// HASH of list << 32 | entry << 8 | chunk: time stamps of those lists.
pub const RECENT_STAMPS: &str = "bt_recent_stamps";
/// HASH_OF_MAPS of the numbers of `-m hashlimit`'s tables: buckets, a HASH each.
pub const HASHLIMITS: &str = "bt_hashlimits";
/// HASH of those numbers to [`crate::ops::HashlimitTable`].
pub const HASHLIMIT_TABLES: &str = "bt_hashlimit_tables";
/// HASH of the numbers of rate estimators to [`Rateest`].
pub const RATEESTS: &str = "bt_rateests";
/// Bytes of a bucket.
pub const HASHLIMIT_ENTRY: u32 = 56;
/// ARRAY_OF_MAPS: its element, once rules ask for it, is a HASH of `-m connlimit`'s groups.
pub const LIMIT_GROUPS: &str = "bt_limit_groups";
/// Bytes of such a group.
pub const LIMIT_GROUP: u32 = 56;
/// ARRAY_OF_MAPS: its element, once rules ask for it, is a HASH of the connections in those groups.
pub const LIMIT_NODES: &str = "bt_limit_nodes";
/// Bytes of the key and of the value there.
pub const LIMIT_NODE: (u32, u32) = (16, 16);
/// ARRAY_OF_MAPS: its element, once rules ask for it, is an ARRAY of [`crate::conn::Acct`] by connection.
pub const ACCTS: &str = "bt_accts";
/// ARRAY of one [`crate::sets::SetConf`].
pub const SETS: &str = "bt_sets";
/// ARRAY of one [`crate::sets::SetProbe`].
pub const SET_PROBE: &str = "bt_set_probes";
/// ARRAY_OF_MAPS: its element, once rules change sets, is a HASH of [`crate::sets::SetKey`] to [`crate::sets::SetChange`], the same for both
/// families.
pub const SET_CHANGES: &str = "bt_set_changes";
/// Changes that such a map has room for.
pub const SET_CHANGES_MAX: u32 = 65_536;
/// ARRAY_OF_MAPS: its element, likewise, is an ARRAY of one [`crate::sets::SetHead`].
pub const SET_HEADS: &str = "bt_set_heads";
/// HASH of ifindex to 1: devices whose ingress program was attached, and every earlier packet has gone since.
pub const COVERED: &str = "bt_covered";
/// HASH of ifindex to [`Port`]: ports of bridges whose bridged packets netfilter's hooks see.
pub const PORTS: &str = "bt_ports";
/// HASH of program numbers to [`GUARDED_DEVICE`] or [`GUARDED_PORT`]: the programs of this namespace.
pub const GUARD_PROGS: &str = "bt_guard_progs";
/// PERCPU_ARRAY of u64 by [`stat`].
pub const STATS: &str = "bt_stats";
/// ARRAY of one [`IcmpConf`].
pub const ICMP_CONF: &str = "bt_icmp_conf";
/// In [`GUARD_PROGS`]: a program of devices.
pub const GUARDED_DEVICE: u32 = 1;
/// In [`GUARD_PROGS`]: a program of bridges' ports.
pub const GUARDED_PORT: u32 = 2;
/// The programs: ingress and egress, for devices with and without an Ethernet header, and for bridges' ports.
pub const PROGRAMS: [&str; 6] =
    ["bt_ingress_l2", "bt_egress_l2", "bt_ingress_l3", "bt_egress_l3", "bt_ingress_br", "bt_egress_br"];

/// The programs of IPv6, likewise.
pub const PROGRAMS6: [&str; 6] =
    ["bt6_ingress_l2", "bt6_egress_l2", "bt6_ingress_l3", "bt6_egress_l3", "bt6_ingress_br", "bt6_egress_br"];

/// The program that user space runs to find the kernel's sets, by family.
pub const SET_PROBES: [&str; 2] = ["bt_set_probe", "bt6_set_probe"];

/// What user space tells the programs. Every field is one aligned store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Control {
    /// Slot of the live IPv4 image in [`IMAGES`]. Writing it is the commit.
    pub slot4: u32,
    /// Slot of the live IPv6 image.
    pub slot6: u32,
    /// ifindex of `lo`.
    pub lo_ifindex: u32,
    /// Connections at most (`nf_conntrack_max`); [`CONNS`] has a quarter more.
    pub max_conns: u32,
    /// Random, made with the map: marks packets that our programs re-inject.
    pub magic: u32,
    /// Random, made with the map: seeds hashes of the programs.
    pub seed: u32,
    /// Conntrack timeouts in seconds, by [`timeout`].
    pub timeouts: [u32; 32],
    /// `nf_conntrack_tcp_loose`, `_be_liberal`, `_max_retrans`, `_ignore_invalid_rst`; `nf_conntrack_checksum`; reserved.
    pub tcp_loose: u32,
    /// See `tcp_loose`.
    pub tcp_be_liberal: u32,
    /// See `tcp_loose`.
    pub tcp_max_retrans: u32,
    /// See `tcp_loose`.
    pub tcp_ignore_invalid_rst: u32,
    /// See `tcp_loose`.
    pub checksum: u32,
    /// First local port and last of `ip_local_port_range`, lo | hi << 16.
    pub local_ports: u32,
    /// Cookie of the network namespace: a device that went to another one took the programs along, and their rules are none there.
    pub netns: u64,
    /// How far TAI is ahead of UTC on this machine, in seconds, as `adjtimex` says: 0 where nothing set it.
    pub tai_offset: u32,
    /// Minutes that the kernel's time zone is west of UTC (`settimeofday`), two's complement.
    pub minutes_west: u32,
    /// Numbers of the programs, in the order of [`PROGRAMS`]; 0: not loaded.
    pub programs: [u32; 6],
    /// Number of the guard's program; 0: there is none.
    pub guard: u32,
    /// 1: forwarded packets may go from device to device past the stack's forwarding, where it would do nothing else.
    pub host_routing: u32,
    /// Lines of [`TUPLES`], less one: they are a power of two.
    pub tuple_mask: u32,
    /// Zero.
    pub reserved: u32,
}

/// A rate estimator. User space makes it with `next`, `log` and `ewma`; the rest is the programs'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rateest {
    /// 1: a program has it.
    pub lock: u32,
    /// The interval is [`RATEEST_QUARTER`] ticks times two to the power of this.
    pub log: u8,
    /// The average's weight is two to the power of minus this.
    pub ewma: u8,
    /// Zero.
    pub pad: u16,
    /// When the interval ends, in ticks of 4 ms since the machine's start.
    pub next: u64,
    /// Bytes a second, on average, times 2^8.
    pub bytes: u64,
    /// Packets, likewise.
    pub packets: u64,
    /// Bytes that came in the interval.
    pub came_bytes: u64,
    /// Packets, likewise.
    pub came_packets: u64,
}

/// Ticks of 4 ms in what the kernel takes for a quarter of a second.
pub const RATEEST_QUARTER: u64 = 62;

/// Value of [`PORTS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Port {
    /// ifindex of its bridge.
    pub bridge: u32,
    /// Zero.
    pub reserved: u32,
}

/// Indices of [`Control::timeouts`]. TCP states are numbered as the kernel's `enum tcp_conntrack`.
pub mod timeout {
    /// TCP by state number 0..=9, then 10 retransmitted, 11 unacknowledged.
    pub const TCP: usize = 0;
    /// Retransmissions exceeded.
    pub const TCP_RETRANS: usize = 10;
    /// Unacknowledged data.
    pub const TCP_UNACK: usize = 11;
    /// UDP, one direction seen.
    pub const UDP: usize = 12;
    /// UDP stream.
    pub const UDP_STREAM: usize = 13;
    /// ICMP.
    pub const ICMP: usize = 14;
    /// Every other protocol.
    pub const GENERIC: usize = 15;
    /// SCTP by state number 0..=8 (`enum sctp_conntrack`).
    pub const SCTP: usize = 16;
}

/// What answers of the programs (REJECT, too large a packet) obey: sysctls of the network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IcmpConf {
    /// 1: the rest is filled in; 0: the programs take the kernel's defaults.
    pub known: u32,
    /// `icmp_ratelimit`, milliseconds between errors to one destination; 0: no limit.
    pub ratelimit_ms: u32,
    /// `icmp_ratemask`: bits of the ICMP types that are limited.
    pub ratemask: u32,
    /// `icmp_msgs_per_sec`, errors of the whole namespace.
    pub msgs_per_sec: u32,
    /// `icmp_msgs_burst`.
    pub msgs_burst: u32,
    /// `ip_default_ttl`.
    pub ttl: u32,
}

/// One counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// How far the connection table is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConnTable {
    /// Numbers below this were used at some time.
    pub bump: u32,
    /// Where the next scan for ended connections begins.
    pub cursor: u32,
    /// Connections that live.
    pub live: u32,
    /// Numbers that were given to rules and groups of `-m connlimit`.
    pub limits: u32,
}

/// Key of [`ADDRS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddrKey {
    /// Prefix length, 0 to 32.
    pub len: u32,
    /// Network byte order.
    pub addr: u32,
}

/// Key of [`ADDRS`] in the IPv6 programs' map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddrKey6 {
    /// Prefix length, 0 to 128.
    pub len: u32,
    /// Network byte order.
    pub addr: [u8; 16],
}

/// Value of [`ADDRS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddrInfo {
    /// RTN_* of the route in the local table.
    pub kind: u32,
    /// Its device.
    pub ifindex: u32,
}

/// Value of [`DEVS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DevInfo {
    /// Interface name, zero padded.
    pub name: [u8; 16],
    /// Image generation << 32 | interface class + 1, one store; 0: not known.
    pub class: u64,
    /// Bytes of link-layer header that its programs see: 14 or 0.
    pub l2len: u32,
    /// The device's group, where rules ask for it: as it was when a packet last came in by the device.
    pub group: u32,
}

/// What the survey of links writes of one at `lo` or at a hook of netfilter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Survey {
    /// Number of the link.
    pub link: u32,
    /// `enum bpf_link_type`.
    pub kind: u32,
    /// Inode of its network namespace.
    pub inode: u32,
    /// What holds that namespace: processes, sockets, open files and mounts, links of netfilter's hooks.
    pub references: u32,
    /// Cookie of its network namespace.
    pub cookie: u64,
}

/// Indices of [`STATS`]: every drop and refusal of the programs has a reason.
pub mod stat {
    /// Dropped by a rule or policy.
    pub const DROP_RULE: u32 = 0;
    /// Dropped: connection table full.
    pub const DROP_TABLE_FULL: u32 = 1;
    /// Dropped: no port left for NAT.
    pub const DROP_NAT_EXHAUSTED: u32 = 2;
    /// Dropped: a later fragment whose first was not seen.
    pub const DROP_FRAGMENT: u32 = 3;
    /// Dropped: netfilter's hotdrop (malformed header under an L4 match).
    pub const DROP_HOTDROP: u32 = 4;
    /// Dropped: jump stack too deep (a bug: the compiler refuses such rulesets).
    pub const DROP_DEPTH: u32 = 5;
    /// Dropped: no route after a rewrite.
    pub const DROP_NO_ROUTE: u32 = 6;
    /// Dropped: larger than the new device's MTU, DF set; ICMP was sent.
    pub const DROP_MTU: u32 = 7;
    /// Dropped: the packet could not be rewritten.
    pub const DROP_REWRITE: u32 = 8;
    /// Dropped: the image could not be read (a bug).
    pub const DROP_IMAGE: u32 = 9;
    /// REJECT answered.
    pub const REJECTED: u32 = 10;
    /// New connections.
    pub const CONN_NEW: u32 = 11;
    /// Connections dropped early to make room.
    pub const CONN_EARLY_DROP: u32 = 12;
    /// Dropped: REJECT could not be sent.
    pub const DROP_REJECT_FAILED: u32 = 13;
    /// Dropped by the guard: the device has no program of ours.
    pub const DROP_UNCOVERED: u32 = 14;
    /// Not a drop: an event that found the ring full.
    pub const EVENT_LOST: u32 = 15;
    /// Not a drop: forwarded past the stack ([`Control::host_routing`](super::Control::host_routing)).
    pub const HOST_ROUTED: u32 = 16;
    /// Not a drop: a copy of TEE that could not be sent.
    pub const COPY_LOST: u32 = 17;
    /// Dropped: IPsec unwrapped the packet, or would wrap it, where no program sees it.
    pub const DROP_IPSEC: u32 = 18;
    /// Not a drop: a change of a set (SET) that found no room.
    pub const SET_LOST: u32 = 19;
    /// Dropped by the guard: this host was to take the packet, which its route did not say when the programs asked the rules.
    pub const DROP_UNASKED: u32 = 20;
    /// The agent's, as the two after it: no program adds to these. An event beyond what is written or handed over in a second.
    pub const EVENT_SUPPRESSED: u32 = 29;
    /// The agent's: an event that could not be written where lines or packets are written to.
    pub const EVENT_UNWRITTEN: u32 = 30;
    /// The agent's: a packet of NFLOG that its listener did not take.
    pub const EVENT_UNDELIVERED: u32 = 31;
    /// Number of statistics.
    pub const COUNT: u32 = 32;
}

const _: () = {
    assert!(size_of::<Control>() == 24 + 128 + 80);
    assert!(size_of::<Counter>() == 16);
    assert!(size_of::<Survey>() == 24);
};
