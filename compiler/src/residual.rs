//! Matches that do not fit the record: ops.

mod clock;
mod extension;
pub(crate) mod packet;
mod search;
mod sets;
mod state;
mod transport;
mod words;

use crate::error::CompileError;
use crate::hashlimit::Tables;
use crate::image::{Line, StateKind, StateLine};
use crate::lines::Lines;
use crate::rateest::{self, Estimators};
use crate::recent::Lists;
use crate::{Options, refused};
use bpftables_abi::ops::{
    ADDRTYPE_INVERT_DST, ADDRTYPE_INVERT_SRC, ADDRTYPE_LIMIT_IN, ADDRTYPE_LIMIT_OUT, INVERT, INVERT_DPORT,
    INVERT_SPORT, INVERT_TCP_FLAGS, INVERT_TCP_OPTION, Op, RecentParams, RecentParams6, op,
};
use bpftables_ruleset::matches::bpf::BpfProgram;
use bpftables_ruleset::matches::{
    Addrtype, Bpf, Cgroup, Conntrack, CtStates, Match, Multiport, MultiportSide, Recent, RecentOp, StatisticMode, Tcp,
    Udp,
};
use bpftables_ruleset::targets::SetChange;
use bpftables_ruleset::{AddrMatch, Family, PortRange, Ruleset, Slot, TableKind};
use std::collections::BTreeMap;
use std::net::IpAddr;
use zerocopy::IntoBytes;

/// What the encoding of matches leaves behind besides lines.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    pub(crate) states: Vec<StateLine>,
    pub(crate) lists: Lists,
    pub(crate) hashlimits: Tables,
    pub(crate) estimators: Estimators,
    /// See [`Options::cgroups`].
    cgroups: BTreeMap<(TableKind, Box<str>), u64>,
}

impl Leftovers {
    /// With what is named in `ruleset`.
    pub(crate) fn new(ruleset: &Ruleset, options: &Options) -> Result<Self, CompileError> {
        let (lists, hashlimits) = (Lists::new(ruleset)?, Tables::new(ruleset)?);
        Ok(Self { lists, hashlimits, estimators: Estimators::new(ruleset)?, ..Self::of_chains(options) })
    }

    /// Of chains that name nothing that others share.
    pub(crate) fn of_chains(options: &Options) -> Self {
        Self { cgroups: options.cgroups.clone(), ..Self::default() }
    }
}

const ZERO: Op = Op { op: 0, flags: 0, a: 0, b: 0, c: 0, d: 0 };

const fn inv(invert: bool) -> u8 {
    if invert { INVERT } else { 0 }
}

const fn ports(range: PortRange) -> u32 {
    range.lo as u32 | (range.hi as u32) << 16
}

