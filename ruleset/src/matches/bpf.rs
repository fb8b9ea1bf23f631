//! `-m bpf`: a program of BPF that says yes or no (xt_bpf.c, rev 1).

use crate::check::{Place, Problem, need};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m bpf`: a program of BPF that says yes or no (xt_bpf.c, rev 1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bpf {
    /// What is run.
    pub program: BpfProgram,
}

/// Where the program is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BpfProgram {
    /// `--bytecode`: classic BPF, 1 to 64 instructions.
    Classic(Vec<BpfInstruction>),
    /// `--object-pinned`: a path of at most [`MAX_PATH`] bytes; the kernel opens it at every commit of the table.
    Pinned(Box<str>),
}

/// An instruction (`struct sock_filter`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BpfInstruction {
    /// What it does.
    pub code: u16,
    /// Where to go on if it is true.
    pub jt: u8,
    /// Where to go on if it is false.
    pub jf: u8,
    /// Its number.
    pub k: u32,
}

/// The most instructions.
pub const MAX_INSTRUCTIONS: usize = 64;

/// The longest path, in bytes.
pub const MAX_PATH: usize = 511;

fn write(program: &[BpfInstruction], out: &mut dyn fmt::Write) -> fmt::Result {
    for (index, BpfInstruction { code, jt, jf, k }) in program.iter().enumerate() {
        write!(out, "{}{code} {jt} {jf} {k}", if index == 0 { "" } else { "," })?;
    }
    Ok(())
}

/// Instructions as the kernel looks at them.
struct Classic<'p>(&'p [BpfInstruction]);

impl Classic<'_> {
    /// Whether the kernel takes the instruction at `at`.
    fn allows(&self, at: usize, i: BpfInstruction) -> bool {
        const ANCILLARY: u32 = 0xffff_f000;
        let left = self.0.len() - at - 1;
        let fits = |step: u8| usize::from(step) < left;
        match i.code {
            // Loads from the packet; far up there are things about the packet, in steps of four.
            0x20 | 0x28 | 0x30 => i.k < ANCILLARY || (i.k <= ANCILLARY + 64 && i.k.is_multiple_of(4)),
            0x40 | 0x48 | 0x50 | 0x80 | 0x00 | 0x81 | 0xb1 | 0x01 => true,
            // Words of the program's own memory.
            0x60 | 0x61 | 0x02 | 0x03 => i.k < 16,
            // Division, and shifts.
            0x34 | 0x94 => i.k != 0,
            0x64 | 0x74 => i.k < 32,
            0x04 | 0x14 | 0x24 | 0x44 | 0x54 | 0xa4 | 0x84 => true,
            0x0c | 0x1c | 0x2c | 0x3c | 0x4c | 0x5c | 0x6c | 0x7c | 0x9c | 0xac => true,
            0x05 => usize::try_from(i.k).is_ok_and(|step| step < left),
            0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d => fits(i.jt) && fits(i.jf),
            0x06 | 0x16 | 0x07 | 0x87 => true,
            _ => false,
        }
    }

    /// Whether each word of memory is written before it is read, whatever way is taken.
    fn memory_is_written(&self) -> bool {
        let mut written = vec![u16::MAX; self.0.len() + 1];
        let mut now = 0;
        for (at, i) in self.0.iter().enumerate() {
            now &= written[at];
            let mut reach = |step: usize, now: u16| {
                if let Some(there) = written.get_mut(at + 1 + step) {
                    *there &= now;
                }
            };
            match i.code {
                0x02 | 0x03 => now |= 1 << (i.k % 16),
                0x60 | 0x61 if now & (1 << (i.k % 16)) == 0 => return false,
                0x05 => {
                    reach(i.k as usize, now);
                    now = u16::MAX;
                }
                0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d => {
                    reach(i.jt.into(), now);
                    reach(i.jf.into(), now);
                    now = u16::MAX;
                }
                _ => {}
            }
        }
        true
    }

    fn is_valid(&self) -> bool {
        let returns = self.0.last().is_some_and(|last| matches!(last.code, 0x06 | 0x16));
        returns && self.0.iter().enumerate().all(|(at, i)| self.allows(at, *i)) && self.memory_is_written()
    }
}

impl Text for Bpf {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match &self.program {
            BpfProgram::Classic(program) => {
                write!(out, " --bytecode \"{},", program.len())?;
                write(program, out)?;
                out.write_char('"')
            }
            BpfProgram::Pinned(path) => write!(out, " --object-pinned {path}"),
        }
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("match bpf ")?;
        match &self.program {
            BpfProgram::Classic(program) => {
                write(program, out)?;
                // Legacy ends it with a zero byte here.
                out.write_char('\0')
            }
            BpfProgram::Pinned(path) => write!(out, "pinned {path}"),
        }
    }
}

impl MatchKind for Bpf {
    fn check(&self, _: Place) -> Result<(), Problem> {
        match &self.program {
            BpfProgram::Classic(program) => need(Classic(program).is_valid(), "no valid program"),
            BpfProgram::Pinned(_) => Ok(()),
        }
    }
}
