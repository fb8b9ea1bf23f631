//! Events that the programs tell the agent, by a ring.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// RINGBUF of [`Event`].
pub const EVENTS: &str = "bt_events";
/// Bytes of the ring: some 900 events.
pub const EVENTS_SIZE: u32 = 1 << 18;
/// Bytes of a packet that an event holds: an IP and a TCP header with all their options, or an ICMP error with what it quotes.
pub const EVENT_PACKET: usize = 192;

/// [`Event::kind`]: LOG.
pub const KIND_LOG: u8 = 1;

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

/// A packet that met a rule with LOG.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Event {
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
    /// How many of these are in `packet`.
    pub captured: u32,
    /// The rule's.
    pub params: LogParams,
    /// The link header.
    pub mac: [u8; 16],
    /// From the IP header on.
    pub packet: [u8; EVENT_PACKET],
}

const _: () = {
    assert!(size_of::<LogParams>() == 32);
    assert!(size_of::<Event>() == 40 + 32 + 16 + EVENT_PACKET);
};