/// The ops of a rule, in order.
#[derive(Debug)]
pub(crate) struct Encoder<'a> {
    pub(crate) lines: &'a mut Lines,
    pub(crate) left: &'a mut Leftovers,
    pub(crate) slot: Slot,
    table: TableKind,
    family: Family,
    pub(crate) ops: Vec<Op>,
    ordinal: u8,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(
        lines: &'a mut Lines,
        left: &'a mut Leftovers,
        slot: Slot,
        table: TableKind,
        family: Family,
    ) -> Self {
        Self { lines, left, slot, table, family, ops: Vec::new(), ordinal: 0 }
    }

    /// Adds what `m` checks, or says why the programs can't.
    pub(crate) fn push(&mut self, m: &Match) -> Result<Result<(), Box<str>>, CompileError> {
        let encoded = match m {
            Match::Comment(_) => return Ok(Ok(())),
            Match::Conntrack(ct) => {
                self.conntrack(ct)?;
                return Ok(Ok(()));
            }
            Match::Addrtype(a) => addrtype(a),
            Match::Connmark(m) => Op { op: op::CONNMARK, flags: inv(m.invert), b: m.value, c: m.mask, ..ZERO },
            Match::Mark(m) => Op { op: op::MARK, flags: inv(m.invert), b: m.value, c: m.mask, ..ZERO },
            Match::Icmp(i) => icmp(i.kind, i.code_lo, i.code_hi, i.invert),
            Match::Icmp6(i) => icmp(i.kind, i.code_lo, i.code_hi, i.invert),
            Match::State(s) => {
                let a = s.states.0 & !(CtStates::SNAT | CtStates::DNAT);
                Op { op: op::STATE, flags: inv(s.invert), a, ..ZERO }
            }
            Match::Tcp(t) => tcp(t),
            Match::Udp(u) => udp(u),
            Match::Multiport(m) => self.multiport(m),
            Match::Limit(l) => {
                let line = self.state(StateKind::Limit);
                Op { op: op::LIMIT, b: line, c: l.average, d: l.burst, ..ZERO }
            }
            Match::Statistic(s) => match s.mode {
                StatisticMode::Random { probability } => {
                    Op { op: op::RANDOM, flags: inv(s.invert), b: probability, ..ZERO }
                }
                StatisticMode::Nth { every, packet } => {
                    // The model keeps `every` as the kernel does, one less than given.
                    let line = self.state(StateKind::Nth);
                    Op { op: op::NTH, flags: inv(s.invert), a: 0, b: line, c: every.saturating_add(1), d: packet }
                }
            },
            Match::Recent(r) => self.recent(r)?,
            Match::Quota(q) => state::quota(self, q),
            Match::Cluster(c) => state::cluster(c),
            Match::Hashlimit(h) => state::hashlimit(self, h)?,
            Match::Cgroup(c) => self.cgroup(c),
            Match::Rateest(r) => rateest::encode(r, &self.left.estimators, self.lines)?,
            Match::Connlimit(c) => state::connlimit(self, c),
            Match::Set(s) => sets::encode(self, s),
            Match::Connbytes(c) => state::connbytes(self, c),
            Match::Connlabel(c) => {
                Op { op: op::CONNLABEL, flags: inv(c.invert), a: c.bit & 127, b: c.set.into(), ..ZERO }
            }
            Match::Helper(h) => Op { op: op::HELPER, flags: inv(h.invert), ..ZERO },
            Match::U32(u) => words::encode(u, self.lines),
            Match::Time(t) => clock::encode(t, self.lines),
            Match::String(s) => match search::string(s, self.lines) {
                Ok(op) => op,
                Err(reason) => return Ok(Err(reason.into())),
            },
            Match::Bpf(Bpf { program: BpfProgram::Classic(program) }) => match search::bpf(program, self.lines) {
                Ok(op) => op,
                Err(reason) => return Ok(Err(reason.into())),
            },
            Match::Cpu(c) => Op { op: op::CPU, flags: inv(c.invert), b: c.cpu, ..ZERO },
            _ => match packet::encode(m, self.lines) {
                Ok(Some(op)) => op,
                Ok(None) => match transport::encode(m, self.lines).or_else(|| extension::encode(m, self.lines)) {
                    Some(op) => op,
                    None => return Ok(Err(refused::matching(m))),
                },
                Err(reason) => return Ok(Err(reason.into())),
            },
        };
        self.ops.push(encoded);
        Ok(Ok(()))
    }

    /// `--tcp-option` of a `-m tcp` that stands in the record.
    pub(crate) fn tcp_option(&mut self, t: &Tcp) {
        if t.option != 0 {
            let flags = if t.invert_option { INVERT_TCP_OPTION } else { 0 };
            self.ops.push(Op { op: op::TCP, flags, a: 1, d: u32::from(t.option) << 16, ..ZERO });
        }
    }

    /// A line that programs write, never shared.
    fn state(&mut self, kind: StateKind) -> u32 {
        let line = self.lines.push(&[Line::ZERO]);
        self.left.states.push(StateLine { slot: self.slot, ordinal: self.ordinal, kind, line });
        self.ordinal += 1;
        line
    }

    /// The line of SET's parameters, or why it can't be run.
    pub(crate) fn set_change(&mut self, change: &SetChange) -> Result<u32, &'static str> {
        sets::change(self, change)
    }

    fn multiport(&mut self, m: &Multiport) -> Op {
        let words: Vec<u32> = m.ports.iter().map(|entry| ports(entry.range)).collect();
        let side = match m.side {
            MultiportSide::Source => 0,
            MultiportSide::Destination => 1,
            MultiportSide::Either => 2,
        };
        let c = self.lines.intern_words(if words.is_empty() { &[0] } else { &words });
        Op { op: op::MULTIPORT, flags: inv(m.invert), a: words.len() as u16, b: side, c, ..ZERO }
    }

    fn cgroup(&self, c: &Cgroup) -> Op {
        if let Some((path, invert)) = &c.path {
            let id = self.left.cgroups.get(&(self.table, path.clone())).copied().unwrap_or(0);
            return Op { op: op::CGROUP_PATH, flags: inv(*invert), b: id as u32, c: (id >> 32) as u32, ..ZERO };
        }
        let (class, invert) = c.class.unwrap_or_default();
        Op { op: op::CGROUP, flags: inv(invert), b: class, ..ZERO }
    }

    fn recent(&mut self, r: &Recent) -> Result<Op, CompileError> {
        let code = match r.op {
            RecentOp::Set => 0,
            RecentOp::Check => 1,
            RecentOp::Update => 2,
            RecentOp::Remove => 3,
        };
        let (seconds, hitcount) = (r.seconds, r.hitcount);
        let (dest, ttl, reap) = (r.dest.into(), r.ttl.into(), r.reap.into());
        let mut line = [0; 64];
        match (self.family, self.left.lists.mask(&r.name).unwrap_or(r.mask)) {
            (Family::V4, IpAddr::V4(mask)) => {
                let mask = u32::from_ne_bytes(mask.octets());
                let params = RecentParams { seconds, hitcount, mask, op: code, dest, ttl, reap };
                line[..size_of::<RecentParams>()].copy_from_slice(params.as_bytes());
            }
            (Family::V6, IpAddr::V6(mask)) => {
                let mask = mask.octets();
                let params = RecentParams6 { seconds, hitcount, mask, op: code, dest, ttl, reap };
                line[..size_of::<RecentParams6>()].copy_from_slice(params.as_bytes());
            }
            _ => return Err(CompileError::Internal("a --mask of another family".into())),
        }
        let c = self.lines.intern(&[Line(line)]);
        self.ordinal += 1;
        let Some(list) = self.left.lists.get(&r.name) else {
            return Err(CompileError::Internal("a recent list that was not collected".into()));
        };
        Ok(Op { op: op::RECENT, flags: inv(r.invert), a: list.stamps - 1, b: list.id, c, d: 0 })
    }

    fn conntrack(&mut self, ct: &Conntrack) -> Result<(), CompileError> {
        let at = self.ops.len();
        self.ops.push(ZERO);
        if let Some(original) = ct.direction_original {
            self.ops.push(Op { op: op::CT_DIR, b: u32::from(original), ..ZERO });
        }
        for (a, addr) in (0..).zip([&ct.orig_src, &ct.orig_dst, &ct.repl_src, &ct.repl_dst]) {
            let Some(AddrMatch { addr, mask, invert }) = addr else { continue };
            // These addresses are kept as written, with bits outside the mask.
            let (b, c) = match (self.family, *addr, *mask) {
                (Family::V4, IpAddr::V4(addr), IpAddr::V4(mask)) => {
                    let (addr, mask) = (u32::from_ne_bytes(addr.octets()), u32::from_ne_bytes(mask.octets()));
                    (addr & mask, mask)
                }
                (Family::V6, IpAddr::V6(addr), IpAddr::V6(mask)) => {
                    let mut line = [0; 64];
                    line[..16].copy_from_slice(&(addr.to_bits() & mask.to_bits()).to_be_bytes());
                    line[16..32].copy_from_slice(&mask.octets());
                    (self.lines.intern(&[Line(line)]), 0)
                }
                _ => return Err(CompileError::Internal("a connection address of another family".into())),
            };
            self.ops.push(Op { op: op::CT_ADDR, flags: inv(*invert), a, b, c, d: 0 });
        }
        if let Some((proto, invert)) = ct.proto {
            self.ops.push(Op { op: op::CT_PROTO, flags: inv(invert), b: u32::from(proto), ..ZERO });
        }
        let sides = [&ct.orig_src_port, &ct.orig_dst_port, &ct.repl_src_port, &ct.repl_dst_port];
        for (a, side) in (0..).zip(sides) {
            let Some((range, invert)) = side else { continue };
            self.ops.push(Op { op: op::CT_PORT, flags: inv(*invert), a, b: ports(*range), ..ZERO });
        }
        if let Some((status, invert)) = ct.status {
            self.ops.push(Op { op: op::CT_STATUS, flags: inv(invert), a: u16::from(status.0), ..ZERO });
        }
        if let Some((lo, hi, invert)) = ct.expires {
            self.ops.push(Op { op: op::CT_EXPIRES, flags: inv(invert), b: lo, c: hi, ..ZERO });
        }
        let (states, invert) = ct.state.unwrap_or_default();
        let c = (self.ops.len() - at - 1) as u32;
        let b = u32::from(ct.state.is_some());
        self.ops[at] = Op { op: op::CT, flags: inv(invert), a: states.0, b, c, d: 0 };
        Ok(())
    }
}

