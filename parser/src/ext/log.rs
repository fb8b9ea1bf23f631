//! `-j LOG`.

use super::{Cx, Extension, Opt, Spec, log_prefix};
use crate::error::ParseError;
use crate::value;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Log;

const LEVEL: u8 = 0;
const PREFIX: u8 = 1;
const TCP_SEQUENCE: u8 = 2;
const TCP_OPTIONS: u8 = 3;
const IP_OPTIONS: u8 = 4;
const UID: u8 = 5;

static SPEC: Spec = Spec {
    name: "LOG",
    options: &[
        Opt::value("log-level", LEVEL),
        Opt::value("log-prefix", PREFIX),
        Opt::flag("log-tcp-sequence", TCP_SEQUENCE),
        Opt::flag("log-tcp-options", TCP_OPTIONS),
        Opt::flag("log-ip-options", IP_OPTIONS),
        Opt::flag("log-uid", UID),
        Opt::flag("log-macdecode", 6),
    ],
    checked: true,
    help: "\
LOG target options:
 --log-level level\t\thow urgent it is (a number or a name of syslog's)
 --log-prefix prefix\t\twhat to put before each line.
 --log-tcp-sequence\t\tadd TCP's sequence numbers.
 --log-tcp-options\t\tadd the TCP options.
 --log-ip-options\t\tadd the IP options.
 --log-uid\t\t\tadd whose local socket it is.
 --log-macdecode\t\tspell out MAC addresses and the protocol.
",
};

/// The levels by name.
const LEVELS: &[(&str, u8)] = &[
    ("emerg", 0),
    ("panic", 0),
    ("alert", 1),
    ("crit", 2),
    ("error", 3),
    ("warning", 4),
    ("notice", 5),
    ("info", 6),
    ("debug", 7),
];

fn level(text: &str) -> Result<u8, ParseError> {
    value::number(text, 0, 7)
        .and_then(|number| u8::try_from(number).ok())
        .or_else(|| LEVELS.iter().find(|(name, _)| *name == text).map(|(_, level)| *level))
        .ok_or_else(|| ParseError::Parameter(format!("log level \"{text}\" unknown\n")))
}

/// Reads `-j LOG`.
#[derive(Debug, Default)]
pub(crate) struct LogBuilder {
    log: Log,
}

impl Extension for LogBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        match id {
            LEVEL => self.log.level = level(arg)?,
            PREFIX => self.log.prefix = log_prefix(arg, "log-prefix", Log::MAX_PREFIX)?,
            TCP_SEQUENCE => self.log.flags |= Log::TCP_SEQUENCE,
            TCP_OPTIONS => self.log.flags |= Log::TCP_OPTIONS,
            IP_OPTIONS => self.log.flags |= Log::IP_OPTIONS,
            UID => self.log.flags |= Log::UID,
            _ => self.log.flags |= Log::MACDECODE,
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Log(self.log.clone()))
    }
}
