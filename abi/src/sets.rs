//! Where the kernel's sets stand, and what is in them: offsets that user space reads from the kernel's types.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A member that a structure does not have.
pub const NO_16: u16 = u16::MAX;
/// Likewise.
pub const NO_8: u8 = u8::MAX;

/// Types of sets, in the order of [`SetConf::types`]: the kernel's name, and the structures that are called by it. `list:set` is not among them.
pub const TYPES: [(&str, &str); 15] = [
    ("bitmap:ip", "bitmap_ip"),
    ("bitmap:ip,mac", "bitmap_ipmac"),
    ("bitmap:port", "bitmap_port"),
    ("hash:ip", "hash_ip"),
    ("hash:mac", "hash_mac"),
    ("hash:ip,mac", "hash_ipmac"),
    ("hash:ip,mark", "hash_ipmark"),
    ("hash:ip,port", "hash_ipport"),
    ("hash:ip,port,ip", "hash_ipportip"),
    ("hash:ip,port,net", "hash_ipportnet"),
    ("hash:net", "hash_net"),
    ("hash:net,port", "hash_netport"),
    ("hash:net,iface", "hash_netiface"),
    ("hash:net,net", "hash_netnet"),
    ("hash:net,port,net", "hash_netportnet"),
];

/// A type: offsets in its structure, and in its elements where they are eight bits wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetType {
    /// Of hash types: the table.
    pub table: u16,
    /// The hash's seed.
    pub initval: u16,
    /// What addresses are masked with.
    pub bitmask: u16,
    /// What marks are masked with.
    pub markmask: u16,
    /// The prefixes that there are, or the pointers to them.
    pub nets: u16,
    /// Bytes of one of them.
    pub stride: u16,
    /// Where its length is in it.
    pub cidr_at: u16,
    /// Prefixes at most; 0: they are behind pointers ([`SetConf::prefixes_list`]).
    pub nlen: u16,
    /// Of bitmaps: the bits.
    pub members: u16,
    /// The first address or port.
    pub first: u16,
    /// The last.
    pub last: u16,
    /// Addresses that a bit stands for.
    pub hosts: u16,
    /// Length of the prefix that a bit stands for.
    pub netmask: u16,
    /// Extensions and link addresses, one for each bit.
    pub ext: u16,
    /// 1: the kernel has this type, and all this is known of it.
    pub known: u8,
    /// Words of an element that are hashed.
    pub words: u8,
    /// The first address.
    pub ip: u8,
    /// The second.
    pub ip2: u8,
    /// The port.
    pub port: u8,
    /// The protocol.
    pub proto: u8,
    /// The first prefix's length.
    pub cidr: u8,
    /// The second's, where two prefixes are searched.
    pub cidr2: u8,
    /// The flag `nomatch`.
    pub nomatch: u8,
    /// 1: it is the highest bit of the length, which is kept less one.
    pub packed: u8,
    /// The link address.
    pub mac: u8,
    /// The mark.
    pub mark: u8,
    /// The device's name.
    pub iface: u8,
    /// Whether it is the beginning of names.
    pub wildcard: u8,
    /// A byte that is 1 in what is looked up.
    pub elem: u8,
    /// Of a bitmap: whether an element has its link address.
    pub filled: u8,
}

/// Offsets in structures that all types have, and the types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetConf {
    /// Under which number a namespace keeps its sets; 0: not known.
    pub net_id: u32,
    /// There: the array of sets.
    pub net_list: u16,
    /// How many it has room for.
    pub net_max: u16,
    /// Of a set: its name.
    pub name: u16,
    /// Its type.
    pub type_: u16,
    /// Its family.
    pub family: u16,
    /// Its extensions.
    pub extensions: u16,
    /// Bytes of an element.
    pub dsize: u16,
    /// Where in an element the extensions are: counters, the timeout, marks.
    pub offsets: u16,
    /// The type's own structure.
    pub data: u16,
    /// Of a type: its name.
    pub type_name: u16,
    /// Its dimensions.
    pub type_dimension: u16,
    /// Its features.
    pub type_features: u16,
    /// Of a table: log2 of its buckets.
    pub bits: u16,
    /// The buckets.
    pub buckets: u16,
    /// Of a bucket: a bit for each element that there is.
    pub used: u16,
    /// How many there may be.
    pub pos: u16,
    /// The elements.
    pub value: u16,
    /// Of a counter: bytes.
    pub bytes: u16,
    /// Packets.
    pub packets: u16,
    /// Of `list:set`: its elements.
    pub list_members: u16,
    /// Of such an element: the link to the next.
    pub elem_list: u16,
    /// The set's index.
    pub elem_id: u16,
    /// Of prefixes that are behind a pointer: a number that is odd while they are changed.
    pub prefixes_seq: u16,
    /// How many there are.
    pub prefixes_len: u16,
    /// They: each in four bytes, of which the first is its length and the others count its elements.
    pub prefixes_list: u16,
    /// Of a set: the time that its elements have if none is said, in seconds.
    pub timeout: u16,
    /// Of an element's marks (skbinfo): the packet's mark.
    pub skbmark: u16,
    /// Its mask.
    pub skbmarkmask: u16,
    /// The packet's priority.
    pub skbprio: u16,
    /// Zero.
    pub pad: u16,
    /// In the order of [`TYPES`].
    pub types: [SetType; 16],
}

