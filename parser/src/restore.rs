//! Input of `iptables-restore`.

use crate::again::{Asking, line_id};
use crate::command::{Command, Verb};
use crate::error::ParseError;
use crate::parse::{Invocation, parse_words};
use crate::registry::MAX_NAME;
use crate::value::{self, Read};
use bpftables_ruleset::names::Names;
use bpftables_ruleset::{Counters, Family, LineId};
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{is_not, tag, take, take_till, take_while};
use nom::character::complete::char;
use nom::combinator::opt;
use nom::multi::fold_many0;
use nom::sequence::{preceded, separated_pair, terminated};
use std::borrow::Cow;
use std::ops::Range;

/// The longest piece of a line that legacy reads at once; what is left over is taken for the next line.
const MAX_LINE: usize = 10_239;
/// The longest word of a rule.
const MAX_WORD: usize = 1023;
/// The most words of a rule, with the program's name, `-t` and the table.
const MAX_WORDS: usize = 254;

/// How the input is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The family of the program.
    pub family: Family,
    /// The program's name (`iptables-restore`).
    pub program: &'a str,
    /// `--counters`: the `[packets:bytes]` before a rule count.
    pub counters: bool,
    /// `--noflush`.
    pub noflush: bool,
    /// How often `-v` was given; without `--noflush` each rule gets it.
    pub verbose: u32,
    /// `--table`: lines of other tables are skipped.
    pub table: Option<&'a str>,
}

/// A line that means something.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// From 1.
    pub line: u32,
    /// What it says.
    pub kind: Kind,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `# ...` with its line end, to be printed with `-v`.
    Comment(Box<[u8]>),
    /// `*NAME`.
    Table(String),
    /// `*NAME` of a table that is not asked for.
    OtherTable,
    /// `:NAME POLICY [packets:bytes]`.
    Chain {
        /// The chain.
        name: String,
        /// `None` for `-`, else as written.
        policy: Option<String>,
        /// The policy's counters, with `--counters` only.
        counters: Option<Counters>,
        /// What is wrong behind the name, to be reported once the chain was made.
        problem: Option<ParseError>,
    },
    /// A rule or another command.
    Command(Box<Command>),
    /// `COMMIT`.
    Commit,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A wrong command, chain or table line. The message body is that of [`ParseError`].
    #[error("{error}")]
    Parse {
        /// From 1.
        line: u32,
        /// What is wrong.
        error: ParseError,
        /// Lines for standard error that legacy has printed before it came upon the error.
        notices: Vec<String>,
    },
    /// A line that means nothing where it stands. Exit code 1, `PROGRAM: line N failed`.
    #[error("line {line} failed")]
    Failed {
        /// From 1.
        line: u32,
    },
    /// The input ended within a table. Exit code 1, `PROGRAM: COMMIT expected at line N`.
    #[error("COMMIT expected at line {line}")]
    CommitExpected {
        /// The line after the last.
        line: u32,
    },
}

impl Error {
    /// The exit code of legacy's program.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Parse { error, .. } => error.exit_code(),
            Self::Failed { .. } | Self::CommitExpected { .. } => 1,
        }
    }
}

/// Where lines come from, one after the other: nothing behind a line is asked for before that line was dealt with.
pub trait Lines {
    /// The next line as [`take_line`] cuts it.
    fn next_line(&mut self) -> Option<&[u8]>;
}

impl Lines for &[u8] {
    fn next_line(&mut self) -> Option<&[u8]> {
        take_line(self)
    }
}

/// Reads items, one line after the other. After an error nothing more should be asked, as legacy stops there.
pub struct Reader<'a, L = &'a [u8]> {
    lines: L,
    state: State<'a>,
    done: bool,
}

/// What is known from the lines before.
struct State<'a> {
    line: u32,
    options: Options<'a>,
    names: &'a dyn Names,
    table: Option<String>,
    skipping: bool,
}

impl<L> std::fmt::Debug for Reader<'_, L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let State { line, table, .. } = &self.state;
        f.debug_struct("Reader").field("line", line).field("table", table).finish_non_exhaustive()
    }
}

impl<'a, L: Lines> Reader<'a, L> {
    /// Begins with the first line of `lines`.
    pub const fn new(lines: L, options: Options<'a>, names: &'a dyn Names) -> Self {
        Self { lines, state: State { line: 0, options, names, table: None, skipping: false }, done: false }
    }
}

