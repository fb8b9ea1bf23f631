//! What a command line asks for.

use crate::error::{ExtensionKind, ParseError};
use bpftables_ruleset::{AddrMatch, Counters, IpMatch, LineId, Match, Rule, Target};

/// One command line, or one rule line of a restore file.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// `-t`, as written; it may name no table.
    pub table: String,
    /// What to do.
    pub verb: Verb,
    /// How often `-v` was given.
    pub verbose: u32,
    /// `-n`.
    pub numeric: bool,
    /// `-x`.
    pub exact: bool,
    /// `--line-numbers`.
    pub line_numbers: bool,
    /// `-w`: `None` not given, `Some(-1)` without a number (wait for ever), else seconds (0 as not given).
    pub wait: Option<i32>,
    /// Lines for standard error that legacy prints on the way, whatever comes after; without line end.
    pub notices: Vec<String>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    /// `-A`.
    Append {
        /// The chain.
        chain: String,
        /// The rule.
        rule: Box<RuleSpec>,
    },
    /// `-I`.
    Insert {
        /// The chain.
        chain: String,
        /// From 1.
        position: u32,
        /// The rule.
        rule: Box<RuleSpec>,
    },
    /// `-R`.
    Replace {
        /// The chain.
        chain: String,
        /// From 1.
        position: u32,
        /// The rule.
        rule: Box<RuleSpec>,
    },
    /// `-D` with a rule.
    Delete {
        /// The chain.
        chain: String,
        /// The rule.
        rule: Box<RuleSpec>,
    },
    /// `-D` with a number.
    DeleteNumber {
        /// The chain.
        chain: String,
        /// From 1.
        position: u32,
    },
    /// `-C`.
    Check {
        /// The chain.
        chain: String,
        /// The rule.
        rule: Box<RuleSpec>,
    },
    /// `-L`, and what `-Z` beside it asks for.
    List {
        /// Only this chain.
        chain: Option<String>,
        /// Only this rule, from 1; 0: all.
        position: u32,
        /// `-Z` was given too.
        zero: AlsoZero,
    },
    /// `-S`, and what `-Z` beside it asks for.
    ListRules {
        /// Only this chain.
        chain: Option<String>,
        /// Only this rule, from 1; 0: all.
        position: u32,
        /// `-Z` was given too.
        zero: AlsoZero,
    },
    /// `-F`.
    Flush {
        /// Only this chain.
        chain: Option<String>,
    },
    /// `-Z`.
    Zero {
        /// Only this chain.
        chain: Option<String>,
    },
    /// `-Z CHAIN n`.
    ZeroNumber {
        /// The chain.
        chain: String,
        /// From 1.
        position: u32,
    },
    /// `-N`.
    NewChain {
        /// The chain.
        chain: String,
    },
    /// `-X`.
    DeleteChain {
        /// Only this chain.
        chain: Option<String>,
    },
    /// `-E`.
    Rename {
        /// The chain.
        chain: String,
        /// Its new name.
        to: String,
    },
    /// `-P`.
    Policy {
        /// The chain.
        chain: String,
        /// As written.
        policy: String,
        /// `-c`.
        counters: Option<Counters>,
    },
    /// `-h`: the text to print on standard output; exit code 0.
    Help {
        /// All of it, after the line with the program's name and version and the empty line after that.
        text: String,
    },
    /// `-V`.
    Version {
        /// `! -V`.
        inverted: bool,
    },
    /// A restore line for the other family (`-6`): nothing to do.
    Nothing,
}

/// What `-Z` beside `-L` or `-S` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlsoZero {
    /// No `-Z`.
    No,
    /// Zero the chain listed, or all.
    Chains,
    /// Zero the rule listed.
    Rule,
}

/// What `-j` or `-g` named.
#[derive(Clone, Debug, PartialEq)]
pub enum TargetSpec {
    /// Neither `-j` nor `-g`.
    None,
    /// A verdict or an extension. `name` is as written: legacy prefers a chain of that name, should there be one.
    Target {
        /// As written.
        name: String,
        /// The target with its options.
        target: Target,
    },
    /// `-j` with the name of no extension: a chain, or nothing.
    Jump(String),
    /// `-g`.
    Goto(String),
}

/// A rule as written: one for each pair of source and destination.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSpec {
    /// Header fields except for the addresses.
    pub ip: IpMatch,
    /// In the order given; `None` where the address matches everything.
    pub sources: Vec<Option<AddrMatch>>,
    /// In the order given; `None` where the address matches everything.
    pub destinations: Vec<Option<AddrMatch>>,
    /// In the order given.
    pub matches: Vec<Match>,
    /// What `-j` or `-g` named.
    pub target: TargetSpec,
    /// `-c`.
    pub counters: Counters,
    /// The line of a restore file that says this and nothing else, wherever it is read.
    pub line: LineId,
}

/// Rules ready for an edit, in legacy's order: sources outside, destinations inside. An insertion inserts them one after the other at
/// the same position, so the last one ends first.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The rules.
    pub rules: Vec<Rule>,
    /// A line for standard error: "Warning: using chain ...".
    pub notice: Option<String>,
}

impl RuleSpec {
    /// Settles whether the target is a chain (`is_chain` tells) and expands the addresses.
    ///
    /// # Errors
    /// A goto to no chain, or a target that is neither a chain nor an extension.
    pub fn resolve(self, is_chain: impl Fn(&str) -> bool) -> Result<Resolved, ParseError> {
        let mut notice = None;
        let target = match self.target {
            TargetSpec::None => Target::None,
            TargetSpec::Target { name, .. } if is_chain(&name) => {
                notice = Some(format!("Warning: using chain {name}, not extension"));
                Target::Jump(name.as_str().into())
            }
            TargetSpec::Target { target, .. } => target,
            TargetSpec::Jump(name) if is_chain(&name) => Target::Jump(name.as_str().into()),
            TargetSpec::Goto(name) if is_chain(&name) => Target::Goto(name.as_str().into()),
            TargetSpec::Goto(name) => return Err(ParseError::Parameter(format!("goto '{name}' is not a chain"))),
            TargetSpec::Jump(name) => return Err(crate::registry::no_extension(ExtensionKind::Target, &name)),
        };
        let count = self.sources.len() * self.destinations.len();
        let mut rules = Vec::with_capacity(count);
        let line = if count == 1 && notice.is_none() { self.line } else { LineId::NONE };
        // Most lines are one rule, which needs no copy.
        let mut pattern = Some(Rule { offset: self.counters, line, ..Rule::new(self.ip, self.matches, target) });
        for source in &self.sources {
            for destination in &self.destinations {
                let rule = if rules.len() + 1 == count { pattern.take() } else { pattern.clone() };
                rules.extend(
                    rule.map(|rule| Rule { ip: IpMatch { src: *source, dst: *destination, ..rule.ip }, ..rule }),
                );
            }
        }
        Ok(Resolved { rules, notice })
    }
}
