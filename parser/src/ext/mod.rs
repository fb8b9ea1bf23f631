//! The extensions: what each match and target takes on the command line.

pub(crate) mod addrtype;
pub(crate) mod ah;
pub(crate) mod ah6;
pub(crate) mod audit;
pub(crate) mod bpf;
pub(crate) mod cgroup;
pub(crate) mod checksum;
pub(crate) mod classify;
pub(crate) mod cluster;
pub(crate) mod clusterip;
pub(crate) mod comment;
pub(crate) mod connbytes;
pub(crate) mod connlabel;
pub(crate) mod connlimit;
pub(crate) mod connsecmark;
pub(crate) mod conntrack;
pub(crate) mod cpu;
pub(crate) mod ct_target;
pub(crate) mod dccp;
pub(crate) mod devgroup;
pub(crate) mod dscp;
pub(crate) mod dscp_target;
pub(crate) mod dst;
pub(crate) mod ecn;
pub(crate) mod ecn_target;
pub(crate) mod esp;
pub(crate) mod eui64;
pub(crate) mod frag;
pub(crate) mod hashlimit;
pub(crate) mod hbh;
pub(crate) mod helper;
pub(crate) mod hl;
pub(crate) mod hmark;
pub(crate) mod hop_targets;
pub(crate) mod icmp;
pub(crate) mod idletimer;
pub(crate) mod ipcomp;
pub(crate) mod iprange;
pub(crate) mod ipv6header;
pub(crate) mod ipvs;
pub(crate) mod led;
pub(crate) mod length;
pub(crate) mod limit;
pub(crate) mod log;
pub(crate) mod mac;
pub(crate) mod mark;
pub(crate) mod mh;
pub(crate) mod multiport;
pub(crate) mod nat_targets;
pub(crate) mod nfacct;
pub(crate) mod nflog;
pub(crate) mod nfqueue;
pub(crate) mod npt_targets;
pub(crate) mod osf;
pub(crate) mod owner;
pub(crate) mod physdev;
pub(crate) mod pkttype;
pub(crate) mod policy;
pub(crate) mod queue;
pub(crate) mod quota;
pub(crate) mod rateest;
pub(crate) mod rateest_match;
pub(crate) mod realm;
pub(crate) mod recent;
pub(crate) mod reject;
pub(crate) mod rpfilter;
pub(crate) mod rt;
pub(crate) mod sctp;
pub(crate) mod secmark;
pub(crate) mod set;
pub(crate) mod set_target;
pub(crate) mod socket;
pub(crate) mod srh;
pub(crate) mod statistic;
pub(crate) mod string;
pub(crate) mod synproxy;
pub(crate) mod tcp;
pub(crate) mod tcpmss;
pub(crate) mod tcpmss_target;
pub(crate) mod tcpoptstrip;
pub(crate) mod tee;
pub(crate) mod time;
pub(crate) mod tos;
pub(crate) mod tos_target;
pub(crate) mod tproxy;
pub(crate) mod trace;
pub(crate) mod ttl;
pub(crate) mod u32_test;
pub(crate) mod udp;
pub(crate) mod ulog;

use crate::error::ParseError;
use crate::getopt::Getopt;
use bpftables_ruleset::names::Names;
use bpftables_ruleset::{Family, Match, Target};

/// One option of an extension.
#[derive(Debug)]
pub(crate) struct Opt {
    /// Long name.
    pub name: &'static str,
    /// Its number in the extension; synonyms share it, and the first is the one named in messages.
    pub id: u8,
    /// Takes an argument.
    pub arg: bool,
    /// May stand after `!`.
    pub invert: bool,
    /// Must be given.
    pub mandatory: bool,
    /// May be given more than once.
    pub multi: bool,
    /// Bits (`1 << id`) of options that must not be given beside it.
    pub excludes: u32,
    /// Bits of options that must be given too.
    pub requires: u32,
}