fn addrtype(a: &Addrtype) -> Op {
    let pairs = [
        (a.invert_src, ADDRTYPE_INVERT_SRC),
        (a.invert_dst, ADDRTYPE_INVERT_DST),
        (a.limit_in, ADDRTYPE_LIMIT_IN),
        (a.limit_out, ADDRTYPE_LIMIT_OUT),
    ];
    let flags = pairs.iter().filter(|(on, _)| *on).fold(0, |flags, (_, bit)| flags | bit);
    Op { op: op::ADDRTYPE, flags, a: a.src, b: u32::from(a.dst), ..ZERO }
}

fn icmp(kind: u8, code_lo: u8, code_hi: u8, invert: bool) -> Op {
    let b = u32::from(kind) | u32::from(code_lo) << 8 | u32::from(code_hi) << 16;
    Op { op: op::ICMP, flags: inv(invert), b, ..ZERO }
}

fn tcp(t: &Tcp) -> Op {
    let pairs = [
        (t.invert_sport, INVERT_SPORT),
        (t.invert_dport, INVERT_DPORT),
        (t.invert_flags, INVERT_TCP_FLAGS),
        (t.invert_option, INVERT_TCP_OPTION),
    ];
    let flags = pairs.iter().filter(|(on, _)| *on).fold(0, |flags, (_, bit)| flags | bit);
    let d = u32::from(t.flags_mask) | u32::from(t.flags_cmp) << 8 | u32::from(t.option) << 16;
    Op { op: op::TCP, flags, a: 0, b: ports(t.sport), c: ports(t.dport), d }
}

fn udp(u: &Udp) -> Op {
    let flags =
        inv(false) | if u.invert_sport { INVERT_SPORT } else { 0 } | if u.invert_dport { INVERT_DPORT } else { 0 };
    Op { op: op::UDP, flags, b: ports(u.sport), c: ports(u.dport), ..ZERO }
}