/// Whether a line, which appends a rule to a chain, is done with already.
pub type Known<'k> = dyn FnMut(&str, LineId) -> bool + 'k;

impl State<'_> {
    fn item(&mut self, line: &[u8], known: &mut Known<'_>) -> Result<Option<Kind>, Error> {
        let number = self.line;
        let parse = |error| Error::Parse { line: number, error, notices: Vec::new() };
        match line {
            [b'\n', ..] => Ok(None),
            [b'#', ..] => Ok(Some(Kind::Comment(line.into()))),
            b"COMMIT\n" if self.table.is_some() => {
                self.table = None;
                Ok(Some(Kind::Commit))
            }
            [b'*', rest @ ..] if self.table.is_none() => self.table_line(rest).map(Some).map_err(parse),
            [b':', rest @ ..] if self.table.is_some() => self.chain_line(rest).map(Some).map_err(parse),
            _ => match &self.table {
                Some(table) => {
                    let mut id = LineId::NONE;
                    if let Some(chain) = appends_to(line) {
                        id = line_id(self.options.family, line);
                        if known(chain, id) {
                            return Ok(None);
                        }
                    }
                    let names = Asking::new(self.names);
                    let (notices, command) = self.rule_line(table, line, &names).map_err(parse)?;
                    let mut command = command.map_err(|error| Error::Parse { line: number, error, notices })?;
                    if let Verb::Append { rule, .. } = &mut command.verb
                        && !names.was_asked()
                        && command.notices.is_empty()
                        && command.verbose == 0
                        && rule.counters == Counters::default()
                    {
                        rule.line = id;
                    }
                    Ok(Some(Kind::Command(Box::new(command))))
                }
                None if self.skipping => Ok(None),
                None => Err(Error::Failed { line: number }),
            },
        }
    }

    fn table_line(&mut self, rest: &[u8]) -> Result<Kind, ParseError> {
        let Some(name) = words(rest).next() else {
            return Err(ParseError::Parameter(format!(
                "{}: line {} table name invalid",
                self.options.program, self.line
            )));
        };
        let name = text(name)?;
        self.skipping = self.options.table.is_some_and(|table| table != name);
        if self.skipping {
            return Ok(Kind::OtherTable);
        }
        self.table = Some(name.clone());
        Ok(Kind::Table(name))
    }

    fn chain_line(&self, rest: &[u8]) -> Result<Kind, ParseError> {
        let Options { program, counters: with_counters, .. } = self.options;
        let mut words = words(rest);
        let invalid = |what: &str| ParseError::Parameter(format!("{program}: line {} {what} invalid", self.line));
        let name = text(words.next().ok_or_else(|| invalid("chain name"))?)?;
        if name.len() > MAX_NAME {
            return Err(ParseError::Parameter(format!("Invalid chain name `{name}' ({MAX_NAME} chars max)")));
        }
        let broken = |name, problem| Ok(Kind::Chain { name, policy: None, counters: None, problem: Some(problem) });
        let Some(policy) = words.next() else { return broken(name, invalid("policy")) };
        let policy = text(policy)?;
        if policy == "-" {
            return Ok(Kind::Chain { name, policy: None, counters: None, problem: None });
        }
        let counters = match words.next() {
            Some(word) => chain_counters(&text(word)?).map(Some),
            None if with_counters => None,
            None => Some(None),
        };
        let Some(counters) = counters else {
            let problem = ParseError::Parameter(format!("invalid policy counters for chain '{name}'"));
            return broken(name, problem);
        };
        Ok(Kind::Chain { name, policy: Some(policy), counters: counters.filter(|_| with_counters), problem: None })
    }

    /// The command of a line, or the notices before its error and the error.
    fn rule_line(&self, table: &str, line: &[u8], names: &dyn Names) -> Result<Noticed, ParseError> {
        let mut args = Vec::with_capacity(24);
        args.push(Cow::Borrowed("-t"));
        args.push(Cow::Borrowed(table));
        if !self.options.noflush {
            args.extend((0..self.options.verbose.min(MAX_WORDS as u32)).map(|_| Cow::Borrowed("-v")));
        }
        let rest = self.rule_counters(line, &mut args)?;
        split(rest, &mut args)?;
        let invocation = Invocation { family: self.options.family, restore: true, program: self.options.program };
        Ok(parse_words(&args, invocation, names))
    }

    /// `[packets:bytes]` before a rule.
    fn rule_counters<'l>(&self, line: &'l [u8], args: &mut Vec<Cow<'l, str>>) -> Result<&'l [u8], ParseError> {
        let (counters, rest) = cut_counters(line, self.line)?;
        if let Some([packets, bytes]) = counters.filter(|_| self.options.counters) {
            args.push(Cow::Borrowed("--set-counters"));
            args.push(Cow::Borrowed(utf8(packets)?));
            args.push(Cow::Borrowed(utf8(bytes)?));
        }
        Ok(rest)
    }
}

