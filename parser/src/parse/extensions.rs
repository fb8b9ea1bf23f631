//! Matches and targets on the command line: how they are loaded, and whose an option is.

use super::Parser;
use super::checks::check_target_name;
use super::once::Once;
use crate::error::{ExtensionKind, ParseError};
use crate::ext::{Cx, Instance, MatchBuilder};
use crate::registry::{self, FoundTarget};
use crate::value;
use bpftables_ruleset::names::builtin_protocol_name;

/// The group of options that are the target's; those of matches come after it.
const EXTENSION_TARGET: usize = 0;

impl<'a> Parser<'a> {
    pub(super) fn match_option(&mut self, name: &str) -> Result<(), ParseError> {
        if self.invert {
            return Err(ParseError::parameter("unexpected ! flag before --match"));
        }
        let family = self.invocation.family;
        let builder =
            registry::find_match(name, family)?.ok_or_else(|| registry::no_extension(ExtensionKind::Match, name))?;
        self.push_match(builder);
        Ok(())
    }

    fn push_match(&mut self, builder: Box<MatchBuilder>) {
        let spec = builder.spec();
        for earlier in self.matches.iter_mut().filter(|earlier| earlier.builder.spec().name == spec.name) {
            earlier.completed = true;
        }
        if !self.groups.contains(&spec.name) {
            self.groups.push(spec.name);
            self.options.add_group(self.groups.len(), spec.options);
        }
        self.matches.push(Instance::new(builder));
    }

    pub(super) fn jump_option(&mut self, name: &'a str) -> Result<(), ParseError> {
        check_target_name(name)?;
        let family = self.invocation.family;
        match registry::find_target(name, family) {
            FoundTarget::Verdict(verdict) => self.verdict = Some(verdict),
            FoundTarget::Extension(builder) => {
                self.notices.extend(builder.loaded().map(str::to_owned));
                self.options.add_group(EXTENSION_TARGET, builder.spec().options);
                self.target = Some(Instance::new(builder));
            }
            FoundTarget::Reserved | FoundTarget::Unknown => {}
        }
        self.jump = Some(name);
        Ok(())
    }

    /// An option of a target or match: the target's, or the last match of that name.
    pub(super) fn extension(&mut self, group: usize, index: usize, arg: Option<&str>) -> Result<(), ParseError> {
        let mut cx = Cx {
            family: self.invocation.family,
            names: self.names,
            protocol: self.proto,
            getopt: &mut self.getopt,
            notices: &mut self.notices,
        };
        if group == EXTENSION_TARGET {
            if let Some(target) = &mut self.target {
                return target.option(index, arg, self.invert, &mut cx);
            }
        } else {
            let name = self.groups[group - 1];
            let open = self.matches.iter_mut().find(|m| !m.completed && m.builder.spec().name == name);
            if let Some(open) = open {
                return open.option(index, arg, self.invert, &mut cx);
            }
        }
        Err(ParseError::Other("Extension option without an extension".to_owned()))
    }

    /// Loads the match of `-p PROTO` once, when an option is not known yet. True: read the option again.
    pub(super) fn load_protocol_match(&mut self) -> Result<bool, ParseError> {
        if self.protocol_loaded {
            return Ok(false);
        }
        let Some(protocol) = self.protocol.clone() else { return Ok(false) };
        self.protocol_loaded = true;
        let name = match value::number_u8(&protocol) {
            Some(number) => match builtin_protocol_name(number) {
                Some(name) => name.to_owned(),
                None if self.given.has(Once::Numeric) || number == 0 => return Ok(false),
                None => match self.names.protocol_name(number) {
                    Some(name) => name,
                    None => return Ok(false),
                },
            },
            None => protocol,
        };
        let Some(builder) = registry::find_match(&name, self.invocation.family)? else { return Ok(false) };
        self.push_match(builder);
        self.getopt.again();
        Ok(true)
    }
}
