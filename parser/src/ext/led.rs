//! `-j LED`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use crate::value;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Led;

const ID: u8 = 0;
const DELAY: u8 = 1;

static SPEC: Spec = Spec {
    name: "LED",
    options: &[
        Opt::value("led-trigger-id", ID).mandatory(),
        Opt::value("led-delay", DELAY),
        Opt::flag("led-always-blink", 2),
    ],
    checked: true,
    help: "\
LED target options:
--led-trigger-id name           what the trigger is called, behind netfilter-
--led-delay ms                  how long the lamp stays on,
                                in milliseconds, or inf.
--led-always-blink              blink for each packet, also
                                while the lamp is on.
",
};

/// Reads `-j LED`.
#[derive(Debug, Default)]
pub(crate) struct LedBuilder {
    led: Led,
}

impl Extension for LedBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn loaded(&self) -> Option<&'static str> {
        Some("Warning: Extension LED revision 0 not supported, missing kernel module?")
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        match id {
            ID if arg.len() > Led::MAX_ID => {
                return Err(ParseError::parameter("Argument must have a maximum length of 16 characters\n"));
            }
            ID => self.led.id = arg.into(),
            DELAY if arg.get(..3).is_some_and(|head| head.eq_ignore_ascii_case("inf")) => self.led.delay = -1,
            DELAY => {
                let delay = value::number(arg, 0, u32::MAX.into()).and_then(|delay| u32::try_from(delay).ok());
                let bad = || ParseError::parameter("Delay value must be within range 0..4294967295");
                self.led.delay = delay.ok_or_else(bad)?.cast_signed();
            }
            _ => self.led.always_blink = true,
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Led(self.led.clone()))
    }
}
