//! The linear evaluator: what netfilter does with one packet in one table at one hook, slow and obvious (`ipt_do_table`).
//!
//! It is the specification that the image's search and the kernel programs are held against, so it takes no short cut: every rule in turn,
//! every match in order, counters as they are counted.

mod addrtype;
mod clock;
mod cluster;
mod connection;
mod conntrack;
mod env;
mod extension;
mod hashlimit;
mod header;
mod hmark;
mod ip;
mod ipv6;
mod l4;
mod npt;
mod packet;
mod rewrite;
mod search;
mod sim;
mod transport;
mod words;

pub use addrtype::holds as addrtype_holds;
pub use clock::holds as time_holds;
pub use cluster::holds as cluster_holds;
pub use connection::{connbytes as connbytes_holds, connlabel as connlabel_holds};
pub use env::{Environment, StateKey};
pub use extension::holds as extension_holds;
pub use hashlimit::{begin as hashlimit_begin, ticks as hashlimit_ticks};
pub use header::holds as header_holds;
pub use packet::{Connection, ConnectionState, Ct, CtTuple, Packet, status};
pub use rewrite::{Rewritten, rewrite};
pub use search::{bpf_holds, string_holds, upper};
pub use sim::Simulated;
pub use transport::holds as transport_holds;
pub use words::holds as u32_holds;

use crate::counters::Slot;
use crate::matches::bpf::BpfProgram;
use crate::matches::{Bpf, Match, StatisticMode, recent};
use crate::rule::Rule;
use crate::table::{Hook, Ruleset, Table, TableKind};
use crate::targets::{ConnmarkSet, RejectWith, Target};
use crate::{Chain, Policy};

/// What becomes of a packet in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Accept,
    /// Dropped by a rule or a policy.
    Drop,
    /// Dropped inside a match that could not read its header (`hotdrop`), which no rule counts, or inside a target.
    Hotdrop,
    /// Dropped and answered.
    Reject(RejectWith),
    /// The evaluator does not know this match or target, so it cannot tell.
    Unknown(&'static str),
    /// It goes on, translated by this target (DNAT, SNAT, MASQUERADE, REDIRECT or NETMAP).
    Nat(Target),
}

/// A packet's way through a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What becomes of it.
    pub verdict: Verdict,
    /// Where it was counted, in order: rules, then perhaps a policy. Each adds one packet of [`Packet::len`] bytes.
    pub counted: Vec<Slot>,
}

/// What one check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// The packet is dropped at once.
    Hotdrop,
    /// It holds, and the packet is dropped once the rule is done: a match that could not read its header, after a `!`.
    Doomed,
    /// Of a match that the evaluator does not know.
    Unknown(&'static str),
}

impl From<bool> for Answer {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// The ruleset in which the rules of each list of `-m recent` have the list's mask, where they do not.
fn agree(ruleset: &Ruleset) -> Option<Ruleset> {
    let masks = recent::list_masks(ruleset);
    let chains = || ruleset.tables.iter().flat_map(|table| table.chains());
    let off = |m: &Match| matches!(m, Match::Recent(r) if masks.get(&r.name) != Some(&r.mask));
    if !chains().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.matches).any(off) {
        return None;
    }
    let mut agreed = ruleset.clone();
    for table in &mut agreed.tables {
        for chain in table.builtin.iter_mut().chain(table.user.values_mut()) {
            for m in chain.rules.iter_mut().flat_map(|rule| &mut rule.matches) {
                if let Match::Recent(r) = m
                    && let Some(mask) = masks.get(&r.name)
                {
                    r.mask = *mask;
                }
            }
        }
    }
    Some(agreed)
}

/// Runs `packet` through the table at the hook. Marks, and how it is to be tracked, are changed in the packet.
pub fn traverse(
    ruleset: &Ruleset,
    kind: TableKind,
    hook: Hook,
    packet: &mut Packet,
    env: &mut dyn Environment,
) -> Outcome {
    let mut counted = Vec::new();
    let agreed = agree(ruleset);
    let ruleset = agreed.as_ref().unwrap_or(ruleset);
    let base = ruleset.table(kind).and_then(|table| Some((table, table.base(hook)?)));
    let verdict = match base {
        Some((table, chain)) => run(table, chain, packet, env, &mut counted),
        None => Verdict::Accept,
    };
    Outcome { verdict, counted }
}

