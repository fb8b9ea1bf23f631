//! `-m time`.

use super::ZERO;
use crate::image::Line;
use crate::lines::Lines;
use bpftables_abi::ops::{Op, TimeParams, op};
use bpftables_ruleset::matches::Time;
use zerocopy::IntoBytes;

/// The op, and its parameters in a line.
pub(super) fn encode(t: &Time, lines: &mut Lines) -> Op {
    let params = TimeParams {
        date_start: t.date_start,
        date_stop: t.date_stop,
        day_start: t.day_start,
        day_stop: t.day_stop,
        month_days: t.month_days,
        week_days: t.week_days,
        kernel_zone: t.kernel_zone.into(),
        contiguous: t.contiguous.into(),
        pad: 0,
    };
    let mut line = [0; 64];
    line[..size_of::<TimeParams>()].copy_from_slice(params.as_bytes());
    Op { op: op::TIME, b: lines.intern(&[Line(line)]), ..ZERO }
}
