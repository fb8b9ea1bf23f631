//! A program over the two crates that answers as iptables does, with a ruleset in memory; for comparison with legacy's answers.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "shared by several test programs")]

use bpftables_parser::restore::{self, Kind, Reader};
use bpftables_parser::{Command, Invocation, Names, ParseError, RuleSpec, Verb, parse_command_noticing};
use bpftables_ruleset::names::{NumberNames, SetLookup, UNKNOWN_HOST};
use bpftables_ruleset::text::{list, save};
use bpftables_ruleset::{EditError, Editor, Family, NoCounters, Ruleset, TableKind, check};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// The names that legacy knew when the fixtures were made.
pub struct TestNames;

const SERVICES: &[(&str, u16, &str)] = &[
    ("tcpmux", 1, "tcp"),
    ("echo", 7, "tcp"),
    ("echo", 7, "udp"),
    ("discard", 9, "tcp"),
    ("discard", 9, "udp"),
    ("systat", 11, "tcp"),
    ("daytime", 13, "tcp"),
    ("netstat", 15, "tcp"),
    ("ssh", 22, "tcp"),
    ("domain", 53, "tcp"),
    ("domain", 53, "udp"),
    ("http", 80, "tcp"),
    ("https", 443, "tcp"),
    ("https", 443, "udp"),
];

const HOSTS: &[(&str, IpAddr)] =
    &[("localhost", IpAddr::V4(Ipv4Addr::LOCALHOST)), ("localhost", IpAddr::V6(Ipv6Addr::LOCALHOST))];

const PROTOCOLS: &[(&str, u8)] = &[
    ("ip", 0),
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("ipv6-route", 43),
    ("ipv6-frag", 44),
    ("gre", 47),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
];
const USERS: &[(&str, u32)] = &[("root", 0), ("games", 5)];
const GROUPS: &[(&str, u32)] = &[("root", 0), ("games", 60)];

impl Names for TestNames {
    fn protocol_number(&self, name: &str) -> Option<u8> {
        PROTOCOLS.iter().find(|entry| entry.0 == name).map(|entry| entry.1)
    }
    fn protocol_name(&self, number: u8) -> Option<String> {
        PROTOCOLS.iter().find(|entry| entry.1 == number).map(|entry| entry.0.to_owned())
    }
    fn service_port(&self, name: &str, protocol: Option<&str>) -> Option<u16> {
        let found = SERVICES.iter().find(|entry| entry.0 == name && protocol.is_none_or(|p| p == entry.2));
        found.map(|entry| entry.1)
    }
    fn service_name(&self, port: u16, protocol: Option<&str>) -> Option<String> {
        let found = SERVICES.iter().find(|entry| entry.1 == port && protocol.is_none_or(|p| p == entry.2));
        found.map(|entry| entry.0.to_owned())
    }
    fn host_addresses(&self, name: &str, family: Family) -> Result<Vec<IpAddr>, &'static str> {
        let found = HOSTS.iter().filter(|entry| entry.0 == name && Family::of(entry.1) == family);
        let found: Vec<IpAddr> = found.map(|entry| entry.1).collect();
        if found.is_empty() { Err(UNKNOWN_HOST) } else { Ok(found) }
    }
    fn host_name(&self, addr: IpAddr) -> Option<String> {
        HOSTS.iter().find(|entry| entry.1 == addr).map(|entry| entry.0.to_owned())
    }
    fn network_address(&self, name: &str) -> Option<Ipv4Addr> {
        (name == "loopback").then_some(Ipv4Addr::new(127, 0, 0, 0))
    }
    fn network_name(&self, addr: Ipv4Addr) -> Option<String> {
        (addr == Ipv4Addr::new(127, 0, 0, 0)).then(|| "loopback".to_owned())
    }
    fn user_id(&self, name: &str) -> Option<u32> {
        USERS.iter().find(|entry| entry.0 == name).map(|entry| entry.1)
    }
    fn user_name(&self, id: u32) -> Option<String> {
        USERS.iter().find(|entry| entry.1 == id).map(|entry| entry.0.to_owned())
    }
    fn group_id(&self, name: &str) -> Option<u32> {
        GROUPS.iter().find(|entry| entry.0 == name).map(|entry| entry.1)
    }
    fn group_name(&self, id: u32) -> Option<String> {
        GROUPS.iter().find(|entry| entry.1 == id).map(|entry| entry.0.to_owned())
    }
    fn find_set(&self, name: &str) -> SetLookup {
        match name {
            "web" | "pair" | "bulk" => SetLookup::Found(Some(Family::V4)),
            "six" => SetLookup::Found(Some(Family::V6)),
            "nope" => SetLookup::Missing,
            // Whatever sets real rulesets name.
            _ => SetLookup::Found(None),
        }
    }
    fn has_pinned_object(&self, path: &str) -> bool {
        path.starts_with('/') && path.ends_with("/bpf/bpftables-says-yes")
    }
    fn number_names(&self, which: NumberNames) -> Option<Vec<(u32, String)>> {
        let names: &[(u32, &str)] = match which {
            NumberNames::DeviceGroups => &[(0, "default"), (7, "office"), (16, "lab")],
            NumberNames::Realms => &[(0, "cosmos"), (12, "lan")],
            NumberNames::ConnectionLabels => &[(0, "eth0-in"), (1, "eth0-out"), (40, "bulk")],
        };
        Some(names.iter().map(|(number, name)| (*number, (*name).to_owned())).collect())
    }
}