impl Opt {
    /// An option with an argument.
    pub(crate) const fn value(name: &'static str, id: u8) -> Self {
        Self { name, id, arg: true, invert: false, mandatory: false, multi: false, excludes: 0, requires: 0 }
    }

    /// An option without argument.
    pub(crate) const fn flag(name: &'static str, id: u8) -> Self {
        Self { name, id, arg: false, invert: false, mandatory: false, multi: false, excludes: 0, requires: 0 }
    }

    pub(crate) const fn invertible(mut self) -> Self {
        self.invert = true;
        self
    }

    pub(crate) const fn mandatory(mut self) -> Self {
        self.mandatory = true;
        self
    }

    pub(crate) const fn multi(mut self) -> Self {
        self.multi = true;
        self
    }

    pub(crate) const fn excludes(mut self, bits: u32) -> Self {
        self.excludes = bits;
        self
    }

    pub(crate) const fn requires(mut self, bits: u32) -> Self {
        self.requires = bits;
        self
    }
}

/// What is known of an extension before any of its options is seen.
#[derive(Debug)]
pub(crate) struct Spec {
    /// The name on the command line.
    pub name: &'static str,
    /// Its options.
    pub options: &'static [Opt],
    /// Use, `!` and combinations are checked by the tables above (all but `tcp`, which does so itself).
    pub checked: bool,
    /// What `-h` prints of it.
    pub help: &'static str,
}

/// What an option may look at besides its argument.
pub(crate) struct Cx<'c, 'a> {
    /// The program's family.
    pub family: Family,
    /// The system's names.
    pub names: &'c dyn Names,
    /// The protocol given so far (0: none) and whether after `!`.
    pub protocol: (u8, bool),
    /// The command line, for options that take a second word.
    pub getopt: &'c mut Getopt<'a>,
    /// Lines for standard error.
    pub notices: &'c mut Vec<String>,
}

/// An extension that is being filled from its options.
pub(crate) trait Extension {
    /// What it becomes.
    type Out;

    /// Its table.
    fn spec(&self) -> &'static Spec;

    /// A line for standard error when it is named.
    fn loaded(&self) -> Option<&'static str> {
        None
    }

    /// Bits of options that others stand for, so that they may not be given any more.
    fn implied(&self) -> u32 {
        0
    }

    /// Takes one option. `seen` has the bits of those given before.
    fn option(&mut self, id: u8, arg: &str, invert: bool, seen: u32, cx: &mut Cx<'_, '_>) -> Result<(), ParseError>;

    /// Checks before those of the table, when all options are known.
    fn check(&self, _seen: u32) -> Result<(), ParseError> {
        Ok(())
    }

    /// A line for standard error when all options are known.
    fn notice(&self, _seen: u32) -> Option<&'static str> {
        None
    }

    /// The result.
    fn finish(&self) -> Result<Self::Out, ParseError>;
}

/// A match being read.
pub(crate) type MatchBuilder = dyn Extension<Out = Match>;
/// A target being read.
pub(crate) type TargetBuilder = dyn Extension<Out = Target>;

/// An extension on this command line.
pub(crate) struct Instance<E: ?Sized> {
    /// The extension.
    pub builder: Box<E>,
    /// Bits of the options given.
    pub seen: u32,
    /// A later one of the same name has taken over.
    pub completed: bool,
}

impl<Out> Instance<dyn Extension<Out = Out>> {
    pub(crate) fn new(builder: Box<dyn Extension<Out = Out>>) -> Self {
        Self { builder, seen: 0, completed: false }
    }

    /// Takes the option at `index` of its table.
    pub(crate) fn option(
        &mut self,
        index: usize,
        arg: Option<&str>,
        invert: bool,
        cx: &mut Cx<'_, '_>,
    ) -> Result<(), ParseError> {
        let spec = self.builder.spec();
        let opt = &spec.options[index];
        let bit = 1 << opt.id;
        if spec.checked {
            let first = spec.options.iter().find(|other| other.id == opt.id).unwrap_or(opt);
            if (self.seen | self.builder.implied()) & bit != 0 && !first.multi {
                return Err(ParseError::Parameter(format!(
                    "{}: option \"--{}\" can only be used once.\n",
                    spec.name, first.name
                )));
            }
            if invert && !first.invert {
                return Err(ParseError::Parameter(format!(
                    "{}: option \"--{}\" cannot be inverted.\n",
                    spec.name, first.name
                )));
            }
        }
        self.builder.option(opt.id, arg.unwrap_or_default(), invert, self.seen, cx)?;
        self.seen |= bit;
        Ok(())
    }

