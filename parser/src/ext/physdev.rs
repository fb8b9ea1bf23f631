//! `-m physdev`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Physdev;

const IN: u8 = 0;
const OUT: u8 = 1;
const IS_IN: u8 = 2;
const IS_OUT: u8 = 3;
const IS_BRIDGED: u8 = 4;

/// The longest name of a device, in bytes.
const MAX_NAME: usize = 15;

static SPEC: Spec = Spec {
    name: "physdev",
    options: &[
        Opt::value("physdev-in", IN).invertible(),
        Opt::value("physdev-out", OUT).invertible(),
        Opt::flag("physdev-is-in", IS_IN).invertible(),
        Opt::flag("physdev-is-out", IS_OUT).invertible(),
        Opt::flag("physdev-is-bridged", IS_BRIDGED).invertible(),
    ],
    checked: true,
    help: "\
physdev match options:
 [!] --physdev-in inputname[+]\t\tport of arrival ([+] for anything)
 [!] --physdev-out outputname[+]\tport of departure ([+] for anything)
 [!] --physdev-is-in\t\t\tcame in by a bridge
 [!] --physdev-is-out\t\t\twill leave by a bridge
 [!] --physdev-is-bridged\t\tis bridged, not routed
",
};

fn device(name: &str, notices: &mut Vec<String>) -> Result<Box<str>, ParseError> {
    if name.len() > MAX_NAME {
        return Err(ParseError::Parameter(format!(
            "interface name `{name}' must be shorter than IFNAMSIZ ({MAX_NAME})"
        )));
    }
    if name.contains(['/', ' ']) {
        notices.push(format!(
            "Warning: weird character in interface `{name}' ('/' and ' ' are not allowed by the kernel)."
        ));
    }
    Ok(name.into())
}

impl Extension for Physdev {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        match id {
            IN => self.input = Some((device(arg, cx.notices)?, invert)),
            OUT => self.output = Some((device(arg, cx.notices)?, invert)),
            IS_IN => self.is_in = Some(invert),
            IS_OUT => self.is_out = Some(invert),
            _ => self.is_bridged = Some(invert),
        }
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen == 0 {
            return Err(ParseError::parameter("PHYSDEV: no physdev option specified"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Physdev(Box::new(self.clone())))
    }
}
