//! `-j CT` (only `--notrack`) and `-j NOTRACK`.

use super::{Cx, Extension, Opt, Spec};
use crate::error::ParseError;
use bpftables_ruleset::Target;

const NOTRACK: u8 = 0;

static SPEC: Spec = Spec {
    name: "CT",
    options: &[
        Opt::flag("notrack", NOTRACK),
        Opt::value("helper", 1),
        Opt::value("timeout", 2),
        Opt::value("ctevents", 3),
        Opt::value("expevents", 4),
        Opt::value("zone-orig", 6),
        Opt::value("zone-reply", 7),
        Opt::value("zone", 5),
    ],
    checked: true,
    help: crate::help::CT,
};

/// Reads `-j CT`.
#[derive(Debug, Default)]
pub(crate) struct CtBuilder {
    notrack: bool,
}

impl Extension for CtBuilder {
    type Out = Target;

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn option(&mut self, id: u8, _: &str, _: bool, _: u32, _: &mut Cx<'_, '_>) -> Result<(), ParseError> {
        if id != NOTRACK {
            let what = SPEC.options.iter().find(|opt| opt.id == id).map_or("", |opt| opt.name);
            return Err(ParseError::UnsupportedOption { extension: "CT", what: format!("--{what}") });
        }
        self.notrack = true;
        Ok(())
    }

    fn finish(&self) -> Result<Target, ParseError> {
        if !self.notrack {
            return Err(ParseError::UnsupportedOption { extension: "CT", what: "a rule without --notrack".to_owned() });
        }
        Ok(Target::CtNotrack)
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
