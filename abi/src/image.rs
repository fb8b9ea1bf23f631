//! The image: an array of 64-byte lines that the programs search. Line 0 is the [`Header`].

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes in a line: one cache line, one element of the image's map.
pub const LINE: usize = 64;
/// Rules in one block of a bit vector.
pub const BLOCK: usize = 512;
/// Most rules in one chain descriptor: as many blocks as a summary line has bits. Longer chains continue in [`Chain::next`].
pub const MAX_CHAIN_RULES: usize = BLOCK * BLOCK;
/// `Header::magic`: "BTIM".
pub const MAGIC: u32 = 0x4d49_5442;

/// Sixteen 32-bit words.
pub type Words = [u32; 16];

/// Line 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`crate::ABI_VERSION`].
    pub abi: u32,
    /// Generation: grows by one with each commit of this family in this namespace.
    pub generation: u32,
    /// 4 or 6.
    pub family: u32,
    /// Lines that programs may read.
    pub lines: u32,
    /// `FLAG_*`.
    pub flags: u32,
    /// First line of the state's root (user space only), 0 if none.
    pub blob_line: u32,
    /// Bytes of it.
    pub blob_len: u32,
    /// Interface classes: the cuckoo table ([`Bucket`] lines); 0 if no rule names an interface.
    pub iface_table: u32,
    /// Its number of buckets - 1 (a power of two less one).
    pub iface_mask: u32,
    /// Its seed.
    pub iface_seed: u64,
    /// Bit L: some prefix pattern (`name+`) has L bytes. Exact names are under [`IFACE_EXACT`].
    pub iface_lens: u32,
    /// Number of interface classes (class 0: no pattern matches).
    pub iface_classes: u32,
    /// Bit `hook * TABLES + table`: the base chain is there (its word in [`BASES_LINE`] is not 0).
    pub present: u32,
    /// Checksum of the state's root (user space only): headers of the same generation differ when what they stand before does.
    pub blob_crc: u32,
}

/// Conntrack must run: some rule asks for it by a match (conntrack, state, connmark) or a target (CONNMARK and those of nat).
pub const FLAG_CONNTRACK: u32 = 1;
/// The nat table exists.
pub const FLAG_NAT: u32 = 2;
/// Some rule names an interface.
pub const FLAG_IFACE: u32 = 4;
/// Some rule has DNPT: packets' destinations change, and their connections do not know of it.
pub const FLAG_DNPT: u32 = 8;
/// There is a rule, or a policy that is not ACCEPT: devices without our programs are guarded. Rules of [`FLAG_GUARD_LOOPBACK`] do not count.
pub const FLAG_GUARD: u32 = 256;
/// Some rule concerns packets with an address of loopback's alone, and gives them no other: the guard lets the others pass.
pub const FLAG_GUARD_LOOPBACK: u32 = 1 << 15;
/// Some rule writes events (LOG), which the agent takes. Programs do not ask for it.
pub const FLAG_EVENTS: u32 = 512;

/// Some rule asks for a link address (mac): packets that will be forwarded carry theirs to the device where they leave.
pub const FLAG_MAC: u32 = 1024;

/// Some rule asks for a device's group (devgroup): programs note it of the devices that packets come in by.
pub const FLAG_GROUPS: u32 = 2048;

/// Some rule is TCPMSS with `--clamp-mss-to-pmtu`: what opens a connection of TCP goes up the stack, which gives it a route to read.
pub const FLAG_CLAMP: u32 = 8192;
/// Some rule puts connections into zones (CT --zone).
pub const FLAG_ZONES: u32 = 4096;
/// Some rule is NFLOG, whose packets the agent takes. Programs do not ask for it.
pub const FLAG_NFLOG: u32 = 1 << 16;
/// Some rule is TRACE: chains have names, packets may carry its mark.
pub const FLAG_TRACE: u32 = 1 << 17;
/// Some rule asks what connections carried (connbytes), or did so since the namespace first had rules: new connections are counted.
pub const FLAG_ACCT: u32 = 1 << 18;
/// Some rule asks for labels: new connections have them.
pub const FLAG_LABELS: u32 = 1 << 19;

