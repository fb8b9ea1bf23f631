//! An environment for tests: its own clock, counters, lists and addresses.

use super::env::{Environment, StateKey};
use super::hashlimit::{Bucket, Group, group};
use super::packet::{Ct, CtTuple, Packet};
use crate::addr::masked;
use crate::counters::Slot;
use crate::matches::{Connlimit, Hashlimit, Recent, RecentOp};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Units of [`Simulated::now`] in a second (`XT_LIMIT_SCALE`).
const SECOND: u64 = 10_000;
/// Addresses in a list (`ip_list_tot`).
const LIST_ADDRS: usize = 100;
/// Stamps without `--hitcount` (`ip_pkt_list_tot`, rounded up).
const STAMPS: usize = 32;

/// One address of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    addr: IpAddr,
    ttl: u8,
    /// Oldest first, at most as many as the list keeps.
    stamps: Vec<u64>,
    /// Order of the newest stamps.
    touched: u64,
}

/// State as netfilter keeps it, chance from a seed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulated {
    /// Time in 1/10000 s.
    pub now: u64,
    /// Decides what [`Environment::random`] gives; change it for each packet.
    pub seed: u64,
    /// Types of addresses (RTN_*) by device; every other address is UNICAST (1), in IPv6 one with an ordinary route.
    pub addrs: BTreeMap<IpAddr, (u8, Box<str>)>,
    /// Seconds since 1970 (UTC).
    pub seconds: i64,
    /// Minutes that the kernel's time zone is west of UTC.
    pub minutes_west: i32,
    /// The CPU that handles packets.
    pub cpu: u32,
    nth: BTreeMap<StateKey, u32>,
    /// Credit and when it was counted.
    limit: BTreeMap<StateKey, (u64, u64)>,
    /// What is used up.
    quota: BTreeMap<StateKey, u64>,
    lists: BTreeMap<Box<str>, Vec<Entry>>,
    buckets: BTreeMap<(Box<str>, Group), Bucket>,
    /// Connections that passed, none of which ends.
    connections: BTreeMap<(StateKey, IpAddr), Vec<(u8, CtTuple)>>,
    touches: u64,
}

impl Simulated {
    fn known_type(&self, addr: IpAddr, device: Option<&str>) -> Option<u8> {
        let (kind, on) = self.addrs.get(&addr)?;
        device.is_none_or(|device| device == &**on).then_some(*kind)
    }
}

