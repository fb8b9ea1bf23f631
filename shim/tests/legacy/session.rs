//! Sessions as text:
//!
//! ```text
//! ### a session's claim
//! $ iptables -A INPUT -j 'x y'
//! < a line of standard input
//! 1 a line of standard output
//! 2 a line of standard error
//! = 2
//! ```
//! `\` at the end of a `<`, `1` or `2` line: without line end. Exit codes other than 0 stand behind `=`. Lines that begin with `#` are
//! comments.

use super::common::Outcome;

/// What a call answered. Versions and dates are taken out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// One command of a session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    /// As it stands in the file.
    pub(crate) line: String,
    pub(crate) argv: Vec<String>,
    pub(crate) stdin: String,
    pub(crate) answer: Answer,
}

/// Commands that run one after the other, in a namespace of their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    pub(crate) name: String,
    pub(crate) calls: Vec<Call>,
}

impl Answer {
    pub(crate) fn new(code: i32, stdout: &str, stderr: &str) -> Self {
        Self { code, stdout: normal(stdout), stderr: normal(stderr) }
    }

    pub(crate) fn of(outcome: Outcome) -> Self {
        Self::new(outcome.code.into(), &outcome.stdout, &outcome.stderr)
    }

    /// As lines of a file.
    pub(crate) fn shown(&self) -> String {
        let mut text = lines('1', &self.stdout) + &lines('2', &self.stderr);
        if self.code != 0 {
            text += &format!("= {}\n", self.code);
        }
        text
    }
}

/// Without what is different from day to day, and with our word in the version line. Of a usage screen only the options that it names are
/// left: ours are explained in words of our own.
fn normal(text: &str) -> String {
    let mut out = String::new();
    if text.lines().nth(2).is_some_and(|line| line.starts_with("Usage: ")) {
        let mut options: Vec<&str> = text.split(|c: char| c != '-' && !c.is_ascii_alphanumeric()).collect();
        options.retain(|word| {
            word.starts_with('-') && word.trim_start_matches('-').len() > usize::from(word.starts_with("--"))
        });
        options.sort_unstable();
        options.dedup();
        return format!("usage: {}\n", options.join(" "));
    }
    for line in text.split_inclusive('\n') {
        match line.split_once(" on ").filter(|(head, _)| head.starts_with("# Generated") || *head == "# Completed") {
            Some((head, _)) => out += &format!("{head}\n"),
            None => {
                out += &line
                    .replace("v1.8.11 (legacy)", "v1.8.11 (bpf)")
                    .replace("1.8.11 (legacy) ;-)", "1.8.11 (bpf) ;-)")
            }
        }
    }
    out
}

fn lines(mark: char, text: &str) -> String {
    let mark = |line: &str| match line.strip_suffix('\n') {
        Some("") => format!("{mark}\n"),
        Some(line) => format!("{mark} {line}\n"),
        None => format!("{mark} {line}\\\n"),
    };
    text.split_inclusive('\n').map(mark).collect()
}

impl Call {
    pub(crate) fn new(argv: Vec<String>, stdin: String) -> Self {
        let line = argv.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
        Self { line, argv, stdin, answer: Answer::default() }
    }

    /// A command line as it stands in a file.
    pub(crate) fn command(line: &str, stdin: String) -> Self {
        Self { line: line.to_owned(), argv: words(line), stdin, answer: Answer::default() }
    }

    pub(crate) fn words(&self) -> Vec<&str> {
        self.argv.iter().map(String::as_str).collect()
    }

    /// The command and its input.
    pub(crate) fn heading(&self) -> String {
        format!("$ {}\n{}", self.line, lines('<', &self.stdin))
    }
}

impl Session {
    /// Keeps the answers to its calls.
    pub(crate) fn record(&mut self, answers: Vec<Answer>) {
        for (call, answer) in self.calls.iter_mut().zip(answers) {
            call.answer = answer;
        }
    }
}

/// A word as [`words`] reads it.
fn quote(word: &str) -> String {
    let plain = |c: char| !matches!(c, ' ' | '\'' | '"' | '\\' | '\n' | '\t');
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\"'\"'"))
}

/// Splits a command line as a shell does: blanks, single and double quotes.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => word.get_or_insert_default().extend(chars.by_ref().take_while(|x| *x != c)),
            ' ' => out.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    out
}

/// Reads a file.
pub(crate) fn parse(text: &str) -> Vec<Session> {
    let mut sessions: Vec<Session> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("### ") {
            sessions.push(Session { name: name.to_owned(), calls: Vec::new() });
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        let session = sessions.last_mut().expect("a session before its lines");
        if mark == "$" {
            session.calls.push(Call { line: rest.to_owned(), argv: words(rest), ..Call::default() });
            continue;
        }
        let call = session.calls.last_mut().expect("a command before what belongs to it");
        let whole = match rest.strip_suffix('\\') {
            Some(rest) => rest.to_owned(),
            None => format!("{rest}\n"),
        };
        match mark {
            "<" => call.stdin += &whole,
            "1" => call.answer.stdout += &whole,
            "2" => call.answer.stderr += &whole,
            "=" => call.answer.code = rest.parse().expect("an exit code"),
            _ => panic!("unknown line {line:?}"),
        }
    }
    sessions
}

/// `text` with the answers of `sessions`, which were read from it.
pub(crate) fn print(text: &str, sessions: &[Session]) -> String {
    let mut out = String::new();
    let mut calls = sessions.iter().flat_map(|session| &session.calls);
    for line in text.lines() {
        if line.starts_with("$ ") {
            let call = calls.next().expect("as many commands as were read");
            out += &call.heading();
            out += &call.answer.shown();
        } else if line.is_empty() || line.starts_with('#') {
            out += line;
            out.push('\n');
        }
    }
    out
}