/// Some rule asks for a set.
pub const FLAG_SETS: u32 = 1 << 4;
/// Some rule asks for a list of addresses (recent).
pub const FLAG_RECENT: u32 = 1 << 5;
/// Some rule asks for extension headers of IPv6 (ah, dst, eui64, frag, hbh, ipv6header, mh, rt, srh).
pub const FLAG_HEADERS: u32 = 1 << 6;
/// Some rule has a match or a target that few rulesets have, and that no other flag tells.
pub const FLAG_SELDOM: u32 = 1 << 7;

/// Some rule asks for sockets (socket, TPROXY): fragments are shown to rules as parts of their packets, as where connections are tracked.
pub const FLAG_DEFRAG: u32 = 1 << 24;

/// Some rule asks what the programs cannot tell of a VRF's packets: the guard closes VRFs and their members.
pub const FLAG_NO_VRF: u32 = 1 << 14;

/// Some rule changes sets (SET), which the agent brings into the kernel's. Programs do not ask for it.
pub const FLAG_SET_CHANGES: u32 = 1 << 25;

/// Number of tables and of hooks, numbered as `ruleset::TableKind` and `ruleset::Hook`.
pub const TABLES: usize = 5;
/// See [`TABLES`].
pub const HOOKS: usize = 5;
/// Lines 1 and 2: word `hook * TABLES + table` is the line of the base [`Chain`] there, 0 if none.
pub const BASES_LINE: u32 = 1;
/// First line free for other things.
pub const FIRST_FREE_LINE: u32 = 3;

/// How a chain finds its candidates.
///
/// *Odd* packets are scanned in every kind of chain, rule by rule, since netfilter drops them inside a match ("hotdrop"), at a place that
/// depends on the order of matches: fragment offset 1; or fragment offset 0 and fewer bytes behind the IP header (by its total
/// length) than TCP 20, UDP, UDP-Lite and ICMP 8, SCTP and DCCP 12.
pub mod chain_kind {
    /// Every rule in turn.
    pub const LIST: u8 = 0;
    /// One hash lookup by (daddr, protocol, dport) with `Chain::hash_*` (a vecref ONE or LIST, or nothing), merged in order of index with the
    /// residual list. A packet without a destination port has only the residual.
    pub const HASH: u8 = 1;
    /// The vectors of each field, ANDed. EMPTY in any field: no candidate. ONE or LIST in some field: it alone gives the candidates (any
    /// one will do). Else the AND of the VECs; ALL leaves everything as it is.
    pub const BITVEC: u8 = 2;
}

/// What happens at the end of a chain.
pub mod policy {
    /// A user's chain: go back to the caller.
    pub const RETURN: u8 = 0;
    /// The packet goes on.
    pub const ACCEPT: u8 = 1;
    /// The packet ends.
    pub const DROP: u8 = 2;
}

/// A chain, one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Chain {
    /// Line of the first [`Rule`]; rule i is at `rules + i`.
    pub rules: u32,
    /// Number of rules.
    pub nrules: u32,
    /// [`chain_kind`].
    pub kind: u8,
    /// [`policy`].
    pub policy: u8,
    /// BITVEC: number of [`Field`]s, at most 8.
    pub nfields: u8,
    /// Zero.
    pub pad: u8,
    /// Counter slot of the policy.
    pub policy_slot: u32,
    /// HASH: first [`Bucket`] line.
    pub hash_table: u32,
    /// HASH: buckets - 1.
    pub hash_mask: u32,
    /// HASH: seed.
    pub hash_seed: u64,
    /// HASH: a vecref (EMPTY, ONE or LIST) of the rules that the hash does not hold.
    pub residual: u32,
    /// BITVEC: line of the first [`Field`]; field i is the half (i & 1) of line `fields + i / 2`.
    pub fields: u32,
    /// The chain that goes on where this one ends (a split of a very long chain), 0 if none.
    pub next: u32,
    /// Line of its [`ChainName`], where [`FLAG_TRACE`] is set; else 0.
    pub name: u32,
    /// Zero.
    pub reserved: [u32; 4],
}

