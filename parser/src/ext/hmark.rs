//! `-j HMARK`.

use super::{Cx, Extension, Opt, Spec, ranged_u16, ranged_u32};
use crate::error::ParseError;
use crate::value::{self, abbreviates};
use bpftables_ruleset::Family;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Hmark;
use bpftables_ruleset::targets::hmark::IpMask;

const TUPLE: u8 = 0;
const SRC: u8 = 1;
const DST: u8 = 2;
const SPORT_MASK: u8 = 3;
const DPORT_MASK: u8 = 4;
const SPI_MASK: u8 = 5;
const SPORT: u8 = 6;
const DPORT: u8 = 7;
const SPI: u8 = 8;
const PROTO: u8 = 9;
const RND: u8 = 10;
const MOD: u8 = 11;

static SPEC: Spec = Spec {
    name: "HMARK",
    options: &[
        Opt::value("hmark-tuple", TUPLE),
        Opt::value("hmark-src-prefix", SRC),
        Opt::value("hmark-dst-prefix", DST),
        Opt::value("hmark-sport-mask", SPORT_MASK),
        Opt::value("hmark-dport-mask", DPORT_MASK),
        Opt::value("hmark-spi-mask", SPI_MASK),
        Opt::value("hmark-sport", SPORT),
        Opt::value("hmark-dport", DPORT),
        Opt::value("hmark-spi", SPI),
        Opt::value("hmark-proto-mask", PROTO),
        Opt::value("hmark-rnd", RND),
        Opt::value("hmark-mod", MOD).mandatory(),
        Opt::value("hmark-offset", 12),
    ],
    checked: true,
    help: "\
HMARK target options, i.e. modify hash calculation by:
  --hmark-tuple [src|dst|sport|dport|spi|proto|ct][,...]
\t\t\t\twhat is hashed, in full
  --hmark-mod value\t\tso many marks there are
  --hmark-offset value\t\tthe first of them
  --hmark-rnd value\t\twhere the hash begins
  --hmark-src-prefix length\thow much of the source address
  --hmark-dst-prefix length\thow much of the destination address
  --hmark-sport-mask value\twhich bits of the source port
  --hmark-dport-mask value\twhich bits of the destination port
  --hmark-spi-mask value\twhich bits of the SPI of AH and ESP
  --hmark-sport value\t\tbits that are set in the source port
  --hmark-dport value\t\tbits that are set in the destination port
  --hmark-spi value\t\tbits that are set in the SPI
  --hmark-proto-mask value\twhich bits of the protocol
",
};

/// Reads `-j HMARK`.
#[derive(Debug)]
pub(crate) struct HmarkBuilder {
    family: Family,
    hmark: Hmark,
    modulus: bool,
    rnd: bool,
    /// Options that were given twice for legacy: by their name after `--hmark-tuple` had given them.
    tuple: u32,
}

impl HmarkBuilder {
    pub(crate) fn new(family: Family) -> Self {
        Self { family, hmark: Hmark::default(), modulus: false, rnd: false, tuple: 0 }
    }

    /// `WORD[,...]`, the words abbreviated at will.
    fn tuple(&mut self, list: &str) -> Result<(), ParseError> {
        let mut rest = list;
        loop {
            let (word, more) = match rest.split_once(',') {
                Some((word, more)) => (word, Some(more)),
                None => (rest, None),
            };
            if more.is_none() && word.is_empty() {
                return Err(ParseError::parameter(
                    "\"--hmark-tuple\" requires a list of types with no spaces, e.g. src,dst,sport,dport,proto",
                ));
            }
            if word.is_empty() || !self.part(word) {
                return Err(ParseError::Parameter(format!("Bad type \"{rest}\"")));
            }
            match more {
                Some(more) => rest = more,
                None => return Ok(()),
            }
        }
    }

    /// One word of it.
    fn part(&mut self, word: &str) -> bool {
        let is = |name| abbreviates(word, name);
        let whole = Some(IpMask(self.family.mask(self.family.width())));
        let hmark = &mut self.hmark;
        let id = match () {
            () if is("ct") => {
                hmark.conntrack = true;
                return true;
            }
            () if is("src") => {
                hmark.src = whole;
                SRC
            }
            () if is("dst") => {
                hmark.dst = whole;
                DST
            }
            () if is("sport") => {
                hmark.sport_mask = Some(u16::MAX);
                SPORT_MASK
            }
            () if is("dport") => {
                hmark.dport_mask = Some(u16::MAX);
                DPORT_MASK
            }
            () if is("proto") => {
                hmark.proto_mask = Some(u16::MAX);
                PROTO
            }
            () if is("spi") => {
                hmark.spi_mask = Some(u32::MAX);
                SPI_MASK
            }
            () => return false,
        };
        self.tuple |= 1 << id;
        true
    }
}

impl Extension for HmarkBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn implied(&self) -> u32 {
        self.tuple
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let option = SPEC.options[usize::from(id)].name;
        let short = || ranged_u16("HMARK", option, arg, 0, u16::MAX).map(Some);
        let long = |min| ranged_u32("HMARK", option, arg, min, u32::MAX);
        let hmark = &mut self.hmark;
        match id {
            TUPLE => self.tuple(arg)?,
            SRC => hmark.src = Some(IpMask(value::prefix_mask(arg, "HMARK", option, cx.family)?)),
            DST => hmark.dst = Some(IpMask(value::prefix_mask(arg, "HMARK", option, cx.family)?)),
            SPORT_MASK => hmark.sport_mask = short()?,
            DPORT_MASK => hmark.dport_mask = short()?,
            SPI_MASK => hmark.spi_mask = Some(long(0)?),
            SPORT => hmark.sport = short()?,
            DPORT => hmark.dport = short()?,
            SPI => hmark.spi = Some(long(0)?),
            PROTO => hmark.proto_mask = short()?,
            RND => (hmark.rnd, self.rnd) = (long(0)?, true),
            MOD => (hmark.modulus, self.modulus) = (long(1)?, true),
            _ => hmark.offset = Some(long(0)?),
        }
        Ok(())
    }

    fn check(&self, _: u32) -> Result<(), ParseError> {
        let hmark = &self.hmark;
        if !self.modulus {
            return Err(ParseError::parameter("--hmark-mod is mandatory"));
        }
        if !self.rnd {
            return Err(ParseError::parameter("--hmark-rnd is mandatory"));
        }
        if hmark.spi_mask.is_some() && (hmark.sport_mask.is_some() || hmark.dport_mask.is_some()) {
            return Err(ParseError::parameter(
                "you cannot use --hmark-spi-mask and --hmark-?port-mask,at the same time",
            ));
        }
        let none = Hmark { rnd: hmark.rnd, modulus: hmark.modulus, offset: hmark.offset, ..Hmark::default() };
        if *hmark == none {
            return Err(ParseError::parameter("you have to specify --hmark-tuple at least"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Hmark(Box::new(self.hmark.clone())))
    }
}
