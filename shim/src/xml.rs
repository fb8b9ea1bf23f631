//! `iptables-xml`: a save as XML. Byte for byte what legacy makes of it, also of what is no save.

mod rule;

use crate::context::Context;
use crate::failure::{Failure, IPTABLES_VERSION};
use crate::getopt::{Arg, Getopt, Spec};
use crate::lock::strerror;
use bpftables_parser::ParseError;
use bpftables_parser::restore::{cut_counters, each_word, take_line, words};
use rule::{Word, is_target};
use std::fs::File;
use std::io::{self, Read as _, Write};

const SPEC: Spec = Spec {
    short: &[('c', Arg::None), ('v', Arg::None), ('h', Arg::None)],
    long: &[("verbose", Arg::None, 'v'), ("combine", Arg::None, 'c'), ("help", Arg::None, 'h')],
};

const PROGRAM: &str = "iptables-xml";
const USAGE: &str = "Usage: iptables-xml [-c] [-v] [-h]\n          [--combine ]\n\t   [ --verbose ]\n\t   [ --help ]\n";

/// What is kept of a name.
const MAX_NAME: usize = 32;
/// The most chains of a table.
const MAX_CHAINS: usize = 10_240;

const CLOSE_ACTIONS: &str = "       </actions>\n\n";
const CLOSE_RULE: &str = "      </rule>\n\n";

/// Runs one command line.
pub fn run(arguments: &[String], context: &mut Context<'_>) -> Result<(), Failure> {
    let mut document = Document::new(context.stdout);
    let mut getopt = Getopt::new(SPEC, arguments);
    loop {
        match getopt.option() {
            Ok(Some(('c', _))) => document.combine = true,
            Ok(Some(('v', _))) => {
                writeln!(document.out, "xptables-xml")?;
                document.verbose = true;
            }
            Ok(Some(_)) => return said(context.stderr, USAGE),
            Ok(None) => break,
            // Said and passed over.
            Err(error) => {
                let _ = writeln!(context.stderr, "{}: {error}", context.argv0);
            }
        }
    }
    let mut input = Vec::new();
    match getopt.operands() {
        [] => drop(context.stdin.read_to_end(&mut input)),
        [path] => match File::open(path) {
            Ok(mut file) => drop(file.read_to_end(&mut input)),
            Err(error) => return said(context.stderr, &format!("Can't open {path}: {}", strerror(&error))),
        },
        _ => return said(context.stderr, "Unknown arguments found on commandline"),
    }
    document.whole(&input)
}

/// Ends with exit code 1 after words without a line end of ours.
fn said(stderr: &mut dyn Write, text: &str) -> Result<(), Failure> {
    let _ = stderr.write_all(text.as_bytes());
    Err(Failure::Said(1))
}

/// A chain line of the table under way.
struct Chain {
    name: Vec<u8>,
    policy: Vec<u8>,
    counters: [u64; 2],
    opened: bool,
}

/// The document under way.
struct Document<'o> {
    out: &'o mut dyn Write,
    combine: bool,
    verbose: bool,
    line: u32,
    table: Vec<u8>,
    /// The chain whose element is open, cut.
    chain: Vec<u8>,
    chains: Vec<Chain>,
    /// What the last chain line had; a line with fewer keeps the rest of it.
    counters: [u64; 2],
    close_actions: bool,
    close_rule: bool,
    last: Vec<Word>,
}

fn cut(name: &[u8]) -> Vec<u8> {
    name[..name.len().min(MAX_NAME)].to_vec()
}

impl<'o> Document<'o> {
    fn new(out: &'o mut dyn Write) -> Self {
        Self {
            out,
            combine: false,
            verbose: false,
            line: 0,
            table: Vec::new(),
            chain: Vec::new(),
            chains: Vec::new(),
            counters: [0; 2],
            close_actions: false,
            close_rule: false,
            last: Vec::new(),
        }
    }

