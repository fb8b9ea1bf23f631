//! Matches that read through a packet: `-m string` (`xt_string.c`, `ts_kmp.c`) and classic programs of `-m bpf` (`xt_bpf.c`).

use super::packet::Packet;
use crate::matches::bpf::BpfInstruction;
use crate::matches::string::StringMatch;

/// The upper case of a byte as the kernel has it: Latin-1.
#[must_use]
pub const fn upper(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' | 0xdf..=0xf6 | 0xf8..=0xff => byte - 32,
        _ => byte,
    }
}

fn bytes(packet: &Packet) -> &[u8] {
    packet.data.get(..packet.len()).unwrap_or(&packet.data)
}

/// Whether the pattern stands between `--from` and `--to`, both counted from the network header.
#[must_use]
pub fn string_holds(m: &StringMatch, packet: &Packet) -> bool {
    let data = bytes(packet);
    let case = |byte: &u8| if m.ignore_case { upper(*byte) } else { *byte };
    let pattern: Vec<u8> = m.pattern.iter().map(case).collect();
    let range = usize::from(m.from)..usize::from(m.to).min(data.len());
    let text: Vec<u8> = data.get(range).unwrap_or_default().iter().map(case).collect();
    text.windows(pattern.len().max(1)).any(|window| window == pattern) != m.invert
}

/// What a classic program returns.
#[must_use]
pub fn bpf_holds(program: &[BpfInstruction], packet: &Packet) -> bool {
    run(program, bytes(packet)).is_some_and(|result| result != 0)
}

/// `None`: a load beyond the packet, or a division by nothing.
fn run(program: &[BpfInstruction], data: &[u8]) -> Option<u32> {
    let (mut a, mut x, mut memory, mut at) = (0u32, 0u32, [0u32; 16], 0);
    let load = |from: u32, size: usize| {
        // Offsets far up are from the network header too.
        let from = from.checked_sub(0xfff0_0000).unwrap_or(from) as usize;
        Some(data.get(from..from + size)?.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
    };
    loop {
        let BpfInstruction { code, jt, jf, k } = *program.get(at)?;
        at += 1;
        let by = if code & 8 != 0 { x } else { k };
        let word = k as usize % 16;
        match code {
            0x20 => a = load(k, 4)?,
            0x28 => a = load(k, 2)?,
            0x30 => a = load(k, 1)?,
            0x40 => a = load(x.wrapping_add(k), 4)?,
            0x48 => a = load(x.wrapping_add(k), 2)?,
            0x50 => a = load(x.wrapping_add(k), 1)?,
            0x80 => a = data.len() as u32,
            0x81 => x = data.len() as u32,
            0x00 => a = k,
            0x01 => x = k,
            0x60 => a = memory[word],
            0x61 => x = memory[word],
            0x02 => memory[word] = a,
            0x03 => memory[word] = x,
            0xb1 => x = (load(k, 1)? & 15) * 4,
            0x05 => at += k as usize,
            0x06 => return Some(k),
            0x16 => return Some(a),
            0x07 => x = a,
            0x87 => a = x,
            _ if code & 7 == 5 => {
                let yes = match code & 0xf0 {
                    0x10 => a == by,
                    0x20 => a > by,
                    0x30 => a >= by,
                    _ => a & by != 0,
                };
                at += usize::from(if yes { jt } else { jf });
            }
            _ => {
                a = match code & 0xf0 {
                    0x00 => a.wrapping_add(by),
                    0x10 => a.wrapping_sub(by),
                    0x20 => a.wrapping_mul(by),
                    0x30 => a.checked_div(by)?,
                    0x40 => a | by,
                    0x50 => a & by,
                    0x60 => a << (by & 31),
                    0x70 => a >> (by & 31),
                    0x80 => a.wrapping_neg(),
                    0x90 => a.checked_rem(by)?,
                    _ => a ^ by,
                }
            }
        }
    }
}
