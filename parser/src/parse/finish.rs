//! What is done when the whole command line has been read: checks across options, and the result.

use super::once::{Once, cmd};
use super::{Address, Parser};
use crate::command::{AlsoZero, RuleSpec, TargetSpec, Verb};
use crate::error::ParseError;
use crate::registry::MAX_NAME;
use crate::{help, value};
use bpftables_ruleset::LineId;

impl Parser<'_> {
    pub(super) fn finish(&mut self) -> Result<Verb, ParseError> {
        let jump_drop = self.jump == Some("DROP");
        if self.table == "nat" && (jump_drop || self.policy == Some("DROP")) {
            return Err(ParseError::parameter(
                "\nThe \"nat\" table is not intended for filtering, the use of DROP is therefore inhibited.\n\n",
            ));
        }
        if self.wait_interval && self.wait.unwrap_or(0) == 0 {
            return Err(ParseError::parameter("--wait-interval only makes sense with --wait\n"));
        }
        for instance in &self.matches {
            instance.check()?;
        }
        if let Some(target) = &self.target {
            self.notices.extend(target.builder.notice(target.seen).map(str::to_owned));
            target.check()?;
        }
        if self.getopt.is_left() {
            return Err(ParseError::parameter("unknown arguments found on commandline"));
        }
        if self.command == 0 {
            return Err(ParseError::parameter("no command specified"));
        }
        if self.invert {
            return Err(ParseError::parameter("nothing appropriate following !"));
        }
        let (sources, destinations) = self.addresses()?;
        self.check_options()?;
        self.verb(sources, destinations)
    }

    fn addresses(&self) -> Result<(Vec<Address>, Vec<Address>), ParseError> {
        let family = self.invocation.family;
        let any = family.unspecified();
        let list = |option: Option<(&str, bool)>| match option {
            Some((text, invert)) => Ok((value::address_list(text, family, self.names)?, invert)),
            None => Ok((vec![(any, any)], false)),
        };
        let (sources, source_inverted) = list(self.source)?;
        let (destinations, destination_inverted) = list(self.destination)?;
        if (sources.len() > 1 || destinations.len() > 1) && (source_inverted || destination_inverted) {
            return Err(ParseError::parameter("! not allowed with multiple source or destination IP addresses"));
        }
        let make = |list: Vec<_>, invert| list.into_iter().map(|pair| value::address_match(pair, invert)).collect();
        Ok((make(sources, source_inverted), make(destinations, destination_inverted)))
    }

    /// Which options go with which commands, and the chain's name.
    fn check_options(&self) -> Result<(), ParseError> {
        for option in Once::ALL {
            if self.given.has(option) && option.commands() & self.command != self.command {
                return Err(ParseError::Parameter(format!("Illegal option `{}' with this command", option.name())));
            }
        }
        let Some(chain) = self.chain else { return Ok(()) };
        if chain.len() > MAX_NAME {
            return Err(ParseError::Parameter(format!(
                "chain name `{chain}' too long (must be under {} chars)",
                MAX_NAME + 1
            )));
        }
        let rule = cmd::APPEND | cmd::DELETE | cmd::CHECK | cmd::INSERT | cmd::REPLACE;
        if self.command & rule != 0 {
            let refused = match chain {
                "PREROUTING" | "INPUT" => Some(Once::OutInterface),
                "POSTROUTING" | "OUTPUT" => Some(Once::InInterface),
                _ => None,
            };
            if let Some(option) = refused.filter(|option| self.given.has(*option)) {
                return Err(ParseError::Parameter(format!("Can't use {} with {chain}", option.name())));
            }
        }
        Ok(())
    }

    fn rule(&mut self, sources: Vec<Address>, destinations: Vec<Address>) -> Result<Box<RuleSpec>, ParseError> {
        let mut matches = Vec::with_capacity(self.matches.len());
        for instance in &self.matches {
            matches.push(instance.builder.finish()?);
        }
        let target = match (self.jump.take(), self.goto) {
            (None, _) => TargetSpec::None,
            (Some(chain), true) => TargetSpec::Goto(chain.to_owned()),
            (Some(name), false) => match (&self.target, self.verdict.take()) {
                (Some(target), _) => TargetSpec::Target { target: target.builder.finish()?, name: name.to_owned() },
                (None, Some(verdict)) => TargetSpec::Target { name: name.to_owned(), target: verdict },
                (None, None) => TargetSpec::Jump(name.to_owned()),
            },
        };
        Ok(Box::new(RuleSpec {
            ip: std::mem::take(&mut self.ip),
            sources,
            destinations,
            matches,
            target,
            counters: self.counters,
            line: LineId::NONE,
        }))
    }

    fn verb(&mut self, sources: Vec<Address>, destinations: Vec<Address>) -> Result<Verb, ParseError> {
        let position = self.position;
        let named = self.chain;
        let optional = || named.map(str::to_owned);
        let chain = optional().unwrap_or_default();
        let zero = match self.command {
            c if c & cmd::ZERO != 0 => AlsoZero::Chains,
            c if c & cmd::ZERO_NUM != 0 => AlsoZero::Rule,
            _ => AlsoZero::No,
        };
        Ok(match self.command {
            cmd::APPEND => Verb::Append { chain, rule: self.rule(sources, destinations)? },
            cmd::INSERT => Verb::Insert { chain, position, rule: self.rule(sources, destinations)? },
            cmd::REPLACE => Verb::Replace { chain, position, rule: self.rule(sources, destinations)? },
            cmd::DELETE => Verb::Delete { chain, rule: self.rule(sources, destinations)? },
            cmd::CHECK => Verb::Check { chain, rule: self.rule(sources, destinations)? },
            cmd::DELETE_NUM => Verb::DeleteNumber { chain, position },
            cmd::FLUSH => Verb::Flush { chain: optional() },
            cmd::ZERO => Verb::Zero { chain: optional() },
            cmd::ZERO_NUM => Verb::ZeroNumber { chain, position },
            cmd::NEW_CHAIN => Verb::NewChain { chain },
            cmd::DELETE_CHAIN => Verb::DeleteChain { chain: optional() },
            cmd::RENAME_CHAIN => Verb::Rename { chain, to: self.new_name.unwrap_or_default().to_owned() },
            cmd::SET_POLICY => Verb::Policy {
                chain,
                policy: self.policy.unwrap_or_default().to_owned(),
                counters: self.given.has(Once::Counters).then_some(self.counters),
            },
            c if c & cmd::LIST != 0 => Verb::List { chain: optional(), position, zero },
            c if c & cmd::LIST_RULES != 0 => Verb::ListRules { chain: optional(), position, zero },
            _ => return Err(ParseError::OnlyHint),
        })
    }

    pub(super) fn help_text(&self) -> String {
        let target = match (&self.target, &self.verdict) {
            (Some(target), _) => Some(target.builder.spec().help),
            (None, Some(_)) => Some(help::STANDARD),
            (None, None) => None,
        };
        let matches = self.matches.iter().map(|instance| instance.builder.spec().help);
        help::text(self.invocation.program, self.invocation.family, target.into_iter().chain(matches))
    }
}