fn run<'a>(
    table: &'a Table,
    base: &'a Chain,
    packet: &mut Packet,
    env: &mut dyn Environment,
    counted: &mut Vec<Slot>,
) -> Verdict {
    // Where to go on after RETURN: chain and rule.
    let mut stack: Vec<(&Chain, usize)> = Vec::new();
    let mut at = (base, 0);
    loop {
        let (chain, index) = at;
        let Some(rule) = chain.rules.get(index) else {
            // The end of a user's chain is a RETURN; the end of a base chain, and a RETURN with nothing to return to (after a
            // goto, too), is its policy.
            match stack.pop() {
                Some(back) => {
                    at = back;
                    continue;
                }
                None => {
                    counted.push(base.slot);
                    return if base.policy == Some(Policy::Drop) { Verdict::Drop } else { Verdict::Accept };
                }
            }
        };
        let next = (chain, index + 1);
        match rule_holds(rule, packet, env) {
            Answer::Hotdrop => return Verdict::Hotdrop,
            Answer::Unknown(name) => return Verdict::Unknown(name),
            Answer::No => {
                at = next;
                continue;
            }
            Answer::Yes => counted.push(rule.slot),
            Answer::Doomed => {
                counted.push(rule.slot);
                // The target has its turn first; a packet that ends here shows only these.
                if let Target::Connmark(set) = &rule.target {
                    connmark(set, packet);
                }
                return if let Target::Reject(with) = &rule.target { Verdict::Reject(*with) } else { Verdict::Hotdrop };
            }
        }
        at = match &rule.target {
            // What these tell is nothing that rules see.
            Target::None | Target::Log(_) | Target::Nflog(_) | Target::Trace(_) | Target::Tee(_) => next,
            Target::Accept => return Verdict::Accept,
            Target::Drop => return Verdict::Drop,
            Target::Reject(with) => return Verdict::Reject(*with),
            Target::Dnat(_) | Target::Snat(_) | Target::Masquerade(_) | Target::Redirect(_) | Target::Netmap(_) => {
                return Verdict::Nat(rule.target.clone());
            }
            Target::Return => (chain, chain.rules.len()),
            Target::Jump(name) | Target::Goto(name) => {
                // Rulesets with jumps to nowhere, or with loops, are refused before they get here.
                let Some(target) = table.user.get(name) else { return Verdict::Drop };
                if matches!(rule.target, Target::Jump(_)) {
                    if stack.len() >= table.user.len() {
                        return Verdict::Drop;
                    }
                    stack.push(next);
                }
                (target, 0)
            }
            Target::Mark(set) => {
                packet.mark = packet.mark & !set.mask ^ set.value;
                next
            }
            Target::Connmark(set) => {
                connmark(set, packet);
                next
            }
            Target::Ct(ct) if !ct.notrack => {
                packet.track(Ct::Template);
                next
            }
            Target::Ct(_) | Target::Notrack => {
                packet.track(Ct::Untracked);
                next
            }
            other => match rewrite(other, packet) {
                Rewritten::Continue => next,
                Rewritten::Drop => return Verdict::Hotdrop,
                Rewritten::Unknown => return Verdict::Unknown(other.table_name()),
            },
        };
        // RETURN in a base chain is its policy, wherever the base chain's end is; in a user's chain the loop above pops.
    }
}

fn connmark(set: &ConnmarkSet, packet: &mut Packet) {
    let Ct::Connection(ct) = &mut packet.ct else { return };
    connmark_set(set, &mut packet.mark, &mut ct.mark);
}

/// Carries out `-j CONNMARK` on the mark of a packet and that of its connection. `--set-xmark` shifts what comes out, the others what they copy.
pub fn connmark_set(set: &ConnmarkSet, packet: &mut u32, connection: &mut u32) {
    let (set, left, bits) = match set {
        ConnmarkSet::Shifted { set, left, bits } => (&**set, *left, u32::from(*bits)),
        set => (set, true, 0),
    };
    let shifted = |mark: u32| if left { mark << (bits & 31) } else { mark >> (bits & 31) };
    match *set {
        ConnmarkSet::Set { value, mask } => *connection = shifted(*connection & !mask ^ value),
        ConnmarkSet::Save { nfmask, ctmask } => *connection = *connection & !ctmask ^ shifted(*packet & nfmask),
        ConnmarkSet::Restore { nfmask, ctmask } => *packet = *packet & !nfmask ^ shifted(*connection & ctmask),
        // None stands within another.
        ConnmarkSet::Shifted { .. } => {}
    }
}

