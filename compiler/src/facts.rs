//! What the tables of a chain may know of each rule: per field, the values that the rule can match.
//!
//! Only matches before the first order-sensitive one count: a rule that a table hides must be one whose evaluation has no effect. `-m tcp`
//! with `--tcp-option` ends the list too, since it may drop a packet by itself.

use bpftables_abi::image::{Rule as Record, field, rule_flag};
use bpftables_ruleset::matches::{CtStates, Icmp, Match, MultiportSide, StatisticMode};
use bpftables_ruleset::{AddrMatch, PortRange, Rule};
use rustc_hash::FxHashMap;
use std::net::IpAddr;

/// Inclusive ranges, ascending, not touching.
pub(crate) type Ranges = Vec<(u16, u16)>;

/// Number of a set of ranges in a [`RangeTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RangesId(pub(crate) u32);

/// The range fields: everything but the addresses.
pub(crate) const RANGE_FIELDS: [u8; 8] =
    [field::PROTO, field::SPORT, field::DPORT, field::IIF, field::OIF, field::ICMP, field::TCP_FLAGS, field::CTSTATE];

/// Sets of ranges, each once.
#[derive(Debug, Default)]
pub(crate) struct RangeTable {
    sets: Vec<Ranges>,
    ids: FxHashMap<Ranges, RangesId>,
    flags: FxHashMap<(u8, u8, bool), RangesId>,
    states: FxHashMap<(u16, bool), RangesId>,
}

impl RangeTable {
    pub(crate) fn get(&self, id: RangesId) -> &[(u16, u16)] {
        &self.sets[id.0 as usize]
    }

    fn intern(&mut self, ranges: Ranges) -> RangesId {
        if let Some(id) = self.ids.get(&ranges) {
            return *id;
        }
        let id = RangesId(self.sets.len() as u32);
        self.sets.push(ranges.clone());
        self.ids.insert(ranges, id);
        id
    }

    fn tcp_flags(&mut self, mask: u8, cmp: u8, invert: bool) -> RangesId {
        if let Some(id) = self.flags.get(&(mask, cmp, invert)) {
            return *id;
        }
        let id = self.intern(where_true(255, |v| ((v as u8 & mask) == cmp) != invert));
        self.flags.insert((mask, cmp, invert), id);
        id
    }

    fn states(&mut self, states: u16, invert: bool) -> RangesId {
        if let Some(id) = self.states.get(&(states, invert)) {
            return *id;
        }
        let id = self.intern(where_true(127, |v| (v & states != 0) != invert));
        self.states.insert((states, invert), id);
        id
    }
}

fn where_true(max: u16, holds: impl Fn(u16) -> bool) -> Ranges {
    let mut ranges: Ranges = Vec::new();
    for v in (0..=max).filter(|v| holds(*v)) {
        match ranges.last_mut() {
            Some((_, hi)) if *hi + 1 == v => *hi = v,
            _ => ranges.push((v, v)),
        }
    }
    ranges
}

/// Everything in 0..=65535 that is not in `ranges`.
fn complement(ranges: &[(u16, u16)]) -> Ranges {
    let mut out = Vec::new();
    let mut next = 0u32;
    for &(lo, hi) in ranges {
        if u32::from(lo) > next {
            out.push((next as u16, lo - 1));
        }
        next = u32::from(hi) + 1;
    }
    if next <= 0xffff {
        out.push((next as u16, 0xffff));
    }
    out
}

/// Sorts, drops the empty, joins what overlaps or touches.
pub(crate) fn normalize(mut ranges: Ranges) -> Ranges {
    ranges.retain(|(lo, hi)| lo <= hi);
    ranges.sort_unstable();
    let mut out: Ranges = Vec::with_capacity(ranges.len());
    for (lo, hi) in ranges {
        match out.last_mut() {
            Some((_, last)) if u32::from(lo) <= u32::from(*last) + 1 => *last = hi.max(*last),
            _ => out.push((lo, hi)),
        }
    }
    out
}

fn intersect(a: &[(u16, u16)], b: &[(u16, u16)]) -> Ranges {
    let mut out = Vec::new();
    for &(alo, ahi) in a {
        for &(blo, bhi) in b {
            if alo.max(blo) <= ahi.min(bhi) {
                out.push((alo.max(blo), ahi.min(bhi)));
            }
        }
    }
    normalize(out)
}

/// What a rule asks of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddrFact {
    /// Anything.
    Any,
    /// In the prefix (host order, the first bit highest: [`bits`]; length 1 to 32 or 128).
    In(u128, u8),
    /// Not in the prefix.
    NotIn(u128, u8),
    /// Never true.
    Never,
}

/// One rule.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) saddr: AddrFact,
    pub(crate) daddr: AddrFact,
    /// As [`RANGE_FIELDS`]; `None`: every value, and a packet without the value too.
    pub(crate) ranges: [Option<RangesId>; RANGE_FIELDS.len()],
}

