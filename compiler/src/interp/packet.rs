//! Ops that stand for one match, back as what they were made of; what those say is the evaluator's matter.

use super::run::Fault;
use super::search::line;
use crate::image::Image;
use bpftables_abi::ops::{INVERT, Op, TimeParams, op, u32_step};
use bpftables_ruleset::eval::{Environment, Packet, time_holds, u32_holds};
use bpftables_ruleset::matches::u32_test::{U32Operator, U32Test};
use bpftables_ruleset::matches::{Time, U32};

/// Whether the op holds.
pub(super) fn check(image: &Image, o: &Op, packet: &Packet, env: &dyn Environment) -> Result<bool, Fault> {
    Ok(match o.op {
        op::U32 => u32_holds(&u32_match(image, o)?, packet),
        op::TIME => time_holds(&time(image, o)?, env.seconds(), env.minutes_west()),
        op::CPU => (env.cpu() == o.b) != (o.flags & INVERT != 0),
        other => return Err(Fault::UnknownCode("op", other.into())),
    })
}

fn u32_match(image: &Image, o: &Op) -> Result<U32, Fault> {
    let mut found = U32 { tests: Vec::new(), invert: o.flags & INVERT != 0 };
    for step in 0..u32::from(o.a) {
        let place = (step as usize % 4) * 16;
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&line(image, o.b + step / 4)?.0[place..place + 16]);
        let s: Op = zerocopy::transmute!(bytes);
        let operator = match s.op {
            u32_step::LOAD => {
                found.tests.push(U32Test { start: s.b, ..U32Test::default() });
                continue;
            }
            u32_step::AND => Some(U32Operator::And),
            u32_step::LEFT => Some(U32Operator::Left),
            u32_step::RIGHT => Some(U32Operator::Right),
            u32_step::AT => Some(U32Operator::At),
            u32_step::RANGE => None,
            other => return Err(Fault::UnknownCode("step of u32", other.into())),
        };
        let Some(test) = found.tests.last_mut() else {
            return Err(Fault::UnknownCode("first step of u32", s.op.into()));
        };
        match operator {
            Some(operator) => test.steps.push((operator, s.b)),
            None => test.values.push((s.b, s.c)),
        }
    }
    Ok(found)
}

fn time(image: &Image, o: &Op) -> Result<Time, Fault> {
    let mut bytes = [0; size_of::<TimeParams>()];
    bytes.copy_from_slice(&line(image, o.b)?.0[..size_of::<TimeParams>()]);
    let p: TimeParams = zerocopy::transmute!(bytes);
    Ok(Time {
        date_start: p.date_start,
        date_stop: p.date_stop,
        day_start: p.day_start,
        day_stop: p.day_stop,
        month_days: p.month_days,
        week_days: p.week_days,
        kernel_zone: p.kernel_zone == 1,
        contiguous: p.contiguous == 1,
    })
}
