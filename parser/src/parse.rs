//! The command line.

mod checks;
mod extensions;
mod finish;
mod once;

use crate::command::{Command, Verb};
use crate::error::ParseError;
use crate::ext::{Instance, MatchBuilder, TargetBuilder};
use crate::getopt::{Code, Found, Getopt, LongOptions};
use crate::registry;
use crate::value;
use bpftables_ruleset::names::Names;
use bpftables_ruleset::{Counters, Family, IfacePattern, IpMatch};
use checks::{check_chain_name, check_target_name, delete_number, rule_number, wait_interval};
use once::{Given, Once, cmd};
use std::borrow::Cow;

/// Where a command line comes from.
#[derive(Clone, Copy, Debug)]
pub struct Invocation<'a> {
    /// The family of the program.
    pub family: Family,
    /// A line of a restore file, which has rules of its own: no `-w`, one `-t`, lines for the other family are skipped.
    pub restore: bool,
    /// The program's name in messages and help (`iptables`, `iptables-restore`).
    pub program: &'a str,
}

/// Reads a command line.
///
/// `args` is without the program's name. Reading has no effect but on the result; what depends on the ruleset (whether `-j NAME` is a
/// chain) is settled by [`RuleSpec::resolve`].
///
/// # Errors
/// As legacy reports it, see [`ParseError`].
pub fn parse_command(args: &[String], invocation: Invocation<'_>, names: &dyn Names) -> Result<Command, ParseError> {
    parse_command_noticing(args, invocation, names).1
}

/// As [`parse_command`], and the lines that legacy has printed on standard error before it came upon an error. (Those of a command line
/// without error are in [`Command::notices`].)
pub fn parse_command_noticing(
    args: &[String],
    invocation: Invocation<'_>,
    names: &dyn Names,
) -> (Vec<String>, Result<Command, ParseError>) {
    let args: Vec<Cow<'_, str>> = args.iter().map(|arg| Cow::Borrowed(arg.as_str())).collect();
    parse_words(&args, invocation, names)
}