    fn whole(&mut self, mut input: &[u8]) -> Result<(), Failure> {
        writeln!(self.out, "<iptables-rules version=\"1.0\">")?;
        while let Some(line) = take_line(&mut input) {
            self.line += 1;
            match line {
                [b'\n', ..] => {}
                [b'#', ..] => self.comment(line)?,
                _ => self.line(line)?,
            }
        }
        if !self.table.is_empty() {
            return Err(Failure::plain(1, format!("{PROGRAM}: COMMIT expected at line {}", self.line + 1)));
        }
        writeln!(self.out, "</iptables-rules>")?;
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Failure> {
        if self.verbose {
            write!(self.out, "<!-- line {} ", self.line)?;
            self.escaped(line)?;
            writeln!(self.out, " -->")?;
        }
        match line {
            b"COMMIT\n" if !self.table.is_empty() => Ok(self.close_table()?),
            [b'*', rest @ ..] => {
                let name = words(rest).next().ok_or_else(|| self.invalid("table name"))?;
                Ok(self.open_table(name)?)
            }
            [b':', rest @ ..] if !self.table.is_empty() => self.chain_line(rest),
            _ if !self.table.is_empty() => self.rule_line(line),
            _ => Err(Failure::plain(1, format!("{PROGRAM}: line {} failed", self.line))),
        }
    }

    /// As libxtables says it, without our word in the version.
    fn problem(&self, text: &str) -> Failure {
        Failure::plain(
            2,
            format!(
                "{PROGRAM} v{IPTABLES_VERSION}: {text}\nError occurred at line: {}\n\
                 Try `{PROGRAM} -h' or '{PROGRAM} --help' for more information.",
                self.line
            ),
        )
    }

    fn invalid(&self, what: &str) -> Failure {
        self.problem(&format!("{PROGRAM}: line {} {what} invalid", self.line))
    }

    fn chain_line(&mut self, rest: &[u8]) -> Result<(), Failure> {
        let mut words = words(rest);
        let name = words.next().ok_or_else(|| self.invalid("chain name"))?;
        let policy = words.next().ok_or_else(|| self.invalid("policy"))?;
        if let Some(counters) = words.next() {
            scan_counters(counters, &mut self.counters);
        }
        if self.chains.len() >= MAX_CHAINS {
            return Err(self.invalid("chain name"));
        }
        let (name, policy) = (name.to_vec(), policy.to_vec());
        self.chains.push(Chain { name, policy, counters: self.counters, opened: false });
        Ok(())
    }

    fn rule_line(&mut self, line: &[u8]) -> Result<(), Failure> {
        let problem = |error: ParseError| self.problem(&error.to_string());
        let (counters, rest) = cut_counters(line, self.line).map_err(problem)?;
        let mut rule = Vec::new();
        each_word(rest, 0, |text, quoted| {
            rule.push(Word { text: text.into_owned(), quoted });
            Ok(())
        })
        .map_err(problem)?;
        let chain = rule.windows(2).find(|pair| pair[0].text == b"-A").map(|pair| pair[1].text.clone());
        let Some(chain) = chain else {
            return Err(Failure::plain(1, format!("{PROGRAM}: line {} failed - no chain found", self.line)));
        };
        self.need_chain(&chain)?;
        self.rule(counters, &rule)?;
        self.last = rule;
        Ok(())
    }

    fn rule(&mut self, counters: Option<[&[u8]; 2]>, rule: &[Word]) -> io::Result<()> {
        let conditions = rule.get(2).is_some_and(|word| !is_target(word));
        if self.combine && conditions && rule::same_conditions(rule, &self.last) {
            self.comment(b"Combine action from next rule")?;
        } else {
            self.close_rule()?;
            write!(self.out, "      <rule ")?;
            if let Some([packets, bytes]) = counters {
                self.attribute("packet-count", packets)?;
                self.attribute("byte-count", bytes)?;
            }
            writeln!(self.out, ">")?;
            self.close_rule = true;
            if conditions {
                writeln!(self.out, "       <conditions>")?;
                self.part(rule, false)?;
                writeln!(self.out, "       </conditions>")?;
            }
        }
        if !self.close_actions {
            writeln!(self.out, "       <actions>")?;
            self.close_actions = true;
        }
        self.part(rule, true)
    }

    fn close_rule(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.close_actions) {
            self.out.write_all(CLOSE_ACTIONS.as_bytes())?;
        }
        if std::mem::take(&mut self.close_rule) {
            self.out.write_all(CLOSE_RULE.as_bytes())?;
        }
        Ok(())
    }