/// An address as a number whose first bit is the highest of 128, so that prefixes of both families are alike.
pub(crate) fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(addr.to_bits()) << 96,
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

/// The first `len` of 128 bits.
pub(crate) const fn prefix_mask(len: u8) -> u128 {
    if len == 0 { 0 } else { u128::MAX << (128 - len as u32) }
}

fn addr_fact(m: Option<&AddrMatch>) -> AddrFact {
    let Some(m) = m else { return AddrFact::Any };
    let (addr, mask) = (bits(m.addr), bits(m.mask));
    let len = mask.leading_ones() as u8;
    let contiguous = mask.count_ones() == u32::from(len);
    match (len, contiguous, m.invert) {
        (0, true, true) => AddrFact::Never,
        (0, _, false) | (_, false, true) => AddrFact::Any,
        (_, true, true) => AddrFact::NotIn(addr, len),
        // The leading ones of any mask are a prefix that the address must lie in.
        (_, _, false) => AddrFact::In(addr & prefix_mask(len), len),
    }
}

/// Collects the facts of one rule.
struct Reader<'t> {
    table: &'t mut RangeTable,
    sets: [Option<Ranges>; RANGE_FIELDS.len()],
    ids: [Option<RangesId>; RANGE_FIELDS.len()],
}

const fn place(what: u8) -> usize {
    let mut at = 0;
    while at + 1 < RANGE_FIELDS.len() && RANGE_FIELDS[at] != what {
        at += 1;
    }
    at
}

fn set(lo: u16, hi: u16, invert: bool) -> Ranges {
    let ranges = normalize(vec![(lo, hi)]);
    if invert { complement(&ranges) } else { ranges }
}

impl Reader<'_> {
    fn narrow(&mut self, what: u8, ranges: Ranges) {
        let at = &mut self.sets[place(what)];
        *at = Some(match at.take() {
            Some(old) => intersect(&old, &ranges),
            None => ranges,
        });
    }

    fn port(&mut self, what: u8, range: PortRange, invert: bool) {
        if invert || range != PortRange::ANY {
            self.narrow(what, set(range.lo, range.hi, invert));
        }
    }

    fn asked_port(&mut self, what: u8, port: Option<(PortRange, bool)>) {
        if let Some((range, invert)) = port {
            self.port(what, range, invert);
        }
    }

    /// Of several checks of states, flags or ICMP types the first feeds its field; all are checked in the record.
    fn first(&mut self, what: u8, id: RangesId) {
        self.ids[place(what)].get_or_insert(id);
    }

    fn base(&mut self, record: &Record) {
        let flags = record.flags;
        let asked = |flag: u32| flags & flag != 0;
        if asked(rule_flag::PROTO) {
            let proto = u16::from(record.proto);
            self.narrow(field::PROTO, set(proto, proto, asked(rule_flag::INV_PROTO)));
        }
        if asked(rule_flag::IIF) {
            self.narrow(field::IIF, set(record.iif_lo, record.iif_hi, asked(rule_flag::INV_IIF)));
        }
        if asked(rule_flag::OIF) {
            self.narrow(field::OIF, set(record.oif_lo, record.oif_hi, asked(rule_flag::INV_OIF)));
        }
    }

    /// Takes what `m` says; false: nothing after it counts.
    fn take(&mut self, m: &Match) -> bool {
        match m {
            Match::Limit(_) | Match::Recent(_) | Match::Hashlimit(_) | Match::Connlimit(_) => return false,
            Match::Connlabel(c) => return !c.set,
            Match::Statistic(s) => return !matches!(s.mode, StatisticMode::Nth { .. }),
            Match::Tcp(t) => {
                self.port(field::SPORT, t.sport, t.invert_sport);
                self.port(field::DPORT, t.dport, t.invert_dport);
                if t.flags_mask != 0 || t.flags_cmp != 0 || t.invert_flags {
                    let id = self.table.tcp_flags(t.flags_mask, t.flags_cmp, t.invert_flags);
                    self.first(field::TCP_FLAGS, id);
                }
                return t.option == 0;
            }
            Match::Udp(u) => {
                self.port(field::SPORT, u.sport, u.invert_sport);
                self.port(field::DPORT, u.dport, u.invert_dport);
            }
            Match::Icmp(i) => {
                let id = self.table.intern(icmp(i));
                self.first(field::ICMP, id);
            }
            Match::Icmp6(i) => {
                let at = u16::from(i.kind) << 8;
                let ranges = set(at | u16::from(i.code_lo), at | u16::from(i.code_hi), i.invert);
                let id = self.table.intern(ranges);
                self.first(field::ICMP, id);
            }
            // Each of these may drop a packet by itself: nothing after it counts.
            Match::Sctp(s) => {
                self.asked_port(field::SPORT, s.sport);
                self.asked_port(field::DPORT, s.dport);
                return false;
            }
            Match::Dccp(d) => {
                self.asked_port(field::SPORT, d.sport);
                self.asked_port(field::DPORT, d.dport);
                return false;
            }
            Match::Multiport(mp) => {
                let what = match mp.side {
                    MultiportSide::Source => field::SPORT,
                    MultiportSide::Destination => field::DPORT,
                    MultiportSide::Either => return true,
                };
                let ranges = normalize(mp.ports.iter().map(|e| (e.range.lo, e.range.hi)).collect());
                self.narrow(what, if mp.invert { complement(&ranges) } else { ranges });
            }
            Match::State(s) => {
                let id = self.table.states(s.states.0 & !(CtStates::SNAT | CtStates::DNAT), s.invert);
                self.first(field::CTSTATE, id);
            }
            Match::Conntrack(ct) => {
                if let Some((states, invert)) = ct.state {
                    let id = self.table.states(states.0, invert);
                    self.first(field::CTSTATE, id);
                }
            }
            Match::Addrtype(_)
            | Match::Cluster(_)
            | Match::Comment(_)
            | Match::Connbytes(_)
            | Match::Connmark(_)
            | Match::Cpu(_)
            | Match::Bpf(_)
            | Match::Cgroup(_)
            | Match::Devgroup(_)
            | Match::Dscp(_)
            | Match::Ecn(_)
            | Match::Helper(_)
            | Match::Hl(_)
            | Match::Iprange(_)
            | Match::Length(_)
            | Match::Mark(_)
            | Match::Owner(_)
            | Match::Physdev(_)
            | Match::Pkttype(_)
            | Match::Policy(_)
            | Match::Realm(_)
            | Match::Rpfilter(_)
            | Match::Set(_)
            | Match::String(_)
            | Match::Time(_)
            | Match::Tos(_)
            | Match::Ttl(_)
            | Match::U32(_) => {}
            // Whether it has a side effect, or drops a packet, is not known here.
            _ => return false,
        }
        true
    }
}

