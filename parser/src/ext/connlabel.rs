//! `-m connlabel`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value::c_unsigned_any;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Connlabel;
use bpftables_ruleset::matches::connlabel::NO_LABEL_NAMES;
use bpftables_ruleset::names::NumberNames;

const LABEL: u8 = 0;

static SPEC: Spec = Spec {
    name: "connlabel",
    options: &[Opt::value("label", LABEL).mandatory().invertible(), Opt::flag("set", 1)],
    checked: true,
    help: "\
connlabel match options:
[!] --label name     the connection has this label
    --set            give it the label
",
};

impl Extension for Connlabel {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        if id != LABEL {
            self.set = true;
            return Ok(());
        }
        if arg.is_empty() {
            return Err(ParseError::parameter("Argument must have a minimum length of 1 characters\n"));
        }
        let labels = cx.names.number_names(NumberNames::ConnectionLabels);
        let number = match c_unsigned_any(arg) {
            (number, "") if number <= i32::MAX as u32 => Some(number),
            _ => labels.iter().flatten().find(|(_, name)| name == arg).map(|(number, _)| *number),
        };
        let Some(number) = number else {
            if labels.is_none() {
                cx.notices.push(NO_LABEL_NAMES.to_owned());
            }
            return Err(ParseError::Parameter(format!("label '{arg}' not found or invalid value")));
        };
        #[expect(clippy::cast_possible_truncation, reason = "as C stores it in 16 bits")]
        let bit = number as u16;
        let known = labels.iter().flatten().find(|(number, _)| *number == u32::from(bit));
        self.name = known.map(|(_, name)| name.as_str().into());
        (self.bit, self.invert) = (bit, invert);
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Connlabel(self.clone()))
    }
}
