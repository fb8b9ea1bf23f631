//! `-m osf`.

use super::{Cx, Extension, Opt, Spec, cut, ranged};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Osf;

const GENRE: u8 = 0;
const TTL: u8 = 1;

/// The longest genre, in bytes.
const MAX_GENRE: usize = 31;

static SPEC: Spec = Spec {
    name: "osf",
    options: &[Opt::value("genre", GENRE).mandatory().invertible(), Opt::value("ttl", TTL), Opt::value("log", 2)],
    checked: true,
    help: "\
OS fingerprint match options:
[!] --genre string     the sender's system, by its passive fingerprint.
--ttl level            how the TTL counts:
       0                       it equals the fingerprint's. For a LAN.
       1                       it is below the fingerprint's. For the rest of the world.
       2                       not at all. Finds NMAP, but errs at times.
--log level            what is written to the kernel's log, of other systems too:
       0                       all signatures, known or not.
       1                       the first one.
       2                       all known ones.
",
};

impl Extension for Osf {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, invert: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        match id {
            GENRE => (self.genre, self.invert) = (cut(arg, MAX_GENRE), invert),
            TTL => self.ttl = Some(ranged("osf", "ttl", arg, 0, 2)?),
            _ => self.log = Some(ranged("osf", "log", arg, 0, 2)?),
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Osf(self.clone()))
    }
}