/// The chain that a line appends to, if it says so in the plainest way.
fn appends_to(line: &[u8]) -> Option<&str> {
    let rest = line.strip_prefix(b"-A ")?;
    let end = memchr::memchr(b' ', rest)?;
    std::str::from_utf8(&rest[..end]).ok()
}

/// The next line with its line end, or the piece of it that fits.
pub fn take_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let (end, _) = line_end(rest, 0);
    let (line, after) = rest.split_at(end);
    *rest = after;
    Some(seen(line))
}

/// How much of `bytes` belongs to a line of which `before` bytes were taken already, and whether the line ends there.
#[must_use]
pub fn line_end(bytes: &[u8], before: usize) -> (usize, bool) {
    let room = MAX_LINE - before.min(MAX_LINE);
    let window = &bytes[..bytes.len().min(room)];
    match memchr::memchr(b'\n', window) {
        Some(index) => (index + 1, true),
        None => (window.len(), window.len() == room),
    }
}

/// What legacy sees of a line: what follows a zero byte is not seen.
#[must_use]
pub fn seen(line: &[u8]) -> &[u8] {
    memchr::memchr(0, line).map_or(line, |zero| &line[..zero])
}

/// Packets and bytes before a rule, as they stand.
pub type Written<'l> = [&'l [u8]; 2];

/// The `[packets:bytes]` before a rule, and the rest of the line. `number` is the line's, for messages.
///
/// # Errors
/// There are not both.
pub fn cut_counters(line: &[u8], number: u32) -> Result<(Option<Written<'_>>, &[u8]), ParseError> {
    let Some(body) = line.strip_prefix(b"[") else { return Ok((None, line)) };
    let need = |what| ParseError::Parameter(format!("Bad line {number}: need {what}"));
    // Legacy looks for the bracket first, and cuts with strtok: separators before a piece are skipped, and a piece may go on beyond the
    // bracket. Where it then ends, the rule ends for legacy.
    let bracket = body.iter().position(|byte| *byte == b']').ok_or_else(|| need("]"))?;
    let packets = strtok(body, 0, b':').ok_or_else(|| need(":"))?;
    let bytes = strtok(body, packets.end + 1, b']').ok_or_else(|| need("]"))?;
    let end = [packets.end, bytes.end].into_iter().find(|end| *end > bracket).unwrap_or(body.len());
    Ok((Some([&body[packets], &body[bytes]]), &body[bracket + 1..end]))
}

/// strtok(3) with one separator: the next piece from `from` on.
fn strtok(line: &[u8], from: usize, separator: u8) -> Option<Range<usize>> {
    let start = from + line.get(from..)?.iter().position(|byte| *byte != separator)?;
    let end = line[start..].iter().position(|byte| *byte == separator).map_or(line.len(), |length| start + length);
    Some(start..end)
}

/// Notices before an error, and the command or the error.
type Noticed = (Vec<String>, Result<Command, ParseError>);

impl<L: Lines> Iterator for Reader<'_, L> {
    type Item = Result<Item, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_unknown(&mut |_, _| false)
    }
}

impl<L: Lines> Reader<'_, L> {
    /// The next item but for lines that are `known`.
    pub fn next_unknown(&mut self, known: &mut Known<'_>) -> Option<Result<Item, Error>> {
        if self.done {
            return None;
        }
        while let Some(line) = self.lines.next_line() {
            self.state.line += 1;
            match self.state.item(line, known) {
                Ok(None) => {}
                Ok(Some(kind)) => return Some(Ok(Item { line: self.state.line, kind })),
                Err(error) => {
                    self.done = true;
                    return Some(Err(error));
                }
            }
        }
        self.done = true;
        self.state.table.take().map(|_| Err(Error::CommitExpected { line: self.state.line + 1 }))
    }
}