/// What TRACE says of a chain, a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ChainName {
    /// Zero padded.
    pub name: [u8; 32],
    /// Rules of the whole chain.
    pub rules: u32,
    /// Zero.
    pub reserved: [u32; 7],
}

/// A vector reference: which rules of a chain may match. The top three bits are the tag.
pub mod vecref {
    /// Shift of the tag.
    pub const TAG_SHIFT: u32 = 29;
    /// Mask of the payload.
    pub const PAYLOAD: u32 = (1 << TAG_SHIFT) - 1;
    /// No entry in this table.
    pub const ABSENT: u32 = 0;
    /// No rule.
    pub const EMPTY: u32 = 1;
    /// One rule: the payload is its index in the chain.
    pub const ONE: u32 = 2;
    /// A sorted list: the payload is a line whose word 0 is the count (1 to [`LIST_MAX`]), the indices follow, 15 in this line, 16 in the next.
    pub const LIST: u32 = 3;
    /// A two-level bit vector: the payload is a line S. S: summary, `[u64; 8]`, bit b: block b is not empty. S+1: `[u16; 8]` blocks before each
    /// summary word, then `[u32; 12]` block lines; S+2...: sixteen block lines each. A block is one line of 512 bits, bit r: rule r of the block.
    pub const VEC: u32 = 4;
    /// Every rule.
    pub const ALL: u32 = 5;
    /// In a [`super::field_kind::PAGE16`] top: the payload is the line of a page.
    pub const PAGE: u32 = 6;
    /// Longest list.
    pub const LIST_MAX: u32 = 31;
}

/// Which value of the packet a field looks at.
pub mod field {
    /// Source address.
    pub const SADDR: u8 = 0;
    /// Destination address.
    pub const DADDR: u8 = 1;
    /// Protocol number.
    pub const PROTO: u8 = 2;
    /// Source port (TCP, UDP, UDP-Lite, SCTP, DCCP), absent for others and for later fragments.
    pub const SPORT: u8 = 3;
    /// Destination port, likewise.
    pub const DPORT: u8 = 4;
    /// Class of the in device; a hook without one: class 0.
    pub const IIF: u8 = 5;
    /// Class of the out device, likewise.
    pub const OIF: u8 = 6;
    /// ICMP type << 8 | code, absent for others.
    pub const ICMP: u8 = 7;
    /// TCP flag byte, absent for others.
    pub const TCP_FLAGS: u8 = 8;
    /// Connection state: `CtStates` bits & 0x7f.
    pub const CTSTATE: u8 = 9;
}

/// How a field's table is laid out.
pub mod field_kind {
    /// Longest prefix by hash: keys `len << 32 | host-order address masked to len`, lengths in `Field::lens`, tried from the longest.
    pub const PREFIX: u8 = 0;
    /// 256 words at `table` indexed by value >> 8: a vecref, or PAGE with the line of 256 words indexed by value & 255.
    pub const PAGE16: u8 = 1;
    /// `mask + 1` words at `table` indexed by the value; beyond: `dflt`.
    pub const DIRECT: u8 = 2;
}

/// A field's table in a chain, half a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Field {
    /// [`field`].
    pub what: u8,
    /// [`field_kind`].
    pub kind: u8,
    /// Zero.
    pub pad: u16,
    /// First line of the table.
    pub table: u32,
    /// PREFIX: bit L of 0..=31 set: prefixes of length L+1 are in the table (length 0 is `dflt`). IPv6: a line whose bit L of 0..=127
    /// says so.
    pub lens: u32,
    /// PREFIX: buckets - 1. DIRECT: entries - 1.
    pub mask: u32,
    /// PREFIX: seed of the hash.
    pub seed: u64,
    /// Vecref of values that are not in the table.
    pub dflt: u32,
    /// Vecref of packets that have no such value.
    pub absent: u32,
}

