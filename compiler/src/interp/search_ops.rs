//! Ops that read through a packet, back as the matches they were made of; what those say is the evaluator's matter.

use super::run::Fault;
use super::search::line;
use crate::image::Image;
use bpftables_abi::ops::{INVERT, Op, op};
use bpftables_ruleset::eval::{Packet, bpf_holds, string_holds};
use bpftables_ruleset::matches::StringMatch;
use bpftables_ruleset::matches::bpf::BpfInstruction;

/// Whether the op holds.
pub(super) fn check(image: &Image, o: &Op, packet: &Packet) -> Result<bool, Fault> {
    match o.op {
        op::STRING => string(image, o, packet),
        op::BPF => bpf(image, o, packet),
        other => Err(Fault::UnknownCode("op", other.into())),
    }
}

fn string(image: &Image, o: &Op, packet: &Packet) -> Result<bool, Fault> {
    let at = line(image, o.b)?;
    let pattern = [line(image, o.b + 1)?.0, line(image, o.b + 2)?.0].concat();
    let pattern = pattern.get(..at.word(0) as usize).ok_or(Fault::UnknownCode("length of a pattern", at.word(0)))?;
    let m = StringMatch {
        pattern: pattern.into(),
        algorithm: "kmp".into(),
        from: at.word(2) as u16,
        to: at.word(3) as u16,
        ignore_case: at.word(1) == 1,
        invert: o.flags & INVERT != 0,
    };
    Ok(string_holds(&m, packet))
}

fn bpf(image: &Image, o: &Op, packet: &Packet) -> Result<bool, Fault> {
    let mut program = Vec::new();
    for index in 0..u32::from(o.a) {
        let words = line(image, o.b + index / 8)?;
        let (first, k) = (words.word(index as usize % 8 * 2), words.word(index as usize % 8 * 2 + 1));
        let [_, _, jt, jf] = first.to_le_bytes();
        program.push(BpfInstruction { code: first as u16, jt, jf, k });
    }
    Ok(bpf_holds(&program, packet))
}
