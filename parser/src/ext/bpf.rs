//! `-m bpf`.

use super::{Cx, Extension, Opt, Spec, cut};
use crate::error::ParseError;
use crate::value::c_unsigned;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Bpf;
use bpftables_ruleset::matches::bpf::{BpfInstruction, BpfProgram, MAX_INSTRUCTIONS, MAX_PATH};

const BYTECODE: u8 = 0;

static SPEC: Spec = Spec {
    name: "bpf",
    options: &[Opt::value("bytecode", BYTECODE), Opt::value("object-pinned", 1)],
    checked: true,
    help: "\
bpf match options:
--bytecode <program>\t        : a classic BPF program, as made by
                                 $(nfbpf_compile RAW '<filter>')
--object-pinned <bpf object>\t: the path of a pinned program of BPF
",
};

fn error(text: &str) -> ParseError {
    ParseError::Parameter(format!("bpf: {text}"))
}

fn none_or_both() -> ParseError {
    error("one of --bytecode or --pinned is required")
}

/// A number, and the rest, if there is one.
fn number(text: &str) -> Option<(u32, &str)> {
    let (number, rest) = c_unsigned(text);
    (rest.len() < text.len()).then_some((number, rest))
}

/// Four numbers; what follows them is not looked at.
#[expect(clippy::cast_possible_truncation, reason = "as C scans them")]
fn instruction(text: &str) -> Option<BpfInstruction> {
    let (code, rest) = number(text)?;
    let (jt, rest) = number(rest)?;
    let (jf, rest) = number(rest)?;
    let (k, _) = number(rest)?;
    Some(BpfInstruction { code: code as u16, jt: jt as u8, jf: jf as u8, k })
}

/// `LENGTH,CODE JT JF K[,...]`.
fn program(text: &str) -> Result<Vec<BpfInstruction>, ParseError> {
    let length = number(text).and_then(|(length, rest)| Some((length, rest.strip_prefix(',')?)));
    let (length, mut rest) = length.ok_or_else(|| error("error parsing program length"))?;
    #[expect(clippy::cast_possible_truncation, reason = "as C scans it")]
    let length = usize::from(length as u16);
    if length == 0 {
        return Err(error("illegal zero length program"));
    }
    if length > MAX_INSTRUCTIONS {
        return Err(error("number of instructions exceeds maximum"));
    }
    let mut program = Vec::with_capacity(length);
    while !rest.is_empty() {
        if program.len() >= length {
            return Err(error("real program length exceeds the encoded length parameter"));
        }
        let next = instruction(rest).ok_or_else(|| error(&format!("error at instr {}", program.len())))?;
        program.push(next);
        rest = rest.split_once(',').map_or("", |(_, rest)| rest);
    }
    if program.len() != length {
        return Err(error("parsed program length is less than the encoded length parameter"));
    }
    Ok(program)
}

/// Reads `-m bpf`.
#[derive(Debug, Default)]
pub(crate) struct BpfBuilder {
    program: Option<BpfProgram>,
}

impl Extension for BpfBuilder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        self.program = Some(match id {
            BYTECODE => BpfProgram::Classic(program(arg)?),
            _ if cx.names.has_pinned_object(arg) => BpfProgram::Pinned(cut(arg, MAX_PATH)),
            _ => return Err(error("failed to get bpf object")),
        });
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen.count_ones() == 1 { Ok(()) } else { Err(none_or_both()) }
    }

    fn finish(&self) -> Result<Match, ParseError> {
        self.program.clone().map(|program| Match::Bpf(Bpf { program })).ok_or_else(none_or_both)
    }
}
