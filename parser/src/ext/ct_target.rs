//! `-j CT` and `-j NOTRACK`.

use super::{Cx, Extension, Opt, Spec, cut};
use crate::error::ParseError;
use crate::value;
use bpftables_ruleset::Target;
use bpftables_ruleset::targets::CtSet;
use bpftables_ruleset::targets::ct::EVENTS;

const NOTRACK: u8 = 0;
const HELPER: u8 = 1;
const TIMEOUT: u8 = 2;
const EVENTS_OPTION: u8 = 3;
const EXPECT_EVENTS: u8 = 4;
const ZONE_ORIGINAL: u8 = 6;
const ZONE_REPLY: u8 = 7;

static SPEC: Spec = Spec {
    name: "CT",
    options: &[
        Opt::flag("notrack", NOTRACK),
        Opt::value("helper", HELPER),
        Opt::value("timeout", TIMEOUT),
        Opt::value("ctevents", EVENTS_OPTION),
        Opt::value("expevents", EXPECT_EVENTS),
        Opt::value("zone-orig", ZONE_ORIGINAL),
        Opt::value("zone-reply", ZONE_REPLY),
        Opt::value("zone", 5),
    ],
    checked: true,
    help: "\
CT target options:
 --notrack\t\t\tleave the connection untracked
 --helper name\t\t\tthe helper that reads along
 --timeout name \t\tthe policy for its timeouts
 --ctevents event[,event...]\tthe events of it that are told
 --expevents event[,event...]\tthe events of what it expects that are told
 --zone {ID|mark}\t\tthe zone, by number or by the packet's mark
 --zone-orig {ID|mark}\t\tthe same, for the original direction alone
 --zone-reply {ID|mark} \tthe same, for the reply direction alone
",
};

/// `EVENT[,...]` as bits.
fn events(list: &str, names: &[&str]) -> Result<u16, ParseError> {
    list.split(',').try_fold(0, |bits, word| {
        let bit = names.iter().position(|name| *name == word);
        let bit = bit.ok_or_else(|| ParseError::Parameter(format!("Unknown event type \"{word}\"")))?;
        Ok(bits | 1 << bit)
    })
}

/// Reads `-j CT`.
#[derive(Debug, Default)]
pub(crate) struct CtBuilder {
    ct: CtSet,
}

impl CtBuilder {
    /// A number or `mark`. A later option takes back the number, not the rest.
    fn zone(&mut self, text: &str) -> Result<(), ParseError> {
        self.ct.zone.id = 0;
        if text.eq_ignore_ascii_case("mark") {
            self.ct.zone.mark = true;
            return Ok(());
        }
        let id = value::number(text, 0, u16::MAX.into()).and_then(|id| u16::try_from(id).ok());
        self.ct.zone.id = id.ok_or_else(|| ParseError::Parameter(format!("Cannot parse {text} as a zone ID")))?;
        Ok(())
    }
}

impl Extension for CtBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, arg: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        let ct = &mut self.ct;
        match id {
            NOTRACK => ct.notrack = true,
            HELPER => ct.helper = cut(arg, CtSet::MAX_HELPER),
            TIMEOUT => ct.timeout = cut(arg, CtSet::MAX_TIMEOUT),
            EVENTS_OPTION => ct.events = events(arg, EVENTS)?,
            EXPECT_EVENTS => ct.expect_events = events(arg, &["new"])? != 0,
            _ => {
                ct.zone.original |= id == ZONE_ORIGINAL;
                ct.zone.reply |= id == ZONE_REPLY;
                self.zone(arg)?;
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Ct(Box::new(self.ct.clone())))
    }
}

static NOTRACK_SPEC: Spec = Spec { name: "NOTRACK", options: &[], checked: true, help: crate::help::NOTRACK };

/// Reads `-j NOTRACK`.
#[derive(Debug)]
pub(crate) struct NotrackBuilder;

impl Extension for NotrackBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &NOTRACK_SPEC
    }

    fn option(&mut self, _: u8, _: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        Ok(Target::Notrack)
    }
}
