//! `-m u32`: words of a packet, picked out and compared (xt_u32.c).

use crate::check::{Place, Problem, need};
use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `-m u32`: words of a packet, picked out and compared (xt_u32.c).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct U32 {
    /// All must hold.
    pub tests: Vec<U32Test>,
    /// `!`.
    pub invert: bool,
}

/// One test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct U32Test {
    /// Where the first word is.
    pub start: u32,
    /// What is done with it, in order.
    pub steps: Vec<(U32Operator, u32)>,
    /// The ranges of which one must hold the result, inclusive.
    pub values: Vec<(u32, u32)>,
}

/// What is done with a word and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum U32Operator {
    /// `&`.
    And,
    /// `<<`.
    Left,
    /// `>>`.
    Right,
    /// `@`: go on with the word at this offset from the place that the word so far says.
    At,
}

/// The most tests, steps and values that the kernel takes.
pub const MAX: usize = 10;

impl U32 {
    fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(" \"")?;
        for (index, test) in self.tests.iter().enumerate() {
            write!(out, "{}0x{:x}", if index == 0 { "" } else { "&&" }, test.start)?;
            for (operator, number) in &test.steps {
                let sign = match operator {
                    U32Operator::And => "&",
                    U32Operator::Left => "<<",
                    U32Operator::Right => ">>",
                    U32Operator::At => "@",
                };
                write!(out, "{sign}0x{number:x}")?;
            }
            let mut separator = '=';
            for (lo, hi) in &test.values {
                write!(out, "{separator}0x{lo:x}")?;
                if lo != hi {
                    write!(out, ":0x{hi:x}")?;
                }
                separator = ',';
            }
        }
        out.write_char('"')
    }
}

impl Text for U32 {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} --u32", not(self.invert))?;
        self.write(out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, " u32{}", not(self.invert))?;
        self.write(out)
    }
}

impl MatchKind for U32 {
    fn check(&self, _: Place) -> Result<(), Problem> {
        let fits = |test: &U32Test| test.steps.len() < MAX && test.values.len() <= MAX;
        need(self.tests.len() <= MAX && self.tests.iter().all(fits), "u32 takes ten tests, steps and values")?;
        let shifts = |(operator, _): &&(U32Operator, u32)| matches!(operator, U32Operator::Left | U32Operator::Right);
        let mut shifts = self.tests.iter().flat_map(|test| test.steps.iter().filter(shifts));
        need(shifts.all(|(_, bits)| *bits < 32), "u32 shifts by less than 32 bits")
    }
}
