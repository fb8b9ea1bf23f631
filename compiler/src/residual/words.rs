//! `-m u32`.

use super::{ZERO, inv};
use crate::lines::{Lines, lines_of_ops};
use bpftables_abi::ops::{Op, op, u32_step};
use bpftables_ruleset::matches::U32;
use bpftables_ruleset::matches::u32_test::U32Operator;

/// The op, and its steps in lines.
pub(super) fn encode(m: &U32, lines: &mut Lines) -> Op {
    let mut steps = Vec::new();
    for test in &m.tests {
        steps.push(Op { op: u32_step::LOAD, b: test.start, ..ZERO });
        for (operator, number) in &test.steps {
            let code = match operator {
                U32Operator::And => u32_step::AND,
                U32Operator::Left => u32_step::LEFT,
                U32Operator::Right => u32_step::RIGHT,
                U32Operator::At => u32_step::AT,
            };
            steps.push(Op { op: code, b: *number, ..ZERO });
        }
        // Without ranges nothing holds.
        let ranges = if test.values.is_empty() { &[(1, 0)][..] } else { &test.values };
        for (index, (lo, hi)) in ranges.iter().enumerate() {
            let last = u16::from(index + 1 == ranges.len());
            steps.push(Op { op: u32_step::RANGE, a: last, b: *lo, c: *hi, ..ZERO });
        }
    }
    let b = if steps.is_empty() { 0 } else { lines.intern(&lines_of_ops(&steps)) };
    Op { op: op::U32, flags: inv(m.invert), a: steps.len() as u16, b, ..ZERO }
}
