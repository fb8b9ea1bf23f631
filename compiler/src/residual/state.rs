//! Matches that count, or ask how connections are spread.

use super::{Encoder, ZERO, inv};
use crate::image::StateKind;
use bpftables_abi::ops::{Op, op};
use bpftables_ruleset::matches::{Cluster, Quota};

pub(super) fn quota(encoder: &mut Encoder<'_>, q: &Quota) -> Op {
    let b = encoder.state(StateKind::Quota);
    Op { op: op::QUOTA, flags: inv(q.invert), b, c: q.bytes as u32, d: (q.bytes >> 32) as u32, ..ZERO }
}

pub(super) fn cluster(c: &Cluster) -> Op {
    Op { op: op::CLUSTER, flags: inv(c.invert), a: c.total as u16, b: c.mask, c: c.seed, d: 0 }
}
