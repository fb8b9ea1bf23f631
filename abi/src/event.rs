//! Events that the programs tell the agent, by a ring.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// RINGBUF of [`Event`], [`NflogEvent`] and bare heads; the kind in their heads tells them apart.
pub const EVENTS: &str = "bt_events";
/// Bytes of the ring: some 900 events.
pub const EVENTS_SIZE: u32 = 1 << 18;
/// Bytes of a packet that an event holds: an IP and a TCP header with all their options, or an ICMP error with what it quotes.
pub const EVENT_PACKET: usize = 192;

/// [`EventHead::kind`]: LOG.
pub const KIND_LOG: u8 = 1;

/// [`EventHead::kind`]: NFLOG.
pub const KIND_NFLOG: u8 = 2;
/// [`EventHead::kind`]: a packet with TRACE's mark met a rule or an end; `params` are `nf_log_trace`'s, the prefix is the chain's name.
pub const KIND_TRACE: u8 = 3;
/// [`EventHead::kind`]: there are changes of sets to be made ([`crate::sets::SetHead`]); nothing but the head.
pub const KIND_SET: u8 = 4;
/// Most bytes of a packet that go with an [`NflogEvent`].
pub const NFLOG_PACKET: usize = 1 << 16;

/// [`Event::what`], of TRACE: what netfilter calls the place.
pub mod trace {
    /// A rule.
    pub const RULE: u8 = 0;
    /// The end of a user's chain, or a rule that is one in effect ([`crate::image::Rule::bare`]).
    pub const RETURN: u8 = 1;
    /// The end of a base chain, likewise.
    pub const POLICY: u8 = 2;
}

/// Parameters of LOG, in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LogParams {
    /// `--log-level`.
    pub level: u8,
    /// `NF_LOG_*`, as the ruleset keeps them.
    pub flags: u8,
    /// `--log-prefix`, zero padded.
    pub prefix: [u8; 30],
}

/// Parameters of NFLOG, in a line; the next line is the prefix, zero padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NflogParams {
    /// `--nflog-size`.
    pub size: u32,
    /// `--nflog-group`.
    pub group: u16,
    /// 1: `size` is given.
    pub sized: u8,
    /// Zero.
    pub pad: u8,
}

/// What all events begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EventHead {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub time: u64,
    /// `KIND_*`.
    pub kind: u8,
    /// `ruleset::Hook`.
    pub hook: u8,
    /// 1: `uid` and `gid` are those of the packet's socket.
    pub owned: u8,
    /// Bytes of `mac`; 0: the packet has no link header, or none of the way in.
    pub mac_len: u8,
    /// The device it came by, or 0.
    pub ifin: u32,
    /// The device it leaves by, or 0.
    pub ifout: u32,
    /// Its mark.
    pub mark: u32,
    /// See `owned`.
    pub uid: u32,
    /// See `owned`.
    pub gid: u32,
    /// Bytes from the IP header on.
    pub len: u32,
    /// How many of these are in the event.
    pub captured: u32,
    /// The link header.
    pub mac: [u8; 16],
}

/// A packet that met a rule with NFLOG. Behind it stand `captured` bytes of the packet, from the IP header on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NflogEvent {
    /// The packet; of the kind [`KIND_NFLOG`].
    pub head: EventHead,
    /// The rule's.
    pub size: u32,
    /// The rule's.
    pub group: u16,
    /// `ARPHRD_*` of the device that the link header is of.
    pub hw_type: u16,
    /// Bytes of that device's link header.
    pub hw_len: u16,
    /// The rule's.
    pub sized: u8,
    /// Zero.
    pub pad: [u8; 5],
    /// When the packet came in, or was seen at FORWARD, in nanoseconds since 1970; 0: it began here.
    pub stamp: u64,
    /// The rule's.
    pub prefix: [u8; 64],
}

/// A packet that met a rule with LOG, or a traced one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Event {
    /// The packet.
    pub head: EventHead,
    /// TRACE: the rule's number; 1 more than there are at a chain's end.
    pub number: u32,
    /// TRACE: `ruleset::TableKind`.
    pub table: u8,
    /// TRACE: [`trace`].
    pub what: u8,
    /// Zero.
    pub pad: u16,
    /// The rule's.
    pub params: LogParams,
    /// From the IP header on.
    pub packet: [u8; EVENT_PACKET],
}

const _: () = {
    assert!(size_of::<LogParams>() == 32);
    assert!(size_of::<EventHead>() == 56);
    assert!(size_of::<Event>() == 56 + 8 + 32 + EVENT_PACKET);
    assert!(size_of::<NflogParams>() == 8);
    assert!(size_of::<NflogEvent>() == 144);
};
