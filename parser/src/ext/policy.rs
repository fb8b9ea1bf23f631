//! `-m policy`.

use super::{Cx, Extension, Opt, Spec, ranged_u32};
use crate::error::ParseError;
use crate::value::{host_mask, protocol};
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Policy;
use bpftables_ruleset::matches::policy::{MAX_ELEMENTS, PolicyElement};

const DIRECTION: u8 = 0;
const POLICY: u8 = 1;
const STRICT: u8 = 2;
const REQID: u8 = 3;
const SPI: u8 = 4;
const PROTOCOL: u8 = 5;
const MODE: u8 = 6;
const SOURCE: u8 = 7;
const DESTINATION: u8 = 8;

static SPEC: Spec = Spec {
    name: "policy",
    options: &[
        Opt::value("dir", DIRECTION),
        Opt::value("pol", POLICY),
        Opt::flag("strict", STRICT),
        Opt::value("reqid", REQID).multi().invertible(),
        Opt::value("spi", SPI).multi().invertible(),
        Opt::value("tunnel-src", SOURCE).multi().invertible(),
        Opt::value("tunnel-dst", DESTINATION).multi().invertible(),
        Opt::value("proto", PROTOCOL).multi().invertible(),
        Opt::value("mode", MODE).multi().invertible(),
        Opt::flag("next", 9).multi().requires(1 << STRICT),
    ],
    checked: true,
    help: "\
policy match options:
  --dir in|out\t\t\tthe policy by which the packet came, or
\t\t\t\tby which it will go
  --pol none|ipsec\t\tno policy, or one
  --strict \t\t\tthe whole policy, not one element
\t\t\t\tanywhere in it
Elements of the policy, for which these may be repeated:
[!] --reqid reqid\t\tthe request's id
[!] --spi spi\t\t\tthe SPI
[!] --proto proto\t\tthe protocol (ah/esp/ipcomp)
[!] --mode mode \t\tthe mode (transport/tunnel)
[!] --tunnel-src addr/mask\tthe tunnel's source
[!] --tunnel-dst addr/mask\tthe tunnel's destination
  --next \t\t\tthe next element begins
",
};

/// Reads `-m policy`.
#[derive(Debug)]
pub(crate) struct PolicyBuilder {
    info: Policy,
    element: PolicyElement,
}

impl Default for PolicyBuilder {
    fn default() -> Self {
        let info = Policy { inward: false, outward: false, none: false, strict: false, elements: Vec::new() };
        Self { info, element: PolicyElement::default() }
    }
}

/// A part of an element that must not be there yet.
fn once<T>(part: &mut Option<T>, value: T, option: &str) -> Result<(), ParseError> {
    if part.is_some() {
        return Err(ParseError::Parameter(format!("policy match: double --{option} option")));
    }
    *part = Some(value);
    Ok(())
}

fn is_empty(element: &PolicyElement) -> bool {
    *element == PolicyElement::default()
}

impl PolicyBuilder {
    fn elements(&self) -> Vec<PolicyElement> {
        let mut elements = self.info.elements.clone();
        if !self.info.none {
            elements.push(self.element.clone());
        }
        elements
    }
}

impl Extension for PolicyBuilder {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let (info, element) = (&mut self.info, &mut self.element);
        match id {
            DIRECTION => match arg {
                "in" => info.inward = true,
                "out" => info.outward = true,
                _ => return Err(ParseError::Parameter(format!("policy_match: invalid dir \"{arg}\""))),
            },
            POLICY => match arg {
                "none" => info.none = true,
                "ipsec" => {}
                _ => return Err(ParseError::Parameter(format!("policy match: invalid policy \"{arg}\""))),
            },
            STRICT => info.strict = true,
            REQID => {
                let reqid = ranged_u32("policy", "reqid", arg, 0, u32::MAX)?;
                once(&mut element.reqid, (reqid, invert), "reqid")?;
            }
            SPI => once(&mut element.spi, (ranged_u32("policy", "spi", arg, 0, u32::MAX)?, invert), "spi")?,
            SOURCE => {
                let (addr, mask) = host_mask(arg, "policy", "tunnel-src", cx.family, cx.names)?;
                once(&mut element.source, (addr, mask, invert), "tunnel-src")?;
            }
            DESTINATION => {
                let (addr, mask) = host_mask(arg, "policy", "tunnel-dst", cx.family, cx.names)?;
                once(&mut element.destination, (addr, mask, invert), "tunnel-dst")?;
            }
            PROTOCOL => {
                let number = protocol(arg, cx.names)?;
                let name = cx.names.protocol_name(number).map(String::into_boxed_str);
                once(&mut element.protocol, (number, name, invert), "proto")?;
                if !matches!(number, 50 | 51 | 108) {
                    return Err(ParseError::parameter("policy match: protocol must be ah/esp/ipcomp"));
                }
            }
            MODE => {
                let tunnel = match arg {
                    "transport" => Ok(false),
                    "tunnel" => Ok(true),
                    _ => Err(ParseError::Parameter(format!("policy match: invalid mode \"{arg}\""))),
                };
                once(&mut element.tunnel, (false, invert), "mode")?;
                element.tunnel = Some((tunnel?, invert));
            }
            _ => {
                info.elements.push(std::mem::take(element));
                if info.elements.len() == MAX_ELEMENTS {
                    return Err(ParseError::parameter("policy match: maximum policy depth reached"));
                }
            }
        }
        Ok(())
    }

    fn check(&self, _: u32) -> Result<(), ParseError> {
        let info = &self.info;
        if !info.inward && !info.outward {
            return Err(ParseError::parameter("policy match: neither --dir in nor --dir out specified"));
        }
        if info.none && info.strict {
            return Err(ParseError::parameter("policy match: policy none but --strict given"));
        }
        if info.none && !info.elements.is_empty() {
            return Err(ParseError::parameter("policy match: policy none but policy given"));
        }
        for (index, element) in self.elements().iter().enumerate() {
            if info.strict && is_empty(element) {
                return Err(ParseError::Parameter(format!(
                    "policy match: empty policy element {index}. --strict is in effect, but at least one of reqid, spi, \
                     tunnel-src, tunnel-dst, proto or mode is required."
                )));
            }
            let (tunnel, invert) = element.tunnel.unwrap_or((false, false));
            if (element.source.is_some() || element.destination.is_some()) && tunnel == invert {
                return Err(ParseError::parameter(
                    "policy match: --tunnel-src/--tunnel-dst is only valid in tunnel mode",
                ));
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Policy(Box::new(Policy { elements: self.elements(), ..self.info.clone() })))
    }
}
