//! Matches that read through a packet: `-m string` and classic programs of `-m bpf`.

use super::{ZERO, inv};
use crate::image::Line;
use crate::lines::Lines;
use bpftables_abi::ops::{Op, op};
use bpftables_ruleset::eval::upper;
use bpftables_ruleset::matches::StringMatch;
use bpftables_ruleset::matches::bpf::BpfInstruction;

/// Why a pattern cannot be searched for.
fn refusal(m: &StringMatch) -> Option<&'static str> {
    // What the kernel's Boyer-Moore passes over in a text, it knows by the lower case of the pattern's bytes, which these do not have.
    let odd = m.ignore_case && m.pattern.iter().any(|byte| matches!(byte, 0xbf | 0xdf | 0xff));
    match &*m.algorithm {
        _ if m.pattern.is_empty() => Some("-m string can't be run without a string"),
        "kmp" => None,
        "bm" if odd => Some("-m string --algo bm --icase can't be run with the bytes bf, df and ff"),
        "bm" => None,
        _ => Some("-m string can't be run with other algorithms than bm and kmp"),
    }
}

/// How long a match goes on, for each byte of the pattern, where the byte behind it does not fit.
fn back(pattern: &[u8]) -> Vec<u8> {
    let mut table = vec![0u8; pattern.len()];
    let mut matched = 0usize;
    for at in 1..pattern.len() {
        while matched > 0 && pattern[matched] != pattern[at] {
            matched = table[matched - 1].into();
        }
        matched += usize::from(pattern[matched] == pattern[at]);
        table[at] = matched as u8;
    }
    table
}

/// The op of `-m string`, or why not.
pub(super) fn string(m: &StringMatch, lines: &mut Lines) -> Result<Op, &'static str> {
    if let Some(reason) = refusal(m) {
        return Err(reason);
    }
    let case = |byte: &u8| if m.ignore_case { upper(*byte) } else { *byte };
    let mut pattern: Vec<u8> = m.pattern.iter().map(case).collect();
    let mut table = back(&pattern);
    let mut content = vec![Line::ZERO; 5];
    for (place, word) in [pattern.len() as u32, m.ignore_case.into(), m.from.into(), m.to.into()].iter().enumerate() {
        content[0].0[place * 4..place * 4 + 4].copy_from_slice(&word.to_le_bytes());
    }
    pattern.resize(128, 0);
    table.resize(128, 0);
    for (line, bytes) in content[1..].iter_mut().zip([pattern, table].concat().chunks_exact(64)) {
        line.0.copy_from_slice(bytes);
    }
    Ok(Op { op: op::STRING, flags: inv(m.invert), b: lines.intern(&content), ..ZERO })
}

/// The op of a classic program, or why not.
pub(super) fn bpf(program: &[BpfInstruction], lines: &mut Lines) -> Result<Op, &'static str> {
    // Down from there offsets are from the network header, further down from the link header.
    const NETWORK: u32 = 0xfff0_0000;
    const LINK: u32 = 0xffe0_0000;
    const ANCILLARY: u32 = 0xffff_f000;
    for i in program {
        let absolute = matches!(i.code, 0x20 | 0x28 | 0x30 | 0xb1);
        if absolute && i.k >= ANCILLARY {
            return Err("-m bpf can't be run with a program that asks for what is not in the packet");
        }
        if absolute && (LINK..NETWORK).contains(&i.k) {
            return Err("-m bpf can't be run with a program that asks for the link header");
        }
    }
    let content: Vec<Line> = program
        .chunks(8)
        .map(|eight| {
            let mut line = Line::ZERO;
            for (place, i) in line.0.chunks_exact_mut(8).zip(eight) {
                place[..2].copy_from_slice(&i.code.to_le_bytes());
                place[2..4].copy_from_slice(&[i.jt, i.jf]);
                place[4..].copy_from_slice(&i.k.to_le_bytes());
            }
            line
        })
        .collect();
    Ok(Op { op: op::BPF, a: program.len() as u16, b: lines.intern(&content), ..ZERO })
}