/// What a program answers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub code: u8,
    pub out: String,
    pub err: String,
}

/// A message with all that stands around it.
pub fn message(error: &ParseError, program: &str, line: Option<u32>) -> String {
    let style = error.style();
    let mut text = String::new();
    if style.body && style.prefix {
        write!(text, "{program} v1.8.11 (bpf): ").unwrap();
    }
    if style.body {
        writeln!(text, "{error}").unwrap();
    }
    if style.hint {
        if let Some(line) = line {
            writeln!(text, "Error occurred at line: {line}").unwrap();
        }
        writeln!(text, "Try `{program} -h' or '{program} --help' for more information.").unwrap();
    }
    text
}

/// The program's name for a family.
fn program(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

fn kernel(program: &str, text: &str, invalid: bool) -> String {
    format!("{program}: {text}.{}\n", if invalid { " Run `dmesg' for more information." } else { "" })
}

enum Refused {
    Parse(ParseError),
    Edit(EditError),
}

impl From<EditError> for Refused {
    fn from(error: EditError) -> Self {
        Self::Edit(error)
    }
}

/// Does what a command says, but for listing.
fn apply(editor: &mut Editor<'_>, verb: &Verb, echo: bool, answer: &mut Answer) -> Result<(), Refused> {
    let rule = |spec: &RuleSpec, editor: &Editor<'_>, answer: &mut Answer| {
        let resolved = spec.clone().resolve(|name| editor.is_chain(name)).map_err(Refused::Parse)?;
        if let Some(notice) = &resolved.notice {
            writeln!(answer.err, "{notice}").unwrap();
        }
        Ok::<_, Refused>(resolved.rules)
    };
    let mut last = Ok(());
    match verb {
        Verb::Append { chain, rule: spec }
        | Verb::Insert { chain, rule: spec, .. }
        | Verb::Replace { chain, rule: spec, .. }
        | Verb::Delete { chain, rule: spec }
        | Verb::Check { chain, rule: spec } => {
            let mut rules = rule(spec, editor, answer)?;
            if let Verb::Replace { .. } = verb {
                rules.truncate(1);
            }
            for rule in rules {
                if echo {
                    list::echo(&rule, editor.family(), &TestNames, &mut answer.out).unwrap();
                }
                let done = match verb {
                    Verb::Append { .. } => editor.append(chain, rule),
                    Verb::Insert { position, .. } => editor.insert(chain, *position, rule),
                    Verb::Replace { position, .. } => editor.replace(chain, *position, rule),
                    Verb::Delete { .. } => editor.delete(chain, &rule),
                    _ => editor.check(chain, &rule),
                };
                if done.is_err() {
                    last = done;
                }
            }
        }
        Verb::DeleteNumber { chain, position } => last = editor.delete_number(chain, *position),
        Verb::Flush { chain: Some(chain) } => last = editor.flush(chain),
        Verb::Flush { chain: None } => editor.flush_all(),
        Verb::Zero { chain: Some(chain) } => last = editor.zero(chain, &NoCounters),
        Verb::Zero { chain: None } => editor.zero_all(&NoCounters),
        Verb::ZeroNumber { chain, position } => last = editor.zero_number(chain, *position, &NoCounters),
        Verb::NewChain { chain } => last = editor.new_chain(chain),
        Verb::DeleteChain { chain: Some(chain) } => last = editor.delete_chain(chain),
        Verb::DeleteChain { chain: None } => last = editor.delete_all_chains(),
        Verb::Rename { chain, to } => last = editor.rename_chain(chain, to),
        Verb::Policy { chain, policy, counters } => {
            last = editor.set_policy(chain, policy, *counters, &NoCounters);
        }
        _ => {}
    }
    Ok(last?)
}

