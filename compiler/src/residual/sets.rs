//! `-m set` and `-j SET`.

use super::{Encoder, ZERO, inv};
use crate::image::{Line, StateKind};
use bpftables_abi::ops::{
    Op, SET_EXIST, SET_MAP_MARK, SET_MAP_PRIORITY, SET_RETURN_NOMATCH, SET_TIMEOUT, SetParams, SetTarget, op,
};
use bpftables_ruleset::matches::Set;
use bpftables_ruleset::matches::set::SetComparison;
use bpftables_ruleset::targets::{NamedSet, SetChange};
use zerocopy::IntoBytes;

/// How a counter is compared, as programs number it, and with what.
fn comparison(asked: Option<(SetComparison, u64)>) -> (u8, u64) {
    asked.map_or((0, 0), |(comparison, value)| {
        let code = match comparison {
            SetComparison::Equal => 1,
            SetComparison::NotEqual => 2,
            SetComparison::Less => 3,
            SetComparison::Greater => 4,
        };
        (code, value)
    })
}

/// The op: its parameters in a line, and a line where programs note the set's place.
pub(super) fn encode(encoder: &mut Encoder<'_>, s: &Set) -> Op {
    let (packets_op, packets) = comparison(s.packets);
    let (bytes_op, bytes) = comparison(s.bytes);
    let flags = if s.return_nomatch { SET_RETURN_NOMATCH } else { 0 };
    let params = SetParams { packets, bytes, packets_op, bytes_op, flags, ..params(&s.name, &s.sources) };
    let [b, c] = store(encoder, &params);
    Op { op: op::SET, flags: inv(s.invert), b, c, ..ZERO }
}

/// A set by its name, and the packet's sides.
fn params(name: &str, sources: &[bool]) -> SetParams {
    let mut padded = [0; 32];
    let len = name.len().min(padded.len() - 1);
    padded[..len].copy_from_slice(&name.as_bytes()[..len]);
    let sides = sources.iter().enumerate().fold(0, |sides, (at, source)| sides | u8::from(*source) << at);
    let dim = sources.len() as u8;
    SetParams { name: padded, packets: 0, bytes: 0, packets_op: 0, bytes_op: 0, dim, sides, flags: 0, pad: [0; 3] }
}

/// The line of the parameters, and that where programs note the set's place.
fn store(encoder: &mut Encoder<'_>, params: &SetParams) -> [u32; 2] {
    let mut line = [0; 64];
    line[..size_of::<SetParams>()].copy_from_slice(params.as_bytes());
    [encoder.lines.intern(&[Line(line)]), encoder.state(StateKind::Set)]
}

/// `-j SET`: the line of its parameters.
pub(super) fn change(encoder: &mut Encoder<'_>, change: &SetChange) -> Result<u32, &'static str> {
    if change.queue {
        return Err("-j SET --map-queue can't be run, since a queue is chosen behind programs");
    }
    let mut stored =
        |set: &Option<NamedSet>| set.as_ref().map_or([0; 2], |set| store(encoder, &params(&set.name, &set.sources)));
    let ([add, add_state], [del, del_state]) = (stored(&change.add), stored(&change.del));
    let [map, map_state] = stored(&change.map);
    let on = |asked: bool, bit: u32| if asked { bit } else { 0 };
    let flags = on(change.exist, SET_EXIST)
        | on(change.timeout.is_some(), SET_TIMEOUT)
        | on(change.mark, SET_MAP_MARK)
        | on(change.priority, SET_MAP_PRIORITY);
    let timeout = change.timeout.unwrap_or_default();
    let target = SetTarget { add, add_state, del, del_state, map, map_state, flags, timeout };
    let words: [u32; 8] = zerocopy::transmute!(target);
    Ok(encoder.lines.intern_words(&words))
}
