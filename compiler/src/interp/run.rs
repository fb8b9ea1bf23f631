//! The traversal: chains by line, a stack of return addresses.

use super::check::{self, Answer};
use super::decode::target_of;
use super::search::{Pick, candidates, line};
use crate::graph::MAX_DEPTH;
use crate::image::Image;
use bpftables_abi::image::{BASES_LINE, Chain, Rule as Record, TABLES, policy};
use bpftables_ruleset::eval::{Ct, Environment, Outcome, Packet, Rewritten, Verdict, connmark_set, rewrite};
use bpftables_ruleset::targets::ConnmarkSet;
use bpftables_ruleset::{Hook, Slot, TableKind, Target};
use thiserror::Error;

/// An image that does not hold together: always a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// A reference to a line that is not there.
    #[error("line {0} is outside the image")]
    OutOfBounds(u32),
    /// A code that nobody knows.
    #[error("unknown {0} {1}")]
    UnknownCode(&'static str, u32),
    /// More return addresses than the programs can keep.
    #[error("jumps nested too deep")]
    Depth,
}

/// Runs `packet` through a base chain of the image, as [`bpftables_ruleset::eval::traverse`] does through the ruleset.
///
/// # Errors
/// An image that does not hold together.
pub fn traverse(
    image: &Image,
    table: TableKind,
    hook: Hook,
    packet: &mut Packet,
    env: &mut dyn Environment,
    pick: Pick,
) -> Result<Outcome, Fault> {
    let mut counted = Vec::new();
    let index = hook as usize * TABLES + table as usize;
    let base = line(image, BASES_LINE + (index / 16) as u32)?.word(index % 16);
    if base == 0 {
        return Ok(Outcome { verdict: Verdict::Accept, counted });
    }
    let mut stack: Vec<(u32, u32)> = Vec::new();
    let mut at = (base, 0);
    let verdict = 'chain: loop {
        let chain: Chain = zerocopy::transmute!(line(image, at.0)?.0);
        let found = candidates(image, &chain, packet, pick)?;
        let mut returned = false;
        for index in found.into_iter().filter(|index| *index >= at.1) {
            let record: Record = zerocopy::transmute!(line(image, chain.rules + index)?.0);
            match check::rule(image, &record, packet, env)? {
                Answer::Hotdrop => break 'chain Verdict::Hotdrop,
                Answer::No => continue,
                Answer::Yes => counted.push(Slot(record.slot)),
                Answer::Doomed => {
                    counted.push(Slot(record.slot));
                    match target_of(image, &record)? {
                        Target::Connmark(set) => connmark(&set, packet),
                        Target::Reject(with) => break 'chain Verdict::Reject(with),
                        _ => {}
                    }
                    break 'chain Verdict::Hotdrop;
                }
            }
            match target_of(image, &record)? {
                Target::None | Target::Log(_) | Target::Nflog(_) | Target::Trace(_) | Target::Tee(_) => {}
                Target::Accept => break 'chain Verdict::Accept,
                Target::Drop => break 'chain Verdict::Drop,
                Target::Reject(with) => break 'chain Verdict::Reject(with),
                Target::Return => {
                    returned = true;
                    break;
                }
                Target::Jump(_) => {
                    if stack.len() >= MAX_DEPTH as usize {
                        return Err(Fault::Depth);
                    }
                    stack.push((at.0, index + 1));
                    at = (record.arg, 0);
                    continue 'chain;
                }
                Target::Goto(_) => {
                    at = (record.arg, 0);
                    continue 'chain;
                }
                Target::Mark(set) => packet.mark = packet.mark & !set.mask ^ set.value,
                Target::Connmark(set) => connmark(&set, packet),
                Target::Notrack => packet.track(Ct::Untracked),
                Target::Ct(_) => packet.track(Ct::Template),
                target => match rewrite(&target, packet) {
                    Rewritten::Continue => {}
                    Rewritten::Drop => break 'chain Verdict::Hotdrop,
                    Rewritten::Unknown => break 'chain Verdict::Nat(target),
                },
            }
        }
        if !returned && chain.next != 0 {
            at = (chain.next, 0);
            continue;
        }
        if let Some(back) = stack.pop() {
            at = back;
            continue;
        }
        // The base chain's policy, also after a goto.
        let base: Chain = zerocopy::transmute!(line(image, base)?.0);
        counted.push(Slot(base.policy_slot));
        break match base.policy {
            policy::ACCEPT => Verdict::Accept,
            policy::DROP => Verdict::Drop,
            other => return Err(Fault::UnknownCode("policy", other.into())),
        };
    };
    Ok(Outcome { verdict, counted })
}

fn connmark(set: &ConnmarkSet, packet: &mut Packet) {
    let Ct::Connection(ct) = &mut packet.ct else { return };
    connmark_set(set, &mut packet.mark, &mut ct.mark);
}
