//! `-m bpf`. Pinned objects are not taken: they would have to be opened here.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::c_unsigned;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Bpf;
use bpftables_ruleset::matches::bpf::{BpfInstruction, MAX_INSTRUCTIONS};

const BYTECODE: u8 = 0;

static SPEC: Spec = Spec {
    name: "bpf",
    options: &[Opt::value("bytecode", BYTECODE), Opt::value("object-pinned", 1)],
    checked: true,
    help: "\
bpf match options:
--bytecode <program>\t        : a classic BPF program, as made by
                                 $(nfbpf_compile RAW '<filter>')
--object-pinned <bpf object>\t: the path of a pinned BPF object (not taken here)
",
};

fn error(text: &str) -> ParseError {
    ParseError::Parameter(format!("bpf: {text}"))
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

impl Extension for Bpf {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        if id != BYTECODE {
            if !cx.names.has_pinned_object(arg) {
                return Err(error("failed to get bpf object"));
            }
            return Err(ParseError::UnsupportedOption { extension: "bpf", what: "--object-pinned".to_owned() });
        }
        self.program = program(arg)?;
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen == 0 {
            return Err(error("one of --bytecode or --pinned is required"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Bpf(self.clone()))
    }
}
