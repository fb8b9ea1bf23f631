//! `-m u32`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::{blanks, narrow};
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::U32;
use bpftables_ruleset::matches::u32_test::{MAX, U32Operator, U32Test};

static SPEC: Spec = Spec {
    name: "u32",
    options: &[Opt::value("u32", 0).mandatory().invertible()],
    checked: true,
    help: "\
u32 match options:
[!] --u32 tests
\t\ttests := location \"=\" value | tests \"&&\" location \"=\" value
\t\tvalue := range | value \",\" range
\t\trange := number | number \":\" number
\t\tlocation := number | location operator number
\t\toperator := \"&\" | \"<<\" | \">>\" | \"@\"
",
};

/// What is left of a text, with its place for messages.
struct Rest<'t> {
    text: &'t str,
    left: &'t str,
}

impl<'t> Rest<'t> {
    fn at(&self) -> usize {
        self.text.len() - self.left.len()
    }

    fn error(&self, what: &str) -> ParseError {
        ParseError::Parameter(format!("u32: at char {}: {what}", self.at()))
    }

    fn skip_blanks(&mut self) {
        if let Ok((left, _)) = blanks(self.left) {
            self.left = left;
        }
    }

    fn take(&mut self, sign: char) -> bool {
        let after = self.left.strip_prefix(sign);
        self.left = after.unwrap_or(self.left);
        after.is_some()
    }

    /// The second character of an operator of two.
    fn again(&mut self, sign: char) -> Result<(), ParseError> {
        if self.take(sign) { Ok(()) } else { Err(self.error(&format!("a second '{sign}' was expected"))) }
    }

    fn number(&mut self) -> Result<u32, ParseError> {
        let (left, number) = narrow(self.left).map_err(|_| self.error("not a number or out of range"))?;
        self.left = left;
        Ok(number)
    }

    fn operator(&mut self) -> Result<U32Operator, ParseError> {
        if self.take('&') {
            return Ok(U32Operator::And);
        }
        if self.take('<') {
            self.again('<')?;
            return Ok(U32Operator::Left);
        }
        if self.take('>') {
            self.again('>')?;
            return Ok(U32Operator::Right);
        }
        if self.take('@') { Ok(U32Operator::At) } else { Err(self.error("operator expected")) }
    }
}

/// Everything up to the equals sign.
fn location(rest: &mut Rest<'_>) -> Result<(u32, Vec<(U32Operator, u32)>), ParseError> {
    let mut start = None;
    let mut steps = Vec::new();
    loop {
        rest.skip_blanks();
        if rest.left.is_empty() {
            return Err(ParseError::parameter("u32: abrupt end of input after location specifier"));
        }
        if rest.left.starts_with('=') {
            let start = start.ok_or_else(|| rest.error("location spec missing"))?;
            rest.take('=');
            return Ok((start, steps));
        }
        if start.is_none() {
            start = Some(rest.number()?);
            continue;
        }
        let operator = rest.operator()?;
        steps.push((operator, rest.number()?));
        if steps.len() >= MAX {
            // The first number counts as one.
            return Err(rest.error("too many operators"));
        }
    }
}

/// The values; true: another test follows.
fn values(rest: &mut Rest<'_>, values: &mut Vec<(u32, u32)>) -> Result<bool, ParseError> {
    loop {
        rest.skip_blanks();
        if rest.left.is_empty() {
            if values.is_empty() {
                return Err(ParseError::parameter("u32: test ended with no value specified"));
            }
            return Ok(false);
        }
        if rest.take('&') {
            if !rest.left.starts_with('&') {
                return Err(rest.error("a second '&' was expected"));
            }
            if values.is_empty() {
                return Err(rest.error("value spec missing"));
            }
            return Ok(true);
        }
        if !values.is_empty() && !rest.take(',') {
            return Err(rest.error("expected \",\" or \"&&\""));
        }
        let lo = rest.number()?;
        rest.skip_blanks();
        let hi = if rest.take(':') { rest.number()? } else { lo };
        values.push((lo, hi));
        if values.len() > MAX {
            return Err(rest.error("too many \",\"s"));
        }
    }
}

impl Extension for U32 {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, _: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        self.invert = invert;
        let mut rest = Rest { text: arg, left: arg };
        loop {
            let (start, steps) = location(&mut rest)?;
            let mut test = U32Test { start, steps, values: Vec::new() };
            let more = values(&mut rest, &mut test.values)?;
            self.tests.push(test);
            if self.tests.len() > MAX {
                return Err(rest.error("too many \"&&\"s"));
            }
            if !more {
                return Ok(());
            }
            rest.take('&');
        }
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::U32(self.clone()))
    }
}