/// Runs a command line.
pub fn run(rules: &mut Ruleset, args: &[String]) -> Answer {
    let program = program(rules.family);
    let invocation = Invocation { family: rules.family, restore: false, program };
    let (notices, command) = parse_command_noticing(args, invocation, &TestNames);
    let mut answer = Answer::default();
    let lines = notices.iter().chain(command.iter().flat_map(|command| &command.notices));
    for notice in lines {
        writeln!(answer.err, "{notice}").unwrap();
    }
    match command {
        Ok(command) => execute(rules, &command, &mut answer),
        Err(error) => {
            answer.code = error.exit_code();
            answer.err += &message(&error, program, None);
        }
    }
    answer
}

fn execute(rules: &mut Ruleset, command: &Command, answer: &mut Answer) {
    let program = program(rules.family);
    let Some(kind) = TableKind::from_name(&command.table) else {
        answer.code = 3;
        answer.err += &format!(
            "{program} v1.8.11 (bpf): can't initialize {program} table `{}': Table does not exist (do you need to \
             insmod?)\nPerhaps {program} or your kernel needs to be upgraded.\n",
            command.table
        );
        return;
    };
    let mut table = rules.table_mut(kind).clone();
    let refused = match &command.verb {
        Verb::List { chain, position, .. } => {
            let options = list::Options {
                verbose: command.verbose > 0,
                numeric: command.numeric,
                exact: command.exact,
                line_numbers: command.line_numbers,
            };
            let chain = chain.as_deref();
            list::list(&table, chain, *position, options, &TestNames, &NoCounters, &mut answer.out)
                .unwrap()
                .ok_or(Refused::Edit(EditError::NoSuchChain))
                .err()
        }
        Verb::ListRules { chain, position, .. } => {
            let counters = command.verbose > 0;
            save::list_rules(&table, chain.as_deref(), *position, counters, &NoCounters, &mut answer.out)
                .unwrap()
                .ok_or(Refused::Edit(EditError::NoSuchChain))
                .err()
        }
        verb => apply(&mut Editor::new(&mut table), verb, command.verbose > 0, answer).err(),
    };
    match refused {
        Some(Refused::Parse(error)) => {
            answer.code = error.exit_code();
            answer.err += &message(&error, program, None);
        }
        Some(Refused::Edit(error)) => {
            answer.code = 1;
            answer.err += &kernel(program, &error.to_string(), error.is_invalid_argument());
        }
        None => match check(&table) {
            Ok(()) => *rules.table_mut(kind) = table,
            Err(error) => {
                answer.code = 1;
                answer.err += &kernel(program, &error.to_string(), error.is_invalid_argument());
            }
        },
    }
}

/// What `-m NAME -h` prints.
pub fn help(program: &str, family: Family, name: &str) -> String {
    let invocation = Invocation { family, restore: false, program };
    let args = ["-m", name, "-h"].map(str::to_owned);
    match parse_command_noticing(&args, invocation, &TestNames).1.unwrap().verb {
        Verb::Help { text } => text,
        other => panic!("{other:?}"),
    }
}

/// The restoring program's name for a family.
fn restore_program(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables-restore",
        Family::V6 => "ip6tables-restore",
    }
}

/// Runs a restore.
pub fn restore(rules: &mut Ruleset, input: &[u8], counters: bool, noflush: bool) -> Answer {
    let options = restore::Options {
        family: rules.family,
        program: restore_program(rules.family),
        counters,
        noflush,
        verbose: 0,
        table: None,
    };
    let mut answer = Answer::default();
    let mut reader = Reader::new(input, options, &TestNames);
    while let Some(item) = reader.next() {
        let refused = match item {
            Err(error) => Some(read_error(rules.family, &error)),
            Ok(item) => match item.kind {
                Kind::Table(name) => restore_table(rules, &name, item.line, noflush, &mut reader, &mut answer),
                _ => None,
            },
        };
        if let Some((code, err)) = refused {
            answer.code = code;
            answer.err += &err;
            return answer;
        }
    }
    answer
}

