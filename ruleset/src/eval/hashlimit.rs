//! `-m hashlimit` (`xt_hashlimit.c`): what makes a group, and what its bucket gives.

use super::packet::Packet;
use crate::addr::Family;
use crate::matches::Hashlimit;
use crate::matches::hashlimit::{DESTINATION, DESTINATION_PORT, SCALE, SOURCE, SOURCE_PORT};
use std::net::IpAddr;

/// Ticks in a second: of a kernel with HZ 250. Credits of a second are the same with HZ 1000.
const HZ: u64 = 250;
/// A tick's credits of packets (`CREDITS_PER_JIFFY`).
const CREDITS: u64 = 1 << 39;
/// A tick's credits of bytes (`CREDITS_PER_JIFFY_BYTES`).
const BYTE_CREDITS: u64 = 1 << 24;
/// Credits of bytes at most.
const BYTE_CAP: u64 = BYTE_CREDITS * HZ;
/// Credits of a packet's unit of cost.
const UNIT: u64 = HZ * CREDITS / SCALE;

/// Milliseconds as ticks, up.
#[must_use]
pub const fn ticks(milliseconds: u32) -> u32 {
    milliseconds.div_ceil(1000 / HZ as u32)
}

/// A group of packets: source, destination, their ports; what does not count is none.
pub(super) type Group = (Option<IpAddr>, Option<IpAddr>, u16, u16);

/// What a bucket begins with, in the words of the programs' buckets: credit, cap and cost; or of a rate that is matched the interval,
/// nothing yet, the rate and the burst.
#[must_use]
pub fn begin(m: &Hashlimit) -> [u64; 4] {
    match (m.rate_match, m.bytes) {
        (true, true) => {
            let rate = crate::matches::hashlimit::cost_to_bytes(u64::from(m.cost as u32));
            let burst = if m.burst == 0 { rate } else { m.burst.wrapping_mul(rate) };
            [m.interval.into(), 0, rate, burst]
        }
        (true, false) => {
            let rate = SCALE.checked_div(m.cost).unwrap_or(0);
            [m.interval.into(), 0, rate, m.burst.wrapping_add(rate)]
        }
        (false, true) => [BYTE_CAP, m.burst, (u64::from(m.cost as u32) * BYTE_CAP) >> 32, 0],
        (false, false) => {
            let cap = m.cost.wrapping_mul(m.burst).wrapping_mul(UNIT);
            [cap, cap, m.cost.wrapping_mul(UNIT), 0]
        }
    }
}

/// The packet's group; `None`: a header is cut short (hotdrop).
#[must_use]
pub(super) fn group(m: &Hashlimit, packet: &Packet) -> Option<Group> {
    let asked = |bit: u8, addr: IpAddr, len: u8| (m.mode & bit != 0).then(|| prefix(addr, len));
    let source = asked(SOURCE, packet.saddr(), m.source_mask);
    let destination = asked(DESTINATION, packet.daddr(), m.destination_mask);
    if m.mode & (SOURCE_PORT | DESTINATION_PORT) == 0 {
        return Some((source, destination, 0, 0));
    }
    let v6 = packet.family() == Family::V6;
    let proto = packet.proto().filter(|proto| !(v6 && *proto == 59))?;
    let at = match proto {
        6 | 17 | 33 | 50 | 132 | 136 => Some(0),
        51 => Some(4),
        _ => None,
    };
    let Some(at) = at.filter(|_| !(v6 && packet.fragment_offset() != 0)) else {
        return Some((source, destination, 0, 0));
    };
    let port = |from: usize| Some(u16::from_be_bytes(packet.payload().get(from..from + 2)?.try_into().ok()?));
    let (sport, dport) = (port(at)?, port(at + 2)?);
    let asked = |bit: u8, port: u16| if m.mode & bit != 0 { port } else { 0 };
    Some((source, destination, asked(SOURCE_PORT, sport), asked(DESTINATION_PORT, dport)))
}

fn prefix(addr: IpAddr, len: u8) -> IpAddr {
    match addr {
        IpAddr::V4(addr) => {
            IpAddr::V4((addr.to_bits() & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)).into())
        }
        IpAddr::V6(addr) => {
            IpAddr::V6((addr.to_bits() & u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)).into())
        }
    }
}

