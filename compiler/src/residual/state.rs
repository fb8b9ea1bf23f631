//! Matches that count, or ask how connections are spread.

use super::{Encoder, ZERO, inv};
use crate::error::CompileError;
use crate::image::{Line, StateKind};
use bpftables_abi::ops::{HASHLIMIT_BYTES, HASHLIMIT_RATE_MATCH, LIMIT_DESTINATION, Op, op};
use bpftables_ruleset::matches::{Cluster, Connbytes, ConnbytesDirection, ConnbytesMode, Connlimit, Hashlimit, Quota};
use std::net::IpAddr;

pub(super) fn quota(encoder: &mut Encoder<'_>, q: &Quota) -> Op {
    let b = encoder.state(StateKind::Quota);
    Op { op: op::QUOTA, flags: inv(q.invert), b, c: q.bytes as u32, d: (q.bytes >> 32) as u32, ..ZERO }
}

pub(super) fn cluster(c: &Cluster) -> Op {
    Op { op: op::CLUSTER, flags: inv(c.invert), a: c.total as u16, b: c.mask, c: c.seed, d: 0 }
}

/// The bits of a rule or table that say how it counts.
fn counting(h: &Hashlimit) -> u32 {
    (if h.bytes { HASHLIMIT_BYTES } else { 0 }) | if h.rate_match { HASHLIMIT_RATE_MATCH } else { 0 }
}

pub(super) fn hashlimit(encoder: &Encoder<'_>, h: &Hashlimit) -> Result<Op, CompileError> {
    let Some(table) = encoder.left.hashlimits.get(&h.name) else {
        return Err(CompileError::Internal("a hashlimit table that was not collected".into()));
    };
    Ok(Op { op: op::HASHLIMIT, flags: inv(h.above), a: counting(h) as u16, b: table.id, ..ZERO })
}

pub(super) fn connbytes(encoder: &mut Encoder<'_>, c: &Connbytes) -> Op {
    let mode = match c.mode {
        ConnbytesMode::Packets => 0,
        ConnbytesMode::Bytes => 1,
        ConnbytesMode::AveragePacket => 2,
    };
    let direction = match c.direction {
        ConnbytesDirection::Original => 0,
        ConnbytesDirection::Reply => 1,
        ConnbytesDirection::Both => 2,
    };
    let halves = |bound: u64| [bound as u32, (bound >> 32) as u32];
    let [from, to] = [halves(c.from), halves(c.to)];
    let b = encoder.lines.intern_words(&[from[0], from[1], to[0], to[1]]);
    Op { op: op::CONNBYTES, a: mode | direction << 8, b, ..ZERO }
}

pub(super) fn connlimit(encoder: &mut Encoder<'_>, c: &Connlimit) -> Op {
    let b = encoder.state(StateKind::Connlimit);
    let mut line = [0; 64];
    match c.mask {
        IpAddr::V4(mask) => line[..4].copy_from_slice(&mask.octets()),
        IpAddr::V6(mask) => line[..16].copy_from_slice(&mask.octets()),
    }
    let d = encoder.lines.intern(&[Line(line)]);
    let flags = inv(c.upto) | if c.destination { LIMIT_DESTINATION } else { 0 };
    Op { op: op::CONNLIMIT, flags, b, c: c.limit, d, ..ZERO }
}