fn read_error(family: Family, error: &restore::Error) -> (u8, String) {
    let program = restore_program(family);
    let text = match error {
        restore::Error::Parse { line, error, notices } => {
            let lines = notices.iter().map(|line| format!("{line}\n")).collect::<String>();
            lines + &message(error, program, Some(*line))
        }
        other => format!("{program}: {other}\n"),
    };
    (error.exit_code(), text)
}

fn restore_table(
    rules: &mut Ruleset,
    name: &str,
    line: u32,
    noflush: bool,
    reader: &mut Reader<'_>,
    answer: &mut Answer,
) -> Option<(u8, String)> {
    let program = restore_program(rules.family);
    let parameter = |text: String, line| {
        let error = ParseError::Parameter(text);
        Some((2, message(&error, program, Some(line))))
    };
    let failed = |line: u32| Some((1, format!("{program}: line {line} failed\n")));
    let Some(kind) = TableKind::from_name(name) else {
        return parameter(format!("{program}: unable to initialize table '{name}'"), line);
    };
    let mut table = rules.table_mut(kind).clone();
    let mut editor = Editor::new(&mut table);
    if !noflush {
        editor.reset();
    }
    for item in reader.by_ref() {
        let item = match item {
            Ok(item) => item,
            Err(error) => return Some(read_error(rules.family, &error)),
        };
        match item.kind {
            Kind::Commit => {
                drop(editor);
                if check(&table).is_err() {
                    return failed(item.line);
                }
                *rules.table_mut(kind) = table;
                return None;
            }
            Kind::Chain { name, policy, counters, problem } => {
                if editor.is_builtin(&name) {
                } else if noflush && editor.is_chain(&name) {
                    editor.flush(&name).unwrap();
                } else if editor.new_chain(&name).is_err() {
                    return parameter(format!("error creating chain '{name}':File exists"), item.line);
                }
                if let Some(policy) = policy
                    && let Err(error) = editor.set_policy(&name, &policy, counters, &NoCounters)
                {
                    let text = format!("Can't set policy `{policy}' on `{name}' line {}: {error}", item.line);
                    return Some((1, message(&ParseError::Other(text), program, None)));
                }
                if let Some(problem) = problem {
                    return Some((problem.exit_code(), message(&problem, program, Some(item.line))));
                }
            }
            Kind::Command(command) => {
                for notice in &command.notices {
                    writeln!(answer.err, "{notice}").unwrap();
                }
                match apply(&mut editor, &command.verb, false, answer) {
                    Ok(()) => {}
                    Err(Refused::Edit(_)) => return failed(item.line),
                    Err(Refused::Parse(error)) => {
                        return Some((error.exit_code(), message(&error, program, Some(item.line))));
                    }
                }
            }
            Kind::Comment(_) | Kind::Table(_) | Kind::OtherTable => {}
        }
    }
    None
}

/// All tables in the order in which they were initialised.
pub fn saved(rules: &Ruleset, counters: bool) -> String {
    let mut out = String::new();
    for table in &rules.tables {
        save::table(table, counters, &NoCounters, &mut out).unwrap();
    }
    out
}

/// Splits a fixture's command at spaces; double quotes and backslashes as in a restore file, but a quoted part may be empty.
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(first) = chars.next() {
        let mut word = String::new();
        match first {
            ' ' => continue,
            '"' => {
                while let Some(c) = chars.next().filter(|c| *c != '"') {
                    word.push(if c == '\\' { chars.next().unwrap() } else { c });
                }
            }
            c => {
                word.push(c);
                word.extend(std::iter::from_fn(|| chars.next_if(|c| *c != ' ')));
            }
        }
        words.push(word);
    }
    words
}

/// The shared corpus, if it is on this machine.
pub fn corpus() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let path = std::env::var_os("BPFTABLES_CORPUS").map_or_else(beside, PathBuf::from);
    path.is_dir().then_some(path)
}

/// The bytes of a `.gz` file.
pub fn gunzip(path: &std::path::Path) -> Vec<u8> {
    let output = std::process::Command::new("gzip").arg("-dc").arg(path).output().unwrap();
    assert!(output.status.success(), "gzip -dc {}", path.display());
    output.stdout
}