/// A question to the program that finds sets, and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetProbe {
    /// Asked: the number to look under, 0: all. Answer: the number where the set was found.
    pub net_id: u32,
    /// The set's index; of a list's member afterwards the member's.
    pub index: u32,
    /// Asked: 0 the set itself, else which member of the list, from 1.
    pub member: u32,
    /// Answer: how many numbers lead to such a set; with a member: whether there is one.
    pub found: u32,
    /// Asked: the set's name. Answer: the name of what was found.
    pub name: [u8; 32],
    /// Answer: its type's name.
    pub type_: [u8; 32],
    /// Answer: its extensions (1 timeout, [`COUNTERS`], [`COMMENTS`]).
    pub extensions: u8,
    /// Answer: its family, `NFPROTO_*`.
    pub family: u8,
    /// Answer: its type's dimensions.
    pub dimension: u8,
    /// Zero.
    pub pad: u8,
    /// Answer: as [`SetKey::guard`].
    pub guard: u32,
    /// Asked: where in the kernel the set is, and neither index nor name; 0: not asked so.
    pub set: u64,
}

/// [`SetProbe::extensions`]: elements count packets.
pub const COUNTERS: u8 = 2;

/// [`SetProbe::extensions`]: elements have comments.
pub const COMMENTS: u8 = 4;

/// What changes there are that rules made (SET) and no process has brought into the kernel's sets yet.
///
/// They are in one of two heaps, by [`SetKey::heap`]. Programs write into that of `heap`. Whoever brings them into the sets first makes the
/// other one that, then waits until all programs that may still write into the first have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetHead {
    /// 0 or 1.
    pub heap: u32,
    /// Of each heap: 1: there may be something in it.
    pub some: [u32; 2],
    /// Zero.
    pub pad: u32,
}

/// Which element is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetKey {
    /// Where in the kernel its set is; this stays when sets are swapped or renamed.
    pub set: u64,
    /// What another set that comes there has otherwise: the seed of its hash, or where its bits are.
    pub guard: u32,
    /// See [`SetHead`].
    pub heap: u32,
    /// The element as the set hashes it, or the number of its bit.
    pub elem: [u32; 12],
}

/// A change of an element: what it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetChange {
    /// When it was made (CLOCK_MONOTONIC, nanoseconds): a set that gets full takes what came first.
    pub at: u64,
    /// When it times out, likewise; 0: never.
    pub expires: u64,
    /// [`SET_ADDED`] or [`SET_DELETED`].
    pub what: u8,
    /// What it consists of: `HAS_*`.
    pub has: u8,
    /// The set's family, `NFPROTO_*`.
    pub family: u8,
    /// Its protocol.
    pub proto: u8,
    /// Its mark.
    pub mark: u32,
    /// Its address, network byte order; IPv4: the first four bytes.
    pub ip: [u8; 16],
    /// Its second address.
    pub ip2: [u8; 16],
    /// Its port, network byte order.
    pub port: [u8; 2],
    /// Its link address.
    pub mac: [u8; 6],
    /// Length of its prefix: of the second address where there is one.
    pub cidr: u8,
    /// Zero.
    pub pad: [u8; 7],
}

/// [`SetChange::what`]: it is in the set.
pub const SET_ADDED: u8 = 1;
/// [`SetChange::what`]: it is not.
pub const SET_DELETED: u8 = 2;
/// [`SetChange::what`]: nothing; the set gets whole addresses for prefixes by another change. Its key's element is all ones.
pub const SET_HOSTS: u8 = 3;
/// [`SetChange::has`]: a prefix.
pub const HAS_CIDR: u8 = 128;
/// [`SetChange::has`]: an address.
pub const HAS_IP: u8 = 1;
/// [`SetChange::has`]: a second one.
pub const HAS_IP2: u8 = 2;
/// [`SetChange::has`]: a port.
pub const HAS_PORT: u8 = 4;
/// [`SetChange::has`]: a protocol.
pub const HAS_PROTO: u8 = 8;
/// [`SetChange::has`]: a link address.
pub const HAS_MAC: u8 = 16;
/// [`SetChange::has`]: a mark.
pub const HAS_MARK: u8 = 32;
/// [`SetChange::has`]: a time, as the set's elements have.
pub const HAS_TIMEOUT: u8 = 64;

const _: () = {
    assert!(size_of::<SetHead>() == 16);
    assert!(size_of::<SetKey>() == 64);
    assert!(size_of::<SetChange>() == 72);
    assert!(size_of::<SetType>() == 44);
    assert!(size_of::<SetConf>() == 64 + 16 * 44);
    assert!(size_of::<SetProbe>() == 96);
};
