//! What a packet's verdict depends on besides the packet.

use super::packet::Packet;
use crate::counters::Slot;
use crate::matches::{Connlimit, Hashlimit, Recent};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Names the state of one stateful match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateKey {
    /// Of its rule.
    pub slot: Slot,
    /// Which of the rule's limit, recent, nth, quota and connlimit matches, from 0.
    pub ordinal: u8,
}

/// Chance, memory and addresses, supplied from outside.
pub trait Environment {
    /// 32 random bits for this packet and rule.
    fn random(&mut self, slot: Slot) -> u32;
    /// `-m statistic --mode nth`; `every` is one less than given. Counts the packet.
    fn nth(&mut self, key: StateKey, every: u32, packet: u32) -> bool;
    /// `-m limit`, takes the credit if there is enough.
    fn limit(&mut self, key: StateKey, average: u32, burst: u32) -> bool;
    /// `-m quota` without its `!`: takes the bytes if as many are left, else all that is left.
    fn quota(&mut self, key: StateKey, quota: u64, bytes: u64) -> bool;
    /// `-m recent` with its `!`, for the packet's address (not masked yet) and TTL. `None`: hotdrop.
    fn recent(&mut self, recent: &Recent, addr: IpAddr, ttl: u8) -> Option<bool>;
    /// `-m connlimit` with its direction. `None`: hotdrop.
    fn connlimit(&mut self, key: StateKey, m: &Connlimit, packet: &Packet) -> Option<bool>;
    /// `-m hashlimit` with its direction. `None`: hotdrop.
    fn hashlimit(&mut self, m: &Hashlimit, packet: &Packet) -> Option<bool>;
    /// The RTN_* type of an address in the local table, of one device's addresses alone if one is named.
    fn addr_type(&self, addr: Ipv4Addr, device: Option<&str>) -> u8;
    /// What IPv6 routing says of an address, as bits by RTN_* number, of which LOCAL, ANYCAST and UNREACHABLE count; if a device is
    /// named, LOCAL is asked of its addresses and the route goes out by it.
    fn route_types(&self, addr: Ipv6Addr, device: Option<&str>) -> u16;
    /// The clock, in seconds since 1970 (UTC).
    fn seconds(&self) -> i64;
    /// Minutes that the kernel's time zone is west of UTC.
    fn minutes_west(&self) -> i32;
    /// The CPU that handles the packet.
    fn cpu(&self) -> u32;
}
