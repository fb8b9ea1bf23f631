//! `-j ULOG`.

use super::{Cx, Extension, Opt, Spec, log_prefix, ranged};
use crate::error::ParseError;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::Ulog;

const GROUP: u8 = 0;
const PREFIX: u8 = 1;
const RANGE: u8 = 2;

static SPEC: Spec = Spec {
    name: "ULOG",
    options: &[
        Opt::value("ulog-nlgroup", GROUP),
        Opt::value("ulog-prefix", PREFIX),
        Opt::value("ulog-cprange", RANGE),
        Opt::value("ulog-qthreshold", 3),
    ],
    checked: true,
    help: "\
ULOG target options:
 --ulog-nlgroup nlgroup\t\twho gets it: a group of netlink's
 --ulog-cprange size\t\thow many bytes of the packet go with it
 --ulog-qthreshold\t\thow many packets the kernel gathers first
 --ulog-prefix prefix\t\twhat to put before the message.
",
};

/// Reads `-j ULOG`.
#[derive(Debug, Default)]
pub(crate) struct UlogBuilder {
    ulog: Ulog,
}

impl Extension for UlogBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn loaded(&self) -> Option<&'static str> {
        Some("Warning: Extension ULOG revision 0 not supported, missing kernel module?")
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let number = |option, min, max| ranged("ULOG", option, arg, min, max);
        match id {
            GROUP => self.ulog.group = ranged("ULOG", "ulog-nlgroup", arg, 1, 32)?,
            PREFIX => self.ulog.prefix = log_prefix(arg, "ulog-prefix", Ulog::MAX_PREFIX)?,
            RANGE => self.ulog.copy_range = number("ulog-cprange", 0, u64::MAX)?,
            _ => self.ulog.threshold = number("ulog-qthreshold", 1, 50)?,
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Ulog(Box::new(self.ulog.clone())))
    }
}