/// Whether a rule matches: the header first, then its matches in order, none after the first that fails.
fn rule_holds(rule: &Rule, packet: &mut Packet, env: &mut dyn Environment) -> Answer {
    match ip::holds(&rule.ip, packet) {
        Answer::Yes => {}
        other => return other,
    }
    let mut ordinal = 0;
    let mut doomed = false;
    for m in &rule.matches {
        let key = StateKey { slot: rule.slot, ordinal };
        if matches!(m, Match::Limit(_) | Match::Recent(_) | Match::Quota(_) | Match::Connlimit(_))
            || matches!(m, Match::Statistic(s) if matches!(s.mode, StatisticMode::Nth { .. }))
        {
            ordinal += 1;
        }
        match match_holds(m, key, packet, env) {
            Answer::Yes => {}
            Answer::Doomed => doomed = true,
            Answer::No if doomed => return Answer::Hotdrop,
            other => return other,
        }
    }
    if doomed { Answer::Doomed } else { Answer::Yes }
}

fn match_holds(m: &Match, key: StateKey, packet: &mut Packet, env: &mut dyn Environment) -> Answer {
    match m {
        Match::Addrtype(a) => addrtype::holds(a, packet, env).into(),
        Match::Comment(_) => Answer::Yes,
        Match::Connmark(c) => match &packet.ct {
            Ct::Connection(ct) => (((ct.mark & c.mask) == c.value) != c.invert).into(),
            _ => Answer::No,
        },
        Match::Connbytes(c) => connection::connbytes(c, packet).into(),
        Match::Connlimit(c) => env.connlimit(key, c, packet).map_or(Answer::Hotdrop, Answer::from),
        Match::Connlabel(c) => connection::connlabel(c, packet).into(),
        Match::Conntrack(c) => conntrack::holds(c, packet).into(),
        Match::Hashlimit(h) => env.hashlimit(h, packet).map_or(Answer::Hotdrop, Answer::from),
        // No connection has a helper.
        Match::Helper(h) => h.invert.into(),
        Match::State(s) => ((packet.state_bit() & s.states.0 != 0) != s.invert).into(),
        Match::Mark(mark) => (((packet.mark & mark.mask) == mark.value) != mark.invert).into(),
        Match::Icmp(icmp) => l4::icmp(icmp, packet),
        Match::Icmp6(icmp) => l4::icmp6(icmp, packet),
        Match::Multiport(m) => l4::multiport(m, packet),
        Match::Tcp(tcp) => l4::tcp(tcp, packet),
        Match::Udp(udp) => l4::udp(udp, packet),
        Match::U32(u) => words::holds(u, packet).into(),
        Match::Time(t) => clock::holds(t, env.seconds(), env.minutes_west()).into(),
        Match::Cpu(c) => ((env.cpu() == c.cpu) != c.invert).into(),
        Match::Cluster(c) => cluster::holds(c, packet).into(),
        Match::Quota(q) => (env.quota(key, q.bytes, packet.len() as u64) != q.invert).into(),
        Match::String(s) => search::string_holds(s, packet).into(),
        Match::Bpf(Bpf { program: BpfProgram::Classic(program) }) => search::bpf_holds(program, packet).into(),
        Match::Limit(l) => env.limit(key, l.average, l.burst).into(),
        Match::Recent(r) => {
            let addr = if r.dest { packet.daddr() } else { packet.saddr() };
            match env.recent(r, addr, packet.ttl_as_received()) {
                Some(holds) => holds.into(),
                None => Answer::Hotdrop,
            }
        }
        Match::Statistic(s) => match s.mode {
            StatisticMode::Random { probability } => {
                ((env.random(key.slot) & 0x7fff_ffff < probability) != s.invert).into()
            }
            StatisticMode::Nth { every, packet } => (env.nth(key, every, packet) != s.invert).into(),
        },
        other => header::holds(other, packet)
            .map(Answer::from)
            .or_else(|| transport::holds(other, packet))
            .or_else(|| extension::holds(other, packet))
            .unwrap_or(Answer::Unknown(other.name())),
    }
}

#[cfg(test)]
mod tests;
