//! Connections as the programs keep them.

use crate::image::hash;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One direction of a TCP connection's window tracking (`struct ip_ct_tcp_state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TcpSide {
    /// Highest sequence number seen, plus length.
    pub end: u32,
    /// Highest end the other side allowed.
    pub maxend: u32,
    /// Largest window seen, scaled.
    pub maxwin: u32,
    /// Highest acknowledgement.
    pub maxack: u32,
    /// Window scale factor.
    pub scale: u8,
    /// IP_CT_TCP_FLAG_*.
    pub flags: u8,
    /// Zero.
    pub pad: u16,
}

/// The layouts of one family: they differ by the size of an address.
macro_rules! layouts {
    ($tuple:ident, $conn:ident, $addr:ty) => {
        /// A connection's tuple in one direction. Addresses and ports in network byte order. ICMP: `sport` is the identifier,
        /// `dport` type << 8 | code in host order, as netfilter keeps them; other protocols without ports: zero.
        #[derive(
            Clone,
            Copy,
            Debug,
            Default,
            PartialEq,
            Eq,
            PartialOrd,
            Ord,
            Hash,
            FromBytes,
            IntoBytes,
            Immutable,
            KnownLayout,
        )]
        #[repr(C)]
        pub struct $tuple {
            /// Source address.
            pub saddr: $addr,
            /// Destination address.
            pub daddr: $addr,
            /// Source port.
            pub sport: u16,
            /// Destination port.
            pub dport: u16,
            /// Protocol.
            pub proto: u8,
            /// Of a key: 0, or what else than a direction it is for, see the programs. Of a connection's tuples: zero.
            pub kind: u8,
            /// Its zone in this direction, in host byte order; 0 without `CT --zone`.
            pub zone: u16,
        }

        /// A connection.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $conn {
            /// As its first packet came, before any translation.
            pub orig: $tuple,
            /// As answers come, before any translation.
            pub reply: $tuple,
            /// [`status`] bits, changed by atomic or/and only.
            pub status: u32,
            /// The connection's mark.
            pub mark: u32,
            /// When it ends: CLOCK_BOOTTIME-less ktime (bpf_ktime_get_ns), nanoseconds.
            pub expires: u64,
            /// TCP: both directions, original first. SCTP: `end` is the verification tag of that direction's packets, as they bear it.
            pub side: [TcpSide; 2],
            /// TCP state, `enum tcp_conntrack`; SCTP state, `enum sctp_conntrack`.
            pub tcp_state: u8,
            /// TCP: direction of the last packet. SCTP: of the last HEARTBEAT with a wrong tag.
            pub last_dir: u8,
            /// TCP: number of retransmissions.
            pub retrans: u8,
            /// TCP: kind of the last packet (`enum tcp_bit_set`).
            pub last_index: u8,
            /// TCP: of the last packet.
            pub last_seq: u32,
            /// TCP: of the last packet.
            pub last_ack: u32,
            /// TCP: of the last packet.
            pub last_end: u32,
            /// TCP: of the last packet.
            pub last_win: u16,
            /// TCP: flags of the last packet. SCTP: which directions sent INIT, and that a HEARTBEAT had a wrong tag.
            pub last_flags: u8,
            /// TCP: window scale of the last packet.
            pub last_wscale: u8,
            /// MASQUERADE: the device whose address it took, 0 if none.
            pub masq_ifindex: u32,
            /// Counter slot of the DNAT rule that it followed, u32::MAX if none.
            pub dnat_slot: u32,
            /// Held while window tracking changes `side`: a spin word of the programs.
            pub lock: u32,
            /// UDP: when a stream counts as assured.
            pub stream_ts: u64,
            /// When it was made, ktime nanoseconds.
            pub born: u64,
            /// Of an unconfirmed connection what the programs note; then 128 bits of labels.
            pub reserved: [u64; 3],
        }
    };
}

layouts!(Tuple, Conn, u32);
layouts!(Tuple6, Conn6, [u8; 16]);

/// Ways of a [`TupleLine`].
pub const TUPLE_WAYS: usize = 15;
/// The bit of a way where the key's kind begins; below it number << 1 | direction, plus 2.
pub const WAY_KIND: u32 = 30;