fn text(bytes: &[u8]) -> Result<String, ParseError> {
    utf8(bytes).map(str::to_owned)
}

fn utf8(bytes: &[u8]) -> Result<&str, ParseError> {
    std::str::from_utf8(bytes).map_err(|_| ParseError::NotUtf8(String::from_utf8_lossy(bytes).into_owned()))
}

/// Words of a table or chain line.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t' | b'\n')).filter(|word| !word.is_empty())
}

/// `[packets:bytes]` after a policy; the closing bracket is not looked for.
fn chain_counters(word: &str) -> Option<Counters> {
    let bytes = preceded(value::blanks, value::signed);
    let counters = preceded(char('['), separated_pair(value::signed, char(':'), bytes));
    let mut both = counters.map(|(packets, bytes)| (value::wrapped(packets), value::wrapped(bytes)));
    both.parse(word).ok().map(|(_, (packets, bytes))| Counters { packets, bytes })
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n')
}

/// The rest of a quoted word. A backslash takes the next byte as it is. Also says whether the closing quote is there.
fn quoted(line: &[u8]) -> Read<&[u8], (Vec<u8>, bool)> {
    let escaped = preceded(tag("\\"), take(1usize));
    let body = fold_many0(alt((is_not("\\\""), escaped)), Vec::new, |mut word: Vec<u8>, part: &[u8]| {
        word.extend_from_slice(part);
        word
    });
    // A backslash at the end of the line stands for nothing.
    (terminated(body, opt(tag("\\"))), opt(tag("\"")).map(|quote| quote.is_some())).parse(line)
}

/// A word, and whether it ended with quotes.
type RuleWord<'l> = (Cow<'l, [u8]>, bool);

/// What follows a word between quotes without a backslash, after one space, and the word.
fn quoted_as_it_stands(line: &[u8]) -> Option<(&[u8], Option<RuleWord<'_>>)> {
    let body = line.strip_prefix(b" \"")?;
    let end = memchr::memchr2(b'"', b'\\', body).filter(|end| body[*end] == b'"')?;
    Some((&body[end + 1..], Some((Cow::Borrowed(&body[..end]), true))))
}

/// A word of a rule, if any is left: up to a space, or to the end of the quotes in it.
fn word(line: &[u8]) -> Read<&[u8], Option<RuleWord<'_>>> {
    if let Some(found) = quoted_as_it_stands(line) {
        return Ok(found);
    }
    let (line, plain) = preceded(take_while(is_space), take_till(|byte| is_space(byte) || byte == b'"')).parse(line)?;
    let (line, body) = opt(preceded(tag("\""), quoted)).parse(line)?;
    let (word, closed) = match body {
        None => (Cow::Borrowed(plain), false),
        Some((body, closed)) => (Cow::Owned([plain, &body].concat()), closed),
    };
    Ok((line, (closed || !word.is_empty()).then_some((word, closed))))
}

/// Splits a rule into words at spaces and tabs. Double quotes hold spaces, a backslash in them the next character; where they close, the
/// word ends. Single quotes mean nothing.
fn split<'l>(line: &'l [u8], args: &mut Vec<Cow<'l, str>>) -> Result<(), ParseError> {
    // Legacy's list has the program's name too.
    each_word(line, args.len() + 1, |word, _| {
        args.push(match word {
            Cow::Borrowed(word) => Cow::Borrowed(utf8(word)?),
            Cow::Owned(word) => Cow::Owned(text(&word)?),
        });
        Ok(())
    })
}

/// Gives `found` each word of a rule, and whether it ended with quotes. `before` is how many words there are before.
///
/// # Errors
/// A word is too long, there are too many of them, or `found` says so.
pub fn each_word<'l>(
    mut line: &'l [u8],
    before: usize,
    mut found: impl FnMut(Cow<'l, [u8]>, bool) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    let mut count = before;
    while let Ok((rest, Some((word, quoted)))) = word(line) {
        if word.len() > MAX_WORD {
            return Err(ParseError::parameter("Parameter too long!"));
        }
        if count >= MAX_WORDS {
            return Err(ParseError::parameter("Parser cannot handle more arguments"));
        }
        found(word, quoted)?;
        count += 1;
        line = rest;
    }
    Ok(())
}