    fn close_chain(&mut self) -> io::Result<()> {
        if self.chain.is_empty() {
            return Ok(());
        }
        self.close_rule()?;
        self.chain.clear();
        writeln!(self.out, "    </chain>")
    }

    /// `empty`: closed at once.
    fn open_chain(&mut self, index: usize, empty: bool) -> io::Result<()> {
        self.close_chain()?;
        let Chain { name, policy, counters, .. } = &self.chains[index];
        let (name, policy, counters) = (cut(name), policy.clone(), *counters);
        write!(self.out, "    <chain ")?;
        self.attribute("name", &name)?;
        if policy != b"-" {
            self.attribute("policy", &policy)?;
        }
        let [packets, bytes] = counters.map(u64::cast_signed);
        writeln!(self.out, "packet-count=\"{packets}\" byte-count=\"{bytes}\" {}>", if empty { "/" } else { "" })?;
        if !empty {
            self.chain = name;
        }
        Ok(())
    }

    /// Opens the chain of a rule, once for each line that named it.
    fn need_chain(&mut self, name: &[u8]) -> io::Result<()> {
        if self.chain == name {
            return Ok(());
        }
        for index in 0..self.chains.len() {
            if self.chains[index].name == name {
                self.open_chain(index, false)?;
                self.chains[index].opened = true;
            }
        }
        Ok(())
    }

    fn is_chain(&self, name: &[u8]) -> bool {
        self.chain == name || self.chains.iter().any(|chain| chain.name == name)
    }

    fn close_table(&mut self) -> io::Result<()> {
        self.close_chain()?;
        for index in 0..self.chains.len() {
            if !self.chains[index].opened {
                self.open_chain(index, true)?;
            }
        }
        self.chains.clear();
        if !std::mem::take(&mut self.table).is_empty() {
            writeln!(self.out, "  </table>")?;
        }
        Ok(())
    }

    fn open_table(&mut self, name: &[u8]) -> io::Result<()> {
        self.close_table()?;
        self.table = cut(name);
        write!(self.out, "  <table ")?;
        self.attribute("name", &cut(name))?;
        writeln!(self.out, ">")
    }

    fn attribute(&mut self, name: &str, value: &[u8]) -> io::Result<()> {
        write!(self.out, "{name}=\"")?;
        self.text(value)?;
        write!(self.out, "\" ")
    }

    /// Characters; bytes beyond ASCII are told by their numbers.
    fn text(&mut self, text: &[u8]) -> io::Result<()> {
        for byte in text {
            match byte {
                127.. => write!(self.out, "&#{byte};")?,
                b'&' => self.out.write_all(b"&amp;")?,
                b'<' => self.out.write_all(b"&lt;")?,
                b'>' => self.out.write_all(b"&gt;")?,
                b'"' => self.out.write_all(b"&quot;")?,
                byte => self.out.write_all(&[*byte])?,
            }
        }
        Ok(())
    }

    fn comment(&mut self, text: &[u8]) -> io::Result<()> {
        write!(self.out, "<!-- ")?;
        self.escaped(text)?;
        writeln!(self.out, " -->")
    }

    /// A comment's text: a star before each hyphen, a blank before that at every other one.
    fn escaped(&mut self, text: &[u8]) -> io::Result<()> {
        let mut second = false;
        for byte in text.strip_suffix(b"\n").unwrap_or(text) {
            if *byte == b'-' {
                self.out.write_all(if second { b" *" } else { b"*" })?;
                second = !second;
            }
            self.out.write_all(&[*byte])?;
        }
        Ok(())
    }
}

/// `sscanf("[%llu:%llu]")`: what cannot be read stays.
fn scan_counters(mut text: &[u8], counters: &mut [u64; 2]) {
    for (counter, before) in counters.iter_mut().zip([b'[', b':']) {
        let Some(rest) = text.strip_prefix(&[before]) else { return };
        let (negative, digits) = match rest {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] => (false, digits),
            digits => (false, digits),
        };
        let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
        if end == 0 {
            return;
        }
        let digit = |value: u64, byte: &u8| value.checked_mul(10)?.checked_add(u64::from(byte - b'0'));
        let value = digits[..end].iter().try_fold(0, digit);
        *counter = match value {
            Some(value) if negative => value.wrapping_neg(),
            Some(value) => value,
            None => u64::MAX,
        };
        text = &digits[end..];
    }
}
