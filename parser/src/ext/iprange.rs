//! `-m iprange`.

use super::{Cx, Extension, Opt, Spec, bad_value};
use crate::error::ParseError;
use crate::value::numeric_address;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Iprange;
use bpftables_ruleset::matches::iprange::AddressRange;

const SOURCE: u8 = 0;

static SPEC: Spec = Spec {
    name: "iprange",
    options: &[Opt::value("src-range", SOURCE).invertible(), Opt::value("dst-range", 1).invertible()],
    checked: true,
    help: "\
iprange match options:
[!] --src-range ip[-ip]    the source address, one or a range
[!] --dst-range ip[-ip]    the destination address, one or a range
",
};

fn range(text: &str, option: &str, invert: bool, cx: &mut Cx<'_, '_>) -> Result<AddressRange, ParseError> {
    let bound = |text: &str| numeric_address(text, cx.family).ok_or_else(|| bad_value("iprange", option, text));
    let Some((first, last)) = text.split_once('-') else {
        let addr = bound(text)?;
        return Ok((addr, addr, invert));
    };
    let (lo, hi) = (bound(first)?, bound(last)?);
    if lo > hi {
        cx.notices.push(format!("xt_iprange: range {first}-{last} is reversed and will never match"));
    }
    Ok((lo, hi, invert))
}

impl Extension for Iprange {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        if id == SOURCE {
            self.source = Some(range(arg, "src-range", invert, cx)?);
        } else {
            self.destination = Some(range(arg, "dst-range", invert, cx)?);
        }
        Ok(())
    }

    fn check(&self, seen: u32) -> Result<(), ParseError> {
        if seen == 0 {
            return Err(ParseError::parameter("iprange match: You must specify `--src-range' or `--dst-range'"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Iprange(Box::new(self.clone())))
    }
}
