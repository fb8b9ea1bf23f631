//! `-j NFLOG`.

use super::{Cx, Extension, Opt, Spec, log_prefix, ranged_u16, ranged_u32};
use crate::error::ParseError;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Nflog;
use bpftables_ruleset::targets::nflog::NflogLength;

const GROUP: u8 = 0;
const PREFIX: u8 = 1;
const RANGE: u8 = 2;
const SIZE: u8 = 3;

static SPEC: Spec = Spec {
    name: "NFLOG",
    options: &[
        Opt::value("nflog-group", GROUP),
        Opt::value("nflog-prefix", PREFIX),
        Opt::value("nflog-range", RANGE).excludes(1 << SIZE),
        Opt::value("nflog-size", SIZE).excludes(1 << RANGE),
        Opt::value("nflog-threshold", 4),
    ],
    checked: true,
    help: "\
NFLOG target options:
 --nflog-group NUM\t\twho gets it: a group of netlink's
 --nflog-range NUM\t\twithout effect; --nflog-size has one
 --nflog-size NUM\t\thow many bytes of the packet go with it
 --nflog-threshold NUM\t\thow many packets the kernel gathers first
 --nflog-prefix STRING\t\twhat to put before the message
",
};

/// Reads `-j NFLOG`.
#[derive(Debug, Default)]
pub(crate) struct NflogBuilder {
    nflog: Nflog,
}

impl Extension for NflogBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let nflog = &mut self.nflog;
        match id {
            GROUP => nflog.group = ranged_u16("NFLOG", "nflog-group", arg, 0, u16::MAX)?,
            // Legacy names the other target's option.
            PREFIX => nflog.prefix = log_prefix(arg, "log-prefix", Nflog::MAX_PREFIX)?,
            RANGE => nflog.length = NflogLength::Range(ranged_u32("NFLOG", "nflog-range", arg, 0, u32::MAX)?),
            SIZE => nflog.length = NflogLength::Size(ranged_u32("NFLOG", "nflog-size", arg, 0, u32::MAX)?),
            _ => nflog.threshold = ranged_u16("NFLOG", "nflog-threshold", arg, 0, u16::MAX)?,
        }
        Ok(())
    }

    fn notice(&self, seen: u32) -> Option<&'static str> {
        (seen & 1 << RANGE != 0).then_some(
            "warn: --nflog-range has never worked and is no longer supported, please use --nflog-size instead",
        )
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Nflog(self.nflog.clone()))
    }
}