/// A group's bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    words: [u64; 4],
    over: bool,
    /// In ticks.
    then: u64,
    expires: u64,
}

impl Bucket {
    pub(super) fn new(m: &Hashlimit, now: u64) -> Self {
        Self { words: begin(m), over: false, then: now, expires: now + u64::from(ticks(m.expire)) }
    }

    /// Fills it, asks whether `bytes` are below the limit, and takes what they cost.
    pub(super) fn take(&mut self, m: &Hashlimit, now: u64, bytes: u64) -> bool {
        let gc = u64::from(ticks(m.gc_interval)).max(1);
        if now >= self.expires && now / gc > (self.expires - 1) / gc {
            *self = Self::new(m, now);
        } else if now > self.then {
            self.refill(m, now);
        }
        self.expires = now + u64::from(ticks(m.expire));
        if m.rate_match {
            self.words[1] += if m.bytes { bytes } else { 1 };
            return !self.over && self.words[1] <= self.words[3];
        }
        let mut cost = self.words[2];
        if m.bytes {
            cost = (cost * ((bytes >> 4) + 1)).min(BYTE_CAP);
            if self.words[0] < cost && self.words[1] != 0 {
                self.words[1] -= 1;
                self.words[0] = BYTE_CAP;
            }
        }
        let below = self.words[0] >= cost;
        self.words[0] -= if below { cost } else { 0 };
        below
    }

    fn refill(&mut self, m: &Hashlimit, now: u64) {
        let delta = now - self.then;
        if m.rate_match {
            let interval = u64::from(m.interval.wrapping_mul(HZ as u32));
            if delta < interval {
                return;
            }
            self.over = self.words[1].wrapping_mul(interval) > delta.wrapping_mul(self.words[2]);
            self.words[1] = 0;
        } else {
            let (each, cap) = if m.bytes { (BYTE_CREDITS, BYTE_CAP) } else { (CREDITS, self.words[1]) };
            self.words[0] = self.words[0].saturating_add(delta.saturating_mul(each)).min(cap);
        }
        self.then = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashlimit(cost: u64, burst: u64) -> Hashlimit {
        Hashlimit {
            above: false,
            bytes: false,
            mode: SOURCE,
            cost,
            burst,
            name: "x".into(),
            size: 0,
            max: 0,
            gc_interval: 1000,
            expire: 10_000,
            source_mask: 24,
            destination_mask: 32,
            width: 32,
            rate_match: false,
            interval: 0,
        }
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate_and_is_full_again_when_it_expired() {
        // Two a second, three at once.
        let m = hashlimit(SCALE / 2, 3);
        let mut bucket = Bucket::new(&m, 1000);
        let taken: Vec<bool> =
            [0, 0, 0, 0, 124, 125, 126, 251].iter().map(|tick| bucket.take(&m, 1000 + tick, 60)).collect();
        assert_eq!(taken, [true, true, true, false, false, true, false, true]);
        let later = 1251 + 2500 + 250;
        assert_eq!((0..4).filter(|_| bucket.take(&m, later, 60)).count(), 3);
    }

    #[test]
    fn bytes_cost_by_sixteen_and_a_burst_refills_at_once() {
        // 10 kB a second: legacy's unit is 16 bytes.
        let mut m = Hashlimit { bytes: true, ..hashlimit(u64::from(u32::MAX / (10_000 / 16 + 1)), 0) };
        let mut bucket = Bucket::new(&m, 0);
        assert_eq!((0..20).filter(|_| bucket.take(&m, 0, 1000)).count(), 9);
        m.burst = 2;
        let mut bucket = Bucket::new(&m, 0);
        assert_eq!((0..40).filter(|_| bucket.take(&m, 0, 1000)).count(), 27);
    }

    #[test]
    fn a_rate_that_was_passed_in_one_interval_is_over_in_the_next() {
        let m = Hashlimit { rate_match: true, interval: 1, ..hashlimit(SCALE / 10, 0) };
        let mut bucket = Bucket::new(&m, 0);
        assert_eq!((0..30).filter(|_| bucket.take(&m, 1, 60)).count(), 10);
        assert!(!bucket.take(&m, 250, 60), "31 in the interval before");
        assert!(bucket.take(&m, 500, 60), "one in the interval before");
    }
}
