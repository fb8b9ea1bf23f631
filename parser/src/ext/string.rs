//! `-m string`.

use super::{Cx, Extension, Opt, Spec, cut, ranged};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::StringMatch;

const FROM: u8 = 0;
const TO: u8 = 1;
const ALGORITHM: u8 = 2;
const IGNORE_CASE: u8 = 3;
const STRING: u8 = 4;
const HEX: u8 = 5;

/// The longest pattern and the longest name of an algorithm, in bytes.
const MAX_PATTERN: usize = 128;
const MAX_ALGORITHM: usize = 15;

static SPEC: Spec = Spec {
    name: "string",
    options: &[
        Opt::value("from", FROM),
        Opt::value("to", TO),
        Opt::value("algo", ALGORITHM).mandatory(),
        Opt::value("string", STRING).excludes(1 << HEX).invertible(),
        Opt::value("hex-string", HEX).excludes(1 << STRING).invertible(),
        Opt::flag("icase", IGNORE_CASE),
    ],
    checked: true,
    help: "\
string match options:
--from                       where the search begins
--to                         where the search ends
--algo                       algorithm (bm, kmp)
--icase                      upper and lower case are the same
[!] --string string          the packet contains this
[!] --hex-string string      the same, with |hexadecimal| parts
",
};

fn error(text: &str) -> ParseError {
    ParseError::parameter(text)
}

fn too_long(text: &str) -> ParseError {
    ParseError::Parameter(format!("STRING too long \"{text}\""))
}

/// The hexadecimal byte at `at`, and where the text goes on after it and a space.
fn hex_byte(bytes: &[u8], at: usize) -> Result<(u8, usize), ParseError> {
    let digit = |byte: u8| {
        let digit = char::from(byte).to_digit(16);
        digit.ok_or_else(|| ParseError::Parameter(format!("Invalid hex char '{}'", char::from(byte))))
    };
    let [high, low, next] = match bytes.get(at..).unwrap_or_default() {
        [high, low, next, ..] => [*high, *low, *next],
        [_, _] => return Err(error("Invalid hex block")),
        _ => return Err(error("Odd number of hex digits")),
    };
    let value = digit(high)? << 4 | digit(low)?;
    Ok((value as u8, at + if next == b' ' { 3 } else { 2 }))
}

/// A text with `\\` before literal bytes and `|...|` around hexadecimal ones.
fn hex_pattern(text: &str) -> Result<Vec<u8>, ParseError> {
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return Err(error("STRING must contain at least one char"));
    }
    let (mut pattern, mut at, mut hex) = (Vec::new(), 0, false);
    while at < bytes.len() {
        if pattern.len() >= MAX_PATTERN {
            return Err(too_long(text));
        }
        let mut literal = false;
        match bytes[at] {
            b'\\' if hex => return Err(error("Cannot include literals in hex data")),
            b'\\' => literal = true,
            b'|' => {
                hex = !hex;
                while hex && bytes.get(at + 1) == Some(&b' ') {
                    at += 1;
                }
                if at + 1 >= bytes.len() {
                    break;
                }
                at += 1;
            }
            _ => {}
        }
        if literal {
            let byte = bytes.get(at + 1).ok_or_else(|| error("Bad literal placement at end of string"))?;
            pattern.push(*byte);
            at += 2;
        } else if hex {
            let byte;
            (byte, at) = hex_byte(bytes, at)?;
            pattern.push(byte);
        } else {
            pattern.push(bytes[at]);
            at += 1;
        }
    }
    Ok(pattern)
}

impl Extension for StringMatch {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        match id {
            FROM => self.from = ranged("string", "from", arg, 0, u16::MAX)?,
            TO => self.to = ranged("string", "to", arg, 0, u16::MAX)?,
            ALGORITHM => self.algorithm = cut(arg, MAX_ALGORITHM),
            IGNORE_CASE => self.ignore_case = true,
            STRING if arg.len() > MAX_PATTERN => return Err(too_long(arg)),
            STRING => self.pattern = arg.as_bytes().into(),
            _ => self.pattern = hex_pattern(arg)?.into(),
        }
        self.invert |= invert;
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen & (1 << STRING | 1 << HEX) == 0 {
            return Err(error("STRING match: You must specify `--string' or `--hex-string'"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::String(Box::new(self.clone())))
    }
}