fn icmp(i: &Icmp) -> Ranges {
    if i.kind == 255 {
        return if i.invert { Vec::new() } else { vec![(0, u16::MAX)] };
    }
    let at = u16::from(i.kind) << 8;
    set(at | u16::from(i.code_lo), at | u16::from(i.code_hi), i.invert)
}

/// Reads a rule's facts; `record` is its encoding.
pub(crate) fn read(rule: &Rule, record: &Record, table: &mut RangeTable) -> Facts {
    let mut reader = Reader { table, sets: Default::default(), ids: [None; RANGE_FIELDS.len()] };
    reader.base(record);
    for m in &rule.matches {
        if !reader.take(m) {
            break;
        }
    }
    let Reader { table, sets, mut ids } = reader;
    for (id, set) in ids.iter_mut().zip(sets) {
        if let Some(set) = set {
            *id = Some(table.intern(set));
        }
    }
    Facts { saddr: addr_fact(rule.ip.src.as_ref()), daddr: addr_fact(rule.ip.dst.as_ref()), ranges: ids }
}

impl Facts {
    /// The only value that the rule matches in a range field, if there is one.
    pub(crate) fn single(&self, what: u8, table: &RangeTable) -> Option<u16> {
        match table.get(self.ranges[place(what)]?) {
            [(lo, hi)] if lo == hi => Some(*lo),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_normalized_complemented_and_intersected() {
        assert_eq!(normalize(vec![(5, 9), (1, 4), (20, 10), (8, 12)]), [(1, 12)]);
        assert_eq!(complement(&[(0, 4), (7, 7), (65535, 65535)]), [(5, 6), (8, 65534)]);
        assert_eq!(complement(&[]), [(0, 65535)]);
        assert_eq!(intersect(&[(0, 10), (20, 30)], &[(5, 25)]), [(5, 10), (20, 25)]);
    }

    #[test]
    fn a_mask_with_holes_gives_its_leading_prefix_and_none_when_inverted() {
        let m = |mask: [u8; 4], invert| AddrMatch { addr: [10, 0, 0, 1].into(), mask: mask.into(), invert };
        assert_eq!(addr_fact(Some(&m([255, 0, 0, 255], false))), AddrFact::In(0x0a00_0000 << 96, 8));
        assert_eq!(addr_fact(Some(&m([255, 0, 0, 255], true))), AddrFact::Any);
        assert_eq!(addr_fact(Some(&m([0, 0, 0, 255], false))), AddrFact::Any);
        assert_eq!(addr_fact(Some(&m([0, 0, 0, 0], true))), AddrFact::Never);
        assert_eq!(addr_fact(Some(&m([255, 255, 255, 255], true))), AddrFact::NotIn(0x0a00_0001 << 96, 32));
    }
}