impl Environment for Simulated {
    fn random(&mut self, slot: Slot) -> u32 {
        let mut x = (self.seed ^ u64::from(slot.0) << 32 | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x ^= x >> 29;
        x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (x >> 32) as u32
    }

    fn nth(&mut self, key: StateKey, every: u32, packet: u32) -> bool {
        let count = self.nth.entry(key).or_insert_with(|| every.wrapping_sub(packet));
        *count = if *count == every { 0 } else { count.wrapping_add(1) };
        *count == 0
    }

    fn limit(&mut self, key: StateKey, average: u32, burst: u32) -> bool {
        let (cost, cap) = (u64::from(average), u64::from(average) * u64::from(burst));
        let (credit, then) = self.limit.entry(key).or_insert((cap, self.now));
        *credit = (*credit + (self.now - *then)).min(cap);
        *then = self.now;
        let enough = *credit >= cost;
        if enough {
            *credit -= cost;
        }
        enough
    }

    fn quota(&mut self, key: StateKey, quota: u64, bytes: u64) -> bool {
        let used = self.quota.entry(key).or_default();
        let enough = quota - *used >= bytes;
        *used = if enough { *used + bytes } else { quota };
        enough
    }

    fn recent(&mut self, m: &Recent, addr: IpAddr, ttl: u8) -> Option<bool> {
        let addr = masked(addr, m.mask);
        let list = self.lists.entry(m.name.clone()).or_default();
        let want = if m.ttl { ttl } else { 0 };
        let found = list.iter().position(|e| e.addr == addr && (want == 0 || e.ttl == 0 || want == e.ttl));
        self.touches += 1;
        let keep = (m.hitcount as usize).next_power_of_two().max(STAMPS);
        let Some(at) = found else {
            if m.op != RecentOp::Set {
                return Some(m.invert);
            }
            if list.len() >= LIST_ADDRS {
                let oldest = (0..list.len()).min_by_key(|i| list[*i].touched).unwrap_or(0);
                list.remove(oldest);
            }
            list.push(Entry { addr, ttl, stamps: vec![self.now], touched: self.touches });
            return Some(!m.invert);
        };
        let holds = match m.op {
            RecentOp::Set => true,
            RecentOp::Remove => {
                list.remove(at);
                return Some(!m.invert);
            }
            RecentOp::Check | RecentOp::Update => {
                let since = self.now.saturating_sub(u64::from(m.seconds) * SECOND);
                let counts = |stamp: &&u64| m.seconds == 0 || **stamp >= since;
                let hits = list[at].stamps.iter().filter(counts).count();
                hits > 0 && hits >= m.hitcount as usize
            }
        };
        let answer = holds != m.invert;
        let refresh = m.op == RecentOp::Set || (m.op == RecentOp::Update && answer);
        if m.reap && matches!(m.op, RecentOp::Check | RecentOp::Update) {
            let since = self.now.saturating_sub(u64::from(m.seconds) * SECOND);
            let oldest = (0..list.len()).min_by_key(|i| list[*i].touched).unwrap_or(0);
            if list[oldest].stamps.last().is_none_or(|stamp| *stamp < since) {
                list.remove(oldest);
                // The kernel goes on with the entry it just removed: a refresh is lost with it.
                if oldest == at {
                    return Some(answer);
                }
            }
        }
        if refresh
            && let Some(entry) = list.iter_mut().find(|e| e.addr == addr && (want == 0 || e.ttl == 0 || want == e.ttl))
        {
            entry.stamps.push(self.now);
            let extra = entry.stamps.len().saturating_sub(keep);
            entry.stamps.drain(..extra);
            (entry.ttl, entry.touched) = (ttl, self.touches);
        }
        Some(answer)
    }

    fn connlimit(&mut self, key: StateKey, m: &Connlimit, packet: &Packet) -> Option<bool> {
        let addr = masked(if m.destination { packet.daddr() } else { packet.saddr() }, m.mask);
        let passed = self.connections.entry((key, addr)).or_default();
        let count = match &packet.ct {
            Ct::Connection(ct) => {
                if !passed.contains(&(ct.proto, ct.original)) {
                    passed.push((ct.proto, ct.original));
                }
                passed.len()
            }
            _ => {
                let least = match packet.proto()? {
                    6 | 17 | 132 | 136 => 4,
                    1 | 58 => 8,
                    _ => 0,
                };
                if packet.fragment_offset() != 0 || packet.payload().len() < least {
                    return None;
                }
                passed.len() + 1
            }
        };
        Some((count as u64 > u64::from(m.limit)) != m.upto)
    }

    fn hashlimit(&mut self, m: &Hashlimit, packet: &Packet) -> Option<bool> {
        let now = self.now / (SECOND / 250);
        let key = (m.name.clone(), group(m, packet)?);
        let bucket = self.buckets.entry(key).or_insert_with(|| Bucket::new(m, now));
        Some(bucket.take(m, now, packet.len() as u64) != m.above)
    }

    fn addr_type(&self, addr: Ipv4Addr, device: Option<&str>) -> u8 {
        if addr.octets()[0] == 0 || addr.is_broadcast() {
            return 3;
        }
        if addr.is_multicast() {
            return 5;
        }
        self.known_type(addr.into(), device).unwrap_or(1)
    }

    fn route_types(&self, addr: Ipv6Addr, device: Option<&str>) -> u16 {
        self.known_type(addr.into(), device).map_or(0, |kind| 1 << kind)
    }

    fn seconds(&self) -> i64 {
        self.seconds
    }

    fn minutes_west(&self) -> i32 {
        self.minutes_west
    }

    fn cpu(&self) -> u32 {
        self.cpu
    }
}
