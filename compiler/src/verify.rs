//! Walks every reference of an image: in bounds, of the right kind, sorted where it must be.
//!
//! Runs on each image in tests and debug builds.

use crate::image::Image;
use crate::interp::Fault;
use crate::interp::search::{fields, line, rules};
use bpftables_abi::ABI_VERSION;
use bpftables_abi::image::{
    BASES_LINE, Bucket, Bucket6, Chain, FIRST_FREE_LINE, FLAG_TRACE, Field, HOOKS, MAGIC, Rule as Record, TABLES,
    chain_kind, field, field_kind, policy, rule_flag, vecref,
};
use bpftables_abi::ops::{MAX_OPS, MAX_U32_STEPS, Op, RATEEST_OTHER, op, target};
use bpftables_abi::parts;
use bpftables_ruleset::Family;
use rustc_hash::FxHashSet;
use thiserror::Error;

/// What is wrong with an image. Always a bug.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("image: chain at line {chain}: {what}")]
pub struct Defect {
    /// Line of the chain, 0 for the image as a whole.
    pub chain: u32,
    /// What is wrong.
    pub what: Box<str>,
}

impl From<Fault> for Defect {
    fn from(fault: Fault) -> Self {
        Self { chain: 0, what: fault.to_string().into() }
    }
}

fn ensure(holds: bool, chain: u32, what: &str) -> Result<(), Defect> {
    if holds { Ok(()) } else { Err(Defect { chain, what: what.into() }) }
}

/// Checks `image`.
///
/// # Errors
/// The first defect.
pub fn verify(image: &Image) -> Result<(), Defect> {
    let header = image.header();
    ensure(header.magic == MAGIC && header.abi == ABI_VERSION, 0, "magic or version is wrong")?;
    ensure(header.lines as usize <= image.lines.len() && header.lines >= FIRST_FREE_LINE, 0, "number of lines")?;
    let mut walk = Walk { image, seen: FxHashSet::default(), todo: Vec::new(), vecrefs: FxHashSet::default() };
    for index in 0..HOOKS * TABLES {
        let base = line(image, BASES_LINE + (index / 16) as u32)?.word(index % 16);
        ensure((base != 0) == (header.present >> index & 1 != 0), 0, "present does not agree with the bases")?;
        if base != 0 {
            walk.go(base, 0)?;
        }
    }
    if header.iface_table != 0 {
        for at in 0..=header.iface_mask {
            let bucket: Bucket = zerocopy::transmute!(line(image, header.iface_table + at)?.0);
            let known = bucket.values.iter().all(|v| *v <= header.iface_classes + 1);
            ensure(known, 0, "an interface class beyond the last")?;
        }
    }
    while let Some(at) = walk.todo.pop() {
        let chain: Chain = zerocopy::transmute!(line(image, at)?.0);
        walk.chain(at, &chain).map_err(|defect| Defect { chain: at, ..defect })?;
    }
    Ok(())
}

struct Walk<'a> {
    image: &'a Image,
    seen: FxHashSet<u32>,
    todo: Vec<u32>,
    /// (vecref, rules of the chain) that were checked.
    vecrefs: FxHashSet<(u32, u32)>,
}

