//! `-m rateest`. Legacy checks its options by itself, in its own words.

use super::{Cx, Extension, Opt, Spec, cut};
use crate::error::ParseError;
use crate::value::number;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Rateest;
use bpftables_ruleset::matches::rateest::RateComparison;

const FIRST: u8 = 0;
const SECOND: u8 = 1;
const BPS1: u8 = 2;
const PPS1: u8 = 3;
const BPS2: u8 = 4;
const PPS2: u8 = 5;
const DELTA: u8 = 6;
const LESS: u8 = 7;
const GREATER: u8 = 8;
const EQUAL: u8 = 9;

/// The longest name, in bytes.
const MAX_NAME: usize = 15;

static SPEC: Spec = Spec {
    name: "rateest",
    options: &[
        Opt::value("rateest1", FIRST).invertible(),
        Opt::value("rateest", FIRST).invertible(),
        Opt::value("rateest2", SECOND).invertible(),
        Opt::flag("rateest-bps1", BPS1).invertible(),
        Opt::flag("rateest-pps1", PPS1).invertible(),
        Opt::flag("rateest-bps2", BPS2).invertible(),
        Opt::flag("rateest-pps2", PPS2).invertible(),
        Opt::flag("rateest-bps", BPS2).invertible(),
        Opt::flag("rateest-pps", PPS2).invertible(),
        Opt::flag("rateest-delta", DELTA).invertible(),
        Opt::flag("rateest-lt", LESS).invertible(),
        Opt::flag("rateest-gt", GREATER).invertible(),
        Opt::flag("rateest-eq", EQUAL).invertible(),
    ],
    checked: false,
    help: "\
rateest match options:
 --rateest1 name\t\tname of an estimator
 --rateest2 name\t\tname of another one
 --rateest-delta\t\tcompare what the rates lack
 --rateest-bps1 [bps]\t\tbits in a second
 --rateest-pps1 [pps]\t\tpackets in a second
 --rateest-bps2 [bps]\t\tbits in a second
 --rateest-pps2 [pps]\t\tpackets in a second
 [!] --rateest-lt\t\tthe rate is lower than the given one or the other's
 [!] --rateest-gt\t\tthe rate is higher
 [!] --rateest-eq\t\tthe rates are equal
",
};

const UNITS: &[(&str, f64)] = &[
    ("bit", 1.0),
    ("Kibit", 1024.0),
    ("kbit", 1e3),
    ("Mibit", 1_048_576.0),
    ("mbit", 1e6),
    ("Gibit", 1_073_741_824.0),
    ("gbit", 1e9),
    ("Tibit", 1_099_511_627_776.0),
    ("tbit", 1e12),
    ("Bps", 8.0),
    ("KiBps", 8192.0),
    ("KBps", 8e3),
    ("MiBps", 8_388_608.0),
    ("MBps", 8e6),
    ("GiBps", 8_589_934_592.0),
    ("GBps", 8e9),
    ("TiBps", 8_796_093_022_208.0),
    ("TBps", 8e12),
];

/// A rate in bits with its unit, in bytes.
fn rate(text: &str) -> Option<u32> {
    let body = text.trim_start();
    let end = body.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(body.len());
    let value: f64 = body[..end].parse().ok()?;
    let unit = &body[end..];
    let scale = match unit {
        "" => 1.0,
        _ => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as C cuts it")]
    Some((value * scale / 8.0) as i64 as u32)
}

impl Extension for Rateest {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, seen: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let (kind, twice) = match id {
            FIRST => ("rateest", "--rateest1"),
            SECOND => ("rateest", "--rateest2"),
            BPS1 => ("rateest-bps", "--rateest-bps1"),
            PPS1 => ("rateest-pps", "--rateest-pps1"),
            BPS2 => ("rateest-bps", "--rateest-bps2"),
            PPS2 => ("rateest-pps", "--rateest-pps2"),
            DELTA => ("rateest-delta", "--rateest-delta"),
            _ => ("", "lt/gt/eq"),
        };
        if invert && id < LESS {
            return Err(ParseError::Parameter(format!("rateest: {kind} can't be inverted")));
        }
        if seen & (1 << id) != 0 {
            return Err(ParseError::Parameter(format!("rateest: can't specify {twice} twice")));
        }
        match id {
            FIRST => self.name = cut(arg, MAX_NAME),
            SECOND => self.other = Some(cut(arg, MAX_NAME)),
            BPS1 | BPS2 => {
                let rates = self.bps.get_or_insert_default();
                if let Some(word) = cx.getopt.take_plain() {
                    let read = rate(word)
                        .ok_or_else(|| ParseError::Parameter(format!("rateest: could not parse rate `{word}'")))?;
                    *(if id == BPS1 { &mut rates.0 } else { &mut rates.1 }) = read;
                }
            }
            PPS1 | PPS2 => {
                let rates = self.pps.get_or_insert_default();
                if let Some(word) = cx.getopt.take_plain() {
                    let read = number(word, 0, u32::MAX.into())
                        .ok_or_else(|| ParseError::Parameter(format!("rateest: could not parse pps `{word}'")))?;
                    let read = u32::try_from(read).unwrap_or(u32::MAX);
                    *(if id == PPS1 { &mut rates.0 } else { &mut rates.1 }) = read;
                }
            }
            DELTA => self.delta = true,
            _ => {
                self.comparison = Some(match id {
                    LESS => RateComparison::Less,
                    GREATER => RateComparison::Greater,
                    _ => RateComparison::Equal,
                });
                self.invert |= invert;
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Rateest(Box::new(self.clone())))
    }
}