/// As [`parse_command_noticing`], of words that may be parts of a line.
pub(crate) fn parse_words(
    args: &[Cow<'_, str>],
    invocation: Invocation<'_>,
    names: &dyn Names,
) -> (Vec<String>, Result<Command, ParseError>) {
    Parser::new(args, invocation, names).run()
}

struct Parser<'a> {
    getopt: Getopt<'a>,
    options: LongOptions,
    invocation: Invocation<'a>,
    names: &'a dyn Names,
    command: u32,
    chain: Option<&'a str>,
    position: u32,
    policy: Option<&'a str>,
    new_name: Option<&'a str>,
    table: &'a str,
    table_set: bool,
    verbose: u32,
    wait: Option<i32>,
    wait_interval: bool,
    given: Given,
    invert: bool,
    protocol: Option<String>,
    protocol_loaded: bool,
    ip: IpMatch,
    proto: (u8, bool),
    source: Option<(&'a str, bool)>,
    destination: Option<(&'a str, bool)>,
    jump: Option<&'a str>,
    goto: bool,
    verdict: Option<bpftables_ruleset::Target>,
    target: Option<Instance<TargetBuilder>>,
    matches: Vec<Instance<MatchBuilder>>,
    groups: Vec<&'static str>,
    counters: Counters,
    notices: Vec<String>,
}

impl<'a> Parser<'a> {
    fn new(args: &'a [Cow<'a, str>], invocation: Invocation<'a>, names: &'a dyn Names) -> Self {
        Self {
            getopt: Getopt::new(args),
            options: LongOptions::new(invocation.family),
            invocation,
            names,
            command: 0,
            chain: None,
            position: 0,
            policy: None,
            new_name: None,
            table: "filter",
            table_set: false,
            verbose: 0,
            wait: None,
            wait_interval: false,
            given: Given::default(),
            invert: false,
            protocol: None,
            protocol_loaded: false,
            ip: IpMatch::default(),
            proto: (0, false),
            source: None,
            destination: None,
            jump: None,
            goto: false,
            verdict: None,
            target: None,
            matches: Vec::new(),
            groups: Vec::new(),
            counters: Counters::default(),
            notices: Vec::new(),
        }
    }

    fn run(mut self) -> (Vec<String>, Result<Command, ParseError>) {
        match self.read() {
            Ok(verb) => (Vec::new(), Ok(self.command_of(verb))),
            Err(error) => (self.notices, Err(error)),
        }
    }

    fn read(&mut self) -> Result<Verb, ParseError> {
        while let Some(found) = self.getopt.next(&self.options) {
            match found {
                Found::Option(Code::Own(letter), arg) => {
                    if let Some(verb) = self.own(letter, arg)? {
                        return Ok(verb);
                    }
                }
                Found::Option(Code::Extension(group, index), arg) => self.extension(group, index, arg)?,
                Found::Word("!") => {
                    if self.invert {
                        return Err(ParseError::parameter("multiple consecutive ! not allowed"));
                    }
                    self.invert = true;
                    continue;
                }
                Found::Word(word) => return Err(ParseError::BadArgument(word.to_owned())),
                Found::MissingArgument => {
                    if self.load_protocol_match()? {
                        continue;
                    }
                    let option = self.getopt.word(self.getopt.index.saturating_sub(1)).unwrap_or_default();
                    return Err(ParseError::Parameter(format!("option \"{option}\" requires an argument")));
                }
                Found::Unknown(letter) => {
                    if self.load_protocol_match()? {
                        continue;
                    }
                    let option = match letter {
                        // As a C string: the number 0 ends it.
                        Some('\0') => "-".to_owned(),
                        Some(letter) => format!("-{letter}"),
                        None => self.getopt.word(self.getopt.index.saturating_sub(1)).unwrap_or_default().to_owned(),
                    };
                    return Err(ParseError::Parameter(format!("unknown option \"{option}\"")));
                }
            }
            self.invert = false;
        }
        self.finish()
    }

    fn command_of(self, verb: Verb) -> Command {
        Command {
            table: self.table.to_owned(),
            verb,
            verbose: self.verbose,
            numeric: self.given.has(Once::Numeric),
            exact: self.given.has(Once::Exact),
            line_numbers: self.given.has(Once::LineNumbers),
            wait: self.wait,
            notices: self.notices,
        }
    }

    fn add_command(&mut self, new: u32, beside: u32) -> Result<(), ParseError> {
        if self.invert {
            return Err(ParseError::parameter("unexpected '!' flag"));
        }
        let other = self.command & !beside;
        if other != 0 {
            return Err(ParseError::Parameter(format!(
                "Cannot use -{} with -{}",
                cmd::letter(new),
                cmd::letter(other)
            )));
        }
        self.command |= new;
        Ok(())
    }

    fn once(&mut self, option: Once) -> Result<(), ParseError> {
        if self.given.has(option) {
            return Err(ParseError::Parameter(format!("multiple {} options not allowed", option.name())));
        }
        self.given.add(option);
        if self.invert && !option.invertible() {
            return Err(ParseError::Parameter(format!("cannot have ! before {}", option.name())));
        }
        Ok(())
    }

    /// The optional chain of `-L` and others: in the same word or as the next.
    fn optional_chain(&mut self, arg: Option<&'a str>) {
        if let Some(chain) = arg.or_else(|| self.getopt.take_plain()) {
            self.chain = Some(chain);
        }
    }

    fn optional_position(&mut self) -> Result<bool, ParseError> {
        let Some(text) = self.getopt.take_plain() else { return Ok(false) };
        self.position = rule_number(text)?;
        Ok(true)
    }

    /// One of the program's own options. A verb is returned when nothing after it counts.
    fn own(&mut self, letter: char, arg: Option<&'a str>) -> Result<Option<Verb>, ParseError> {
        match letter {
            'A' | 'C' | 'D' | 'R' | 'I' | 'L' | 'S' | 'F' | 'Z' | 'N' | 'X' | 'E' | 'P' => {
                self.command_option(letter, arg)?;
            }
            'h' => {
                if self.matches.is_empty()
                    && let Some(protocol) = self.protocol.clone()
                    && let Some(builder) = registry::find_match(&protocol, self.invocation.family).ok().flatten()
                {
                    self.matches.push(Instance::new(builder));
                }
                return Ok(Some(Verb::Help { text: self.help_text() }));
            }
            'V' => return Ok(Some(Verb::Version { inverted: self.invert })),
            'm' => self.match_option(arg.unwrap_or_default())?,
            't' => {
                if self.invert {
                    return Err(ParseError::parameter("unexpected ! flag before --table"));
                }
                if self.invocation.restore && self.table_set {
                    return Err(ParseError::Parameter(format!(
                        "The -t option cannot be used in {}.\n",
                        self.invocation.program
                    )));
                }
                self.table = arg.unwrap_or_default();
                self.table_set = true;
            }
            'w' | 'W' => self.wait_option(letter, arg)?,
            'M' => {}
            '4' | '6' => {
                let own = (letter == '4') == (self.invocation.family == Family::V4);
                if !own {
                    return if self.invocation.restore { Ok(Some(Verb::Nothing)) } else { Err(ParseError::OnlyHint) };
                }
            }
            _ => self.rule_option(letter, arg.unwrap_or_default())?,
        }
        Ok(None)
    }

    fn command_option(&mut self, letter: char, arg: Option<&'a str>) -> Result<(), ParseError> {
        match letter {
            'A' | 'C' => {
                self.add_command(if letter == 'A' { cmd::APPEND } else { cmd::CHECK }, 0)?;
                self.chain = arg;
            }
            'D' => {
                self.add_command(cmd::DELETE, 0)?;
                self.chain = arg;
                if let Some(text) = self.getopt.take_plain() {
                    self.position = delete_number(text)?;
                    self.command = cmd::DELETE_NUM;
                }
            }
            'R' => {
                self.add_command(cmd::REPLACE, 0)?;
                self.chain = arg;
                if !self.optional_position()? {
                    return Err(ParseError::parameter("-R requires a rule number"));
                }
            }
            'I' => {
                self.add_command(cmd::INSERT, 0)?;
                self.chain = arg;
                if !self.optional_position()? {
                    self.position = 1;
                }
            }
            'L' | 'S' => {
                self.add_command(if letter == 'L' { cmd::LIST } else { cmd::LIST_RULES }, cmd::ZERO | cmd::ZERO_NUM)?;
                self.optional_chain(arg);
                self.optional_position()?;
            }
            'F' | 'X' => {
                self.add_command(if letter == 'F' { cmd::FLUSH } else { cmd::DELETE_CHAIN }, 0)?;
                self.optional_chain(arg);
            }
            'Z' => {
                self.add_command(cmd::ZERO, cmd::LIST | cmd::LIST_RULES)?;
                self.optional_chain(arg);
                if self.optional_position()? {
                    self.command = cmd::ZERO_NUM;
                }
            }
            'N' => {
                let chain = arg.unwrap_or_default();
                check_chain_name(chain, self.invocation.family)?;
                self.add_command(cmd::NEW_CHAIN, 0)?;
                self.chain = Some(chain);
            }
            'E' => {
                self.add_command(cmd::RENAME_CHAIN, 0)?;
                self.chain = arg;
                let Some(name) = self.getopt.take_plain() else {
                    return Err(ParseError::parameter("-E requires old-chain-name and new-chain-name"));
                };
                check_chain_name(name, self.invocation.family)?;
                self.new_name = Some(name);
            }
            _ => {
                self.add_command(cmd::SET_POLICY, 0)?;
                let Some(policy) = self.getopt.take_plain() else {
                    return Err(ParseError::parameter("-P requires a chain and a policy"));
                };
                self.chain = arg;
                self.policy = Some(policy);
            }
        }
        Ok(())
    }

    fn wait_option(&mut self, letter: char, arg: Option<&str>) -> Result<(), ParseError> {
        if self.invocation.restore {
            return Err(ParseError::Parameter(format!("You cannot use `-{letter}' from iptables-restore")));
        }
        let text = arg.or_else(|| self.getopt.take_plain());
        if letter == 'w' {
            self.wait = Some(match text {
                None => -1,
                Some(text) => value::scan_i32(text).ok_or_else(|| ParseError::parameter("wait seconds not numeric"))?,
            });
            return Ok(());
        }
        self.notices.push(wait_interval(text)?);
        self.wait_interval = true;
        Ok(())
    }

    fn rule_option(&mut self, letter: char, arg: &'a str) -> Result<(), ParseError> {
        let invert = self.invert;
        match letter {
            'p' => {
                self.once(Once::Protocol)?;
                let name = arg.to_ascii_lowercase();
                let number = value::protocol(&name, self.names)?;
                if number == 0 && invert {
                    return Err(ParseError::parameter("rule would never match protocol"));
                }
                if self.invocation.family == Family::V6 && !invert && is_extension_header(number) {
                    self.notices.push(format!("Warning: never matched protocol: {name}. use extension match instead."));
                }
                self.protocol = Some(name);
                self.proto = (number, invert);
                let asked = number != 0 || self.invocation.family == Family::V6;
                self.ip.proto = asked.then_some((number, invert));
            }
            's' => {
                self.once(Once::Source)?;
                self.source = Some((arg, invert));
            }
            'd' => {
                self.once(Once::Destination)?;
                self.destination = Some((arg, invert));
            }
            'i' | 'o' => {
                if arg.is_empty() {
                    return Err(ParseError::parameter("Empty interface is likely to be undesired"));
                }
                self.once(if letter == 'i' { Once::InInterface } else { Once::OutInterface })?;
                let pattern = self.interface(arg)?;
                if letter == 'i' {
                    self.ip.iif = Some(pattern);
                } else {
                    self.ip.oif = Some(pattern);
                }
            }
            'f' => {
                if self.invocation.family == Family::V6 {
                    return Err(ParseError::parameter("`-f' is not supported in IPv6, use -m frag instead"));
                }
                self.once(Once::Fragments)?;
                self.ip.fragment = Some(invert);
            }
            'g' => {
                self.once(Once::Jump)?;
                check_target_name(arg)?;
                self.goto = true;
                self.jump = Some(arg);
            }
            'j' => {
                self.once(Once::Jump)?;
                if arg != "CONTINUE" {
                    self.jump_option(arg)?;
                }
            }
            'v' => {
                if self.verbose == 0 {
                    self.once(Once::Verbose)?;
                }
                self.verbose += 1;
            }
            'n' => self.once(Once::Numeric)?,
            'x' => self.once(Once::Exact)?,
            '0' => self.once(Once::LineNumbers)?,
            _ => self.counters_option(arg)?,
        }
        Ok(())
    }

    fn counters_option(&mut self, arg: &str) -> Result<(), ParseError> {
        self.once(Once::Counters)?;
        let bytes = match arg.split_once(',') {
            Some((_, bytes)) => Some(bytes),
            None => self.getopt.take_plain(),
        };
        let bytes = bytes.ok_or_else(|| ParseError::parameter("--set-counters requires packet and byte counter"))?;
        let packets =
            value::scan_u64(arg).ok_or_else(|| ParseError::parameter("--set-counters packet counter not numeric"))?;
        let bytes =
            value::scan_u64(bytes).ok_or_else(|| ParseError::parameter("--set-counters byte counter not numeric"))?;
        self.counters = Counters { packets, bytes };
        Ok(())
    }

    fn interface(&mut self, name: &str) -> Result<IfacePattern, ParseError> {
        if name.len() >= 16 {
            return Err(ParseError::Parameter(format!("interface name `{name}' must be shorter than 16 characters")));
        }
        if name.contains(['/', ' ']) {
            self.notices.push(format!(
                "Warning: weird character in interface `{name}' ('/' and ' ' are not allowed by the kernel)."
            ));
        }
        let (name, wildcard) = match name.strip_suffix('+') {
            Some(prefix) => (prefix, true),
            None => (name, false),
        };
        Ok(IfacePattern { name: name.into(), wildcard, invert: self.invert })
    }
}

/// Numbers that no IPv6 packet has as its protocol, since the headers that they stand for are passed over.
const fn is_extension_header(protocol: u8) -> bool {
    matches!(protocol, 43 | 44 | 51 | 60)
}

type Address = Option<bpftables_ruleset::AddrMatch>;