impl Walk<'_> {
    fn go(&mut self, to: u32, from: u32) -> Result<(), Defect> {
        ensure(to >= FIRST_FREE_LINE, from, "a chain at a line that is not free")?;
        line(self.image, to)?;
        if self.seen.insert(to) {
            self.todo.push(to);
        }
        Ok(())
    }

    fn chain(&mut self, at: u32, chain: &Chain) -> Result<(), Defect> {
        ensure(chain.policy <= policy::DROP, at, "unknown policy")?;
        let named = self.image.header().flags & FLAG_TRACE != 0;
        ensure(named == (chain.name >= FIRST_FREE_LINE), at, "a chain's name for TRACE")?;
        line(self.image, chain.name)?;
        if chain.next != 0 {
            self.go(chain.next, at)?;
        }
        for index in 0..chain.nrules {
            let record: Record = zerocopy::transmute!(line(self.image, chain.rules + index)?.0);
            self.rule(at, &record)?;
        }
        match chain.kind {
            chain_kind::LIST => Ok(()),
            chain_kind::HASH => {
                self.buckets(at, chain.hash_table, chain.hash_mask, chain.nrules)?;
                ensure(chain.residual >> vecref::TAG_SHIFT <= vecref::LIST, at, "a residual that is no list")?;
                self.vecref(at, chain.residual, chain.nrules)
            }
            chain_kind::BITVEC => {
                ensure((1..=8).contains(&chain.nfields), at, "number of fields")?;
                for f in fields(self.image, chain)? {
                    self.field(at, &f, chain.nrules)?;
                }
                Ok(())
            }
            _ => ensure(false, at, "unknown kind of chain"),
        }
    }

    fn rule(&mut self, at: u32, r: &Record) -> Result<(), Defect> {
        ensure(r.flags < rule_flag::WALK << 1, at, "unknown rule flag")?;
        let known = matches!(r.target, target::NONE..=target::LOG | target::TOS..=target::CLASSIFY | target::CHECKSUM..=target::DNPT | target::CT | target::NFLOG..=target::TRACE | target::HMARK..=target::SET);
        ensure(known, at, "unknown target")?;
        let flags = self.image.header().flags;
        ensure(parts::of_target(r.target) & !flags == 0, at, "a target whose part of the programs is not asked for")?;
        if self.image.family() == Family::V6 && r.flags & (rule_flag::SADDR | rule_flag::DADDR) != 0 {
            line(self.image, r.saddr)?;
        }
        match r.target {
            target::JUMP | target::GOTO => self.go(r.arg, at)?,
            target::MARK
            | target::CONNMARK
            | target::TCPOPTSTRIP
            | target::LOG
            | target::SNPT
            | target::DNPT
            | target::HMARK
            | target::TPROXY
            | target::TEE
            | target::DNAT..=target::NETMAP => {
                line(self.image, r.arg)?;
                ensure(r.arg >= FIRST_FREE_LINE, at, "a target's parameters")?;
            }
            target::RATEEST => self.estimator(at, r.arg)?,
            target::SET => {
                let words = line(self.image, r.arg)?;
                for of in [0, 2, 4] {
                    let (params, state) = (words.word(of), words.word(of + 1));
                    if params != 0 {
                        line(self.image, params)?;
                        let known = self.image.states.iter().any(|known| known.line == state);
                        ensure(known && params >= FIRST_FREE_LINE, at, "a set that is changed")?;
                    }
                }
            }
            target::NFLOG => {
                line(self.image, r.arg + 1)?;
                ensure(r.arg >= FIRST_FREE_LINE, at, "the parameters of NFLOG")?;
            }
            _ => {}
        }
        ensure(usize::from(r.nops) <= MAX_OPS, at, "too many ops")?;
        for index in 0..u32::from(r.nops) {
            let place = (index as usize % 4) * 16;
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&line(self.image, r.ops + index / 4)?.0[place..place + 16]);
            let o: Op = zerocopy::transmute!(bytes);
            let known = matches!(
                o.op,
                op::TCP..=op::RECENT | op::MAC..=op::BPF | op::U32..=op::CPU | op::QUOTA..=op::PHYSDEV | op::SET | op::RATEEST..=op::CGROUP_PATH
            );
            ensure(known, at, "unknown op")?;
            ensure(parts::of_op(o.op) & !flags == 0, at, "an op whose part of the programs is not asked for")?;
            match o.op {
                op::MULTIPORT => {
                    line(self.image, o.c)?;
                    ensure(o.a <= 15, at, "too many ports")?;
                }
                op::LIMIT | op::NTH | op::QUOTA | op::CONNLIMIT => {
                    let known = self.image.states.iter().any(|state| state.line == o.b);
                    ensure(known, at, "a state line that is not listed")?;
                }
                op::SET => {
                    line(self.image, o.b)?;
                    ensure(o.b >= FIRST_FREE_LINE, at, "a check's parameters")?;
                    let known = self.image.states.iter().any(|state| state.line == o.c);
                    ensure(known, at, "a state line that is not listed")?;
                }
                op::SCTP => {
                    ensure(o.a <= 3 && (o.a == 0 || o.d >= FIRST_FREE_LINE), at, "a check's parameters")?;
                    ensure(o.a == 0 || line(self.image, o.d)?.word(8) <= 4, at, "flags of an sctp match")?;
                }
                op::RT => {
                    ensure(o.b >= FIRST_FREE_LINE, at, "a check's parameters")?;
                    let count = line(self.image, o.b)?.word(5);
                    ensure(count <= 16, at, "addresses of an rt match")?;
                    line(self.image, o.b + count.div_ceil(4))?;
                }
                op::STRING => {
                    ensure(o.b >= FIRST_FREE_LINE, at, "a check's parameters")?;
                    ensure((1..=128).contains(&line(self.image, o.b)?.word(0)), at, "length of a pattern")?;
                    line(self.image, o.b + 4)?;
                }
                op::BPF => {
                    ensure(o.b >= FIRST_FREE_LINE && (1..=64).contains(&o.a), at, "a check's parameters")?;
                    line(self.image, o.b + (u32::from(o.a) - 1) / 8)?;
                }
                op::SRH => {
                    ensure(o.b >= FIRST_FREE_LINE, at, "a check's parameters")?;
                    line(self.image, o.b + 2)?;
                }
                op::OPTS => {
                    line(self.image, o.b)?;
                    ensure(o.b >= FIRST_FREE_LINE && o.d & 0xff <= 16, at, "a check's parameters")?;
                }
                op::OWNER | op::IPRANGE | op::DEVGROUP => {
                    line(self.image, o.b)?;
                    ensure(o.b >= FIRST_FREE_LINE, at, "a check's parameters")?;
                }
                op::POLICY if o.a != 0 => {
                    line(self.image, o.b)?;
                    line(self.image, o.c)?;
                    ensure(o.a == 1 && o.b >= FIRST_FREE_LINE, at, "a check's parameters")?;
                }
                op::RECENT => {
                    line(self.image, o.c)?;
                    ensure(self.image.recent.iter().any(|list| list.id == o.b), at, "an unknown recent list")?;
                }
                op::U32 => {
                    ensure(u32::from(o.a) <= MAX_U32_STEPS, at, "too many steps of a u32 match")?;
                    for step in 0..u32::from(o.a) {
                        line(self.image, o.b + step / 4)?;
                    }
                }
                op::HASHLIMIT => {
                    let known = self.image.hashlimits.iter().any(|table| table.id == o.b);
                    ensure(known, at, "an unknown hashlimit table")?;
                }
                op::RATEEST => {
                    line(self.image, o.d)?;
                    self.estimator(at, o.b)?;
                    if o.a & RATEEST_OTHER != 0 {
                        self.estimator(at, o.c)?;
                    }
                }
                op::CONNLABEL => ensure(o.a <= 127, at, "a label that there is not")?,
                op::TIME | op::CONNBYTES => {
                    line(self.image, o.b)?;
                }
                op::CT => ensure(index + o.c < u32::from(r.nops), at, "ops of a conntrack match")?,
                _ => {}
            }
        }
        Ok(())
    }

    fn estimator(&self, at: u32, id: u32) -> Result<(), Defect> {
        let known = self.image.estimators.iter().any(|estimator| estimator.id == id);
        ensure(known, at, "an unknown rate estimator")
    }

    fn field(&mut self, at: u32, f: &Field, nrules: u32) -> Result<(), Defect> {
        ensure(f.what <= field::CTSTATE, at, "unknown field")?;
        self.vecref(at, f.dflt, nrules)?;
        self.vecref(at, f.absent, nrules)?;
        let words = |table: u32, count: u32| -> Result<Vec<u32>, Fault> {
            (0..count).map(|index| Ok(line(self.image, table + index / 16)?.word(index as usize % 16))).collect()
        };
        match f.kind {
            field_kind::PREFIX if self.image.family() == Family::V6 => {
                line(self.image, f.lens)?;
                self.buckets6(at, f.table, f.mask, nrules)
            }
            field_kind::PREFIX => self.buckets(at, f.table, f.mask, nrules),
            field_kind::DIRECT => {
                for reference in words(f.table, f.mask + 1)? {
                    self.vecref(at, reference, nrules)?;
                }
                Ok(())
            }
            field_kind::PAGE16 => {
                let mut all = words(f.table, 256)?;
                let is_page = |reference: &u32| reference >> vecref::TAG_SHIFT == vecref::PAGE;
                let pages: Vec<u32> = all.iter().copied().filter(is_page).collect();
                all.retain(|reference| !is_page(reference));
                for page in pages {
                    all.extend(words(page & vecref::PAYLOAD, 256)?);
                }
                all.sort_unstable();
                all.dedup();
                for reference in all {
                    self.vecref(at, reference, nrules)?;
                }
                Ok(())
            }
            _ => ensure(false, at, "unknown kind of field"),
        }
    }

    fn buckets(&mut self, at: u32, table: u32, mask: u32, nrules: u32) -> Result<(), Defect> {
        ensure((u64::from(mask) + 1).is_power_of_two(), at, "a mask that is no power of two less one")?;
        for index in 0..=mask {
            let bucket: Bucket = zerocopy::transmute!(line(self.image, table + index)?.0);
            for reference in bucket.values.into_iter().filter(|v| *v != 0) {
                self.vecref(at, reference, nrules)?;
            }
        }
        Ok(())
    }

    fn buckets6(&mut self, at: u32, table: u32, mask: u32, nrules: u32) -> Result<(), Defect> {
        ensure((u64::from(mask) + 1).is_power_of_two(), at, "a mask that is no power of two less one")?;
        for index in 0..=mask {
            let bucket: Bucket6 = zerocopy::transmute!(line(self.image, table + index)?.0);
            for (len, reference) in bucket.lens.into_iter().zip(bucket.values).filter(|(len, _)| *len != 0) {
                ensure(len <= 128, at, "a prefix of more than 128 bits")?;
                self.vecref(at, reference, nrules)?;
            }
        }
        Ok(())
    }

    fn vecref(&mut self, at: u32, reference: u32, nrules: u32) -> Result<(), Defect> {
        if !self.vecrefs.insert((reference, nrules)) {
            return Ok(());
        }
        if reference >> vecref::TAG_SHIFT == vecref::LIST {
            let count = line(self.image, reference & vecref::PAYLOAD)?.word(0);
            ensure((1..=vecref::LIST_MAX).contains(&count), at, "length of a list")?;
        }
        let Some(list) = rules(self.image, reference)? else { return Ok(()) };
        ensure(list.windows(2).all(|pair| pair[0] < pair[1]), at, "rules out of order")?;
        ensure(list.last().is_none_or(|last| *last < nrules), at, "a rule beyond the chain's end")
    }
}