/// A line of the table of tuples. A way is the upper 32 bits of its key's hash, the key's kind (two bits from [`WAY_KIND`] on), and the
/// connection's number << 1 | direction plus 2; 0: nothing. The key itself is in the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TupleLine {
    /// Bit 0: a program puts a key in. Bit 1: a key of this line is in its second one.
    pub head: u64,
    /// Changed by compare and swap.
    pub ways: [u64; TUPLE_WAYS],
}

/// [`TupleLine::head`]: a key of this line is in its second one.
pub const LINE_SPILT: u64 = 2;

/// Where the ways of a key are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    /// The way's bits from [`WAY_KIND`] on.
    pub like: u64,
    /// The line that the key belongs to, and the one that it goes to where there is no room.
    pub lines: [u32; 2],
}

/// The lines of the table of tuples for this many connections: with two keys each, four of a line's ways are taken at most, on average.
#[must_use]
pub const fn tuple_lines(connections: u32) -> u32 {
    let lines = connections.div_ceil(2).next_power_of_two();
    if lines < 16 { 16 } else { lines }
}

const fn place(hash: u64, kind: u8, mask: u32) -> KeyPlace {
    let second = hash.wrapping_add(hash >> 9 | 1);
    KeyPlace {
        like: hash >> 32 << 32 | (kind as u64 & 3) << WAY_KIND,
        lines: [hash as u32 & mask, second as u32 & mask],
    }
}

impl Tuple {
    /// Where this key is in a table, by its seed and its mask ([`crate::maps::Control`]).
    #[must_use]
    pub fn place(&self, seed: u64, mask: u32) -> KeyPlace {
        let w: [u64; 2] = zerocopy::transmute!(*self);
        place(hash(w[1] ^ hash(w[0], seed), seed), self.kind, mask)
    }
}

impl Tuple6 {
    /// Where this key is in a table, by its seed and its mask ([`crate::maps::Control`]).
    #[must_use]
    pub fn place(&self, seed: u64, mask: u32) -> KeyPlace {
        let w: [u64; 5] = zerocopy::transmute!(*self);
        let from = hash(w[1] ^ hash(w[0], seed), seed);
        let to = hash(w[3] ^ hash(w[2], seed), seed);
        place(hash(w[4] ^ from.wrapping_add(to.wrapping_mul(5)), seed), self.kind, mask)
    }
}

/// What a connection carried, original direction first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Acct {
    /// Packets.
    pub packets: [u64; 2],
    /// Bytes.
    pub bytes: [u64; 2],
}

/// Bits of [`Conn::status`]; the low ones numbered as the kernel's `IPS_*`.
pub mod status {
    /// An answer was seen.
    pub const SEEN_REPLY: u32 = 1 << 1;
    /// Not to be dropped early.
    pub const ASSURED: u32 = 1 << 2;
    /// Its first packet left the hooks: lookups find it.
    pub const CONFIRMED: u32 = 1 << 3;
    /// The source is translated.
    pub const SRC_NAT: u32 = 1 << 4;
    /// The destination is translated.
    pub const DST_NAT: u32 = 1 << 5;
    /// Source translation was decided.
    pub const SRC_NAT_DONE: u32 = 1 << 7;
    /// Destination translation was decided.
    pub const DST_NAT_DONE: u32 = 1 << 8;
    /// Being taken down: nobody may use it.
    pub const DYING: u32 = 1 << 9;
    /// The slot holds a connection.
    pub const LIVE: u32 = 1 << 16;
    /// Its reply tuple is a key.
    pub const KEY_REPLY: u32 = 1 << 18;
    /// The tuple between both translations is a key.
    pub const KEY_MID: u32 = 1 << 19;
    /// Its original tuple is a key.
    pub const KEY_ORIG: u32 = 1 << 20;
    /// What it carries is counted.
    pub const ACCT: u32 = 1 << 21;
    /// It has labels.
    pub const LABELS: u32 = 1 << 22;
}

const _: () = {
    assert!(size_of::<Tuple>() == 16);
    assert!(size_of::<TcpSide>() == 20);
    assert!(size_of::<Conn>() == 160);
    assert!(size_of::<Tuple6>() == 40);
    assert!(size_of::<Conn6>() == 208);
    assert!(size_of::<TupleLine>() == 128);
};
