//! `-m set`.

use super::{Encoder, ZERO, inv};
use crate::image::{Line, StateKind};
use bpftables_abi::ops::{Op, SET_RETURN_NOMATCH, SetParams, op};
use bpftables_ruleset::matches::Set;
use bpftables_ruleset::matches::set::SetComparison;
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
    let mut name = [0; 32];
    let len = s.name.len().min(name.len() - 1);
    name[..len].copy_from_slice(&s.name.as_bytes()[..len]);
    let sides = s.sources.iter().enumerate().fold(0, |sides, (at, source)| sides | u8::from(*source) << at);
    let params = SetParams {
        name,
        packets,
        bytes,
        packets_op,
        bytes_op,
        dim: s.sources.len() as u8,
        sides,
        flags: if s.return_nomatch { SET_RETURN_NOMATCH } else { 0 },
        pad: [0; 3],
    };
    let mut line = [0; 64];
    line[..size_of::<SetParams>()].copy_from_slice(params.as_bytes());
    let b = encoder.lines.intern(&[Line(line)]);
    let c = encoder.state(StateKind::Set);
    Op { op: op::SET, flags: inv(s.invert), b, c, ..ZERO }
}
