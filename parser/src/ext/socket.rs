//! `-m socket`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use bpftables_ruleset::Match;
use bpftables_ruleset::matches::Socket;

static SPEC: Spec = Spec {
    name: "socket",
    options: &[Opt::flag("transparent", 0), Opt::flag("nowildcard", 1), Opt::flag("restore-skmark", 2)],
    checked: true,
    help: "\
socket match options:
  --nowildcard     listening sockets of any address count too
  --transparent    transparent sockets alone count
  --restore-skmark give the packet the socket's mark if the
                   socket counts

",
};

impl Extension for Socket {
    type Out = Match;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, _: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        match id {
            0 => self.transparent = true,
            1 => self.no_wildcard = true,
            _ => self.restore_mark = true,
        }
        Ok(())
    }

    fn finish(&self) -> Result<Match, ParseError> {
        Ok(Match::Socket(self.clone()))
    }
}