    /// All checks when the command line has been read.
    pub(crate) fn check(&self) -> Result<(), ParseError> {
        self.builder.check(self.seen)?;
        let spec = self.builder.spec();
        if !spec.checked {
            return Ok(());
        }
        for opt in spec.options {
            let given = self.seen & (1 << opt.id) != 0;
            if opt.mandatory && !given {
                return Err(ParseError::Parameter(format!(
                    "{}: option \"--{}\" must be specified\n",
                    spec.name, opt.name
                )));
            }
            if !given {
                continue;
            }
            let wrong = (opt.requires & !self.seen | opt.excludes & self.seen) & !(1_u32 << opt.id);
            for id in (0..32).filter(|id| wrong >> id & 1 == 1) {
                let Some(other) = spec.options.iter().find(|other| u32::from(other.id) == id) else { continue };
                let bit = 1 << id;
                if opt.requires & bit != 0 && self.seen & bit == 0 {
                    return Err(ParseError::Parameter(format!(
                        "{}: option \"--{}\" also requires \"--{}\".\n",
                        spec.name, opt.name, other.name
                    )));
                }
                if opt.excludes & bit != 0 && self.seen & bit != 0 {
                    return Err(ParseError::Parameter(format!(
                        "{}: option \"--{}\" cannot be used together with \"--{}\".\n",
                        spec.name, opt.name, other.name
                    )));
                }
            }
        }
        Ok(())
    }
}

/// "bad value for option, or out of range".
pub(crate) fn out_of_range(extension: &str, option: &str, min: u64, max: u64) -> ParseError {
    ParseError::Parameter(format!("{extension}: bad value for option \"--{option}\", or out of range ({min}-{max}).\n"))
}

/// A number of 16 bits in a range.
pub(crate) fn ranged_u16(extension: &str, option: &str, text: &str, min: u16, max: u16) -> Result<u16, ParseError> {
    ranged(extension, option, text, min, max)
}

/// A 32-bit number in a range.
pub(crate) fn ranged_u32(extension: &str, option: &str, text: &str, min: u32, max: u32) -> Result<u32, ParseError> {
    ranged(extension, option, text, min, max)
}

/// A number in a range.
pub(crate) fn ranged<T>(extension: &str, option: &str, text: &str, min: T, max: T) -> Result<T, ParseError>
where
    T: Into<u64> + TryFrom<u64>,
{
    let (min, max) = (min.into(), max.into());
    crate::value::number(text, min, max)
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| out_of_range(extension, option, min, max))
}

/// A value that an extension's own reading refuses.
pub(crate) fn bad_value(extension: &str, option: &str, text: &str) -> ParseError {
    ParseError::Parameter(format!("{extension}: Bad value for \"--{option}\" option: \"{text}\""))
}

/// The beginning of a text that is stored in `most` bytes (without a character that does not fit).
pub(crate) fn cut(text: &str, most: usize) -> Box<str> {
    text[..text.floor_char_boundary(most)].into()
}

/// A text that goes to a log: one byte at least, no line end, and cut after `most` bytes (or before a character that does not fit).
pub(crate) fn log_prefix(text: &str, option: &str, most: usize) -> Result<Box<str>, ParseError> {
    if text.is_empty() {
        return Err(ParseError::parameter("Argument must have a minimum length of 1 characters\n"));
    }
    if text.contains('\n') {
        return Err(ParseError::Parameter(format!("Newlines not allowed in --{option}")));
    }
    Ok(cut(text, most))
}