/// One line of a cuckoo table: five ways. A key is in bucket `h & mask` or `(h >> 32) & mask` where h = [`hash`]`(key, seed)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Bucket {
    /// Keys; meaningless where the value is 0.
    pub keys: [u64; 5],
    /// Values: vecrefs (or interface classes + 1); 0 is an empty way.
    pub values: [u32; 5],
    /// Zero.
    pub pad: u32,
}

/// An IPv6 address as a key: host order, masked to its prefix's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Key6 {
    /// The first 64 bits.
    pub hi: u64,
    /// The last 64 bits.
    pub lo: u64,
}

/// One line of a cuckoo table of IPv6 prefixes: three ways. A key of length L is in bucket `h & mask` or `(h >> 32) & mask` where
/// h = [`hash`]`(key.lo ^ hash(key.hi, KEY6 + L), seed)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Bucket6 {
    /// Keys; meaningless where the length is 0.
    pub keys: [Key6; 3],
    /// Vecrefs.
    pub values: [u32; 3],
    /// Lengths; 0 is an empty way.
    pub lens: [u8; 3],
    /// Zero.
    pub pad: u8,
}

/// See [`Bucket6`].
pub const KEY6: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of an IPv6 prefix, see [`Bucket6`].
#[must_use]
pub const fn prefix6_hash(key: Key6, len: u8, seed: u64) -> u64 {
    hash(key.lo ^ hash(key.hi, KEY6 + len as u64), seed)
}

/// The addresses of a rule in an IPv6 image, a line of its own ([`Rule::saddr`]). Network byte order; what is not asked is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Addrs6 {
    /// `-s`, masked.
    pub saddr: [u8; 16],
    /// Its mask.
    pub smask: [u8; 16],
    /// `-d`, masked.
    pub daddr: [u8; 16],
    /// Its mask.
    pub dmask: [u8; 16],
}

/// The hash of every table in the image: a multiply-xorshift mixer (murmur3's finaliser) of `key ^ seed`.
#[must_use]
pub const fn hash(key: u64, seed: u64) -> u64 {
    let mut h = key ^ seed;
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

/// Key of [`chain_kind::HASH`]: host-order destination address, protocol, host-order destination port.
#[must_use]
pub const fn dispatch_key(daddr: u32, proto: u8, dport: u16) -> u64 {
    daddr as u64 | (dport as u64) << 32 | (proto as u64) << 48
}

/// Key of a [`field_kind::PREFIX`] table. `len` is 1 to 32, `addr` host order, already masked.
#[must_use]
pub const fn prefix_key(addr: u32, len: u8) -> u64 {
    addr as u64 | (len as u64) << 32
}

/// `len` of an exact interface name in [`iface_key`].
pub const IFACE_EXACT: u8 = 16;

/// Key of the interface classes: the name's (or prefix's) bytes, zero padded to 16, folded with its length (1 to 15) or [`IFACE_EXACT`].
/// A fold, not the name itself: the compiler refuses (by another seed) rules whose names collide.
#[must_use]
pub const fn iface_key(name: [u8; 16], len: u8) -> u64 {
    let lo = u64::from_le_bytes([name[0], name[1], name[2], name[3], name[4], name[5], name[6], name[7]]);
    let hi = u64::from_le_bytes([name[8], name[9], name[10], name[11], name[12], name[13], name[14], name[15]]);
    hash(lo, 0x9e37_79b9_7f4a_7c15) ^ hash(hi, len as u64)
}

/// Bits of [`Rule::flags`]. An `INV_` bit inverts the check beside it.
pub mod rule_flag {
    /// Source address is compared (mask 0 without inversion: never set).
    pub const SADDR: u32 = 1 << 0;
    /// `! -s`.
    pub const INV_SADDR: u32 = 1 << 1;
    /// Destination address is compared.
    pub const DADDR: u32 = 1 << 2;
    /// `! -d`.
    pub const INV_DADDR: u32 = 1 << 3;
    /// In device is compared: class in iif_lo..=iif_hi.
    pub const IIF: u32 = 1 << 4;
    /// `! -i`.
    pub const INV_IIF: u32 = 1 << 5;
    /// Out device.
    pub const OIF: u32 = 1 << 6;
    /// `! -o`.
    pub const INV_OIF: u32 = 1 << 7;
    /// Protocol.
    pub const PROTO: u32 = 1 << 8;
    /// `! -p`.
    pub const INV_PROTO: u32 = 1 << 9;
    /// `-f`: fragment offset must not be 0.
    pub const FRAG: u32 = 1 << 10;
    /// `! -f`: fragment offset must be 0.
    pub const NOT_FRAG: u32 = 1 << 11;
    /// `! --sport`.
    pub const INV_SPORT: u32 = 1 << 12;
    /// `! --dport`.
    pub const INV_DPORT: u32 = 1 << 13;
    /// `! --tcp-flags`.
    pub const INV_TCP_FLAGS: u32 = 1 << 14;
    /// `! --icmp-type`.
    pub const INV_ICMP: u32 = 1 << 15;
    /// IPv6, with any `-p`: a packet whose extension headers lead to no protocol is dropped.
    pub const WALK: u32 = 1 << 17;
    /// Nothing can match (`! -i +`).
    pub const NEVER: u32 = 1 << 16;
}

/// [`Rule::l4`]: the first L4 match of a rule, if it precedes every order-sensitive match.
pub mod l4 {
    /// None.
    pub const NONE: u8 = 0;
    /// `-m tcp`: ports and flags (`l4_a` = mask, `l4_b` = compare). A `--tcp-option` is an op of its own, after.
    pub const TCP: u8 = 1;
    /// `-m udp`: ports.
    pub const UDP: u8 = 2;
    /// `-m icmp`: `l4_a` = type (255: any), `dport_lo..=dport_hi` = codes.
    pub const ICMP: u8 = 3;
}

/// A rule, one line. IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rule {
    /// [`rule_flag`].
    pub flags: u32,
    /// Network byte order, as in the packet. IPv6: the line of [`Addrs6`], and the three that follow are zero.
    pub saddr: u32,
    /// Network byte order.
    pub smask: u32,
    /// Network byte order.
    pub daddr: u32,
    /// Network byte order.
    pub dmask: u32,
    /// First interface class.
    pub iif_lo: u16,
    /// Last interface class.
    pub iif_hi: u16,
    /// First interface class.
    pub oif_lo: u16,
    /// Last interface class.
    pub oif_hi: u16,
    /// Host order.
    pub sport_lo: u16,
    /// Inclusive.
    pub sport_hi: u16,
    /// Host order.
    pub dport_lo: u16,
    /// Inclusive.
    pub dport_hi: u16,
    /// Protocol number, see [`rule_flag::PROTO`].
    pub proto: u8,
    /// [`l4`].
    pub l4: u8,
    /// See [`l4`].
    pub l4_a: u8,
    /// See [`l4`].
    pub l4_b: u8,
    /// [`crate::ops::target`].
    pub target: u8,
    /// Number of [`crate::ops::Op`]s, in order; 4 in a line.
    pub nops: u8,
    /// Zero.
    pub pad: u16,
    /// Line of the first op.
    pub ops: u32,
    /// The target's argument: a chain's line (JUMP, GOTO), or a line that holds the target's parameters.
    pub arg: u32,
    /// Counter slot.
    pub slot: u32,
    /// Number of the rule in its chain as a person counts (from 1).
    pub number: u32,
    /// 1: ACCEPT, DROP or RETURN of every packet, without any match. TRACE calls such a rule as it calls a chain's end.
    pub bare: u32,
}

const _: () = {
    assert!(size_of::<Header>() == LINE);
    assert!(size_of::<Chain>() == LINE);
    assert!(size_of::<Field>() == LINE / 2);
    assert!(size_of::<Bucket>() == LINE);
    assert!(size_of::<Rule>() == LINE);
    assert!(size_of::<Bucket6>() == LINE);
    assert!(size_of::<Addrs6>() == LINE);
    assert!(size_of::<ChainName>() == LINE);
};
