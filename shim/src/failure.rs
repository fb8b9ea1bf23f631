//! The one place where errors become legacy's words and exit codes.

use crate::backend::BackendError;
use crate::lock::{LockError, strerror};
use bpftables_parser::ParseError;
use bpftables_ruleset::{CheckError, EditError};
use std::fmt::Write as _;
use std::io;

/// The version of iptables whose text this is.
pub const IPTABLES_VERSION: &str = "1.8.11";

/// What `--version` and messages say after the program's name.
pub const PROGRAM_VERSION: &str = "1.8.11 (bpf)";

/// The kinds of errors of libxtables (`enum xtables_exittype`), by exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `OTHER_PROBLEM`.
    Other = 1,
    /// `PARAMETER_PROBLEM`: the message is followed by a pointer to the help.
    Parameter = 2,
    /// `VERSION_PROBLEM`: the kernel lacks something.
    Version = 3,
    /// `RESOURCE_PROBLEM`: try again.
    Resource = 4,
}

/// What ends a command without success.
#[derive(Debug)]
pub enum Failure {
    /// An error as libxtables reports it, with program and version before it.
    Message {
        /// Exit code, and what follows the message.
        kind: Kind,
        /// The message.
        text: String,
    },
    /// Only the pointer to the help, exit code 2, perhaps after a line of its own.
    TryHelp(Option<String>),
    /// What the rules or the kernel refused (`iptables: Chain already exists.`), exit code 1, or 4 if it may work later.
    Refused(Errno),
    /// Text as it stands and an exit code.
    Plain {
        /// Complete lines, without the last newline.
        text: String,
        /// Exit code.
        code: u8,
    },
    /// A line of a restore that did not succeed; exit code 1. The reason goes before it where legacy has none.
    Line {
        /// One-based.
        line: u32,
        /// Why, when it is ours to say.
        reason: Option<String>,
    },
    /// Nobody reads our output any more.
    BrokenPipe,
    /// All is said already, only the exit code is left. (0: a line of a restore asked for help or the version, which ends the program.)
    Said(u8),
}

/// The text for an errno of libiptc, and whether the kernel's log is pointed to (`EINVAL`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errno {
    /// Without the full stop.
    pub text: String,
    /// The errno is `EINVAL`.
    pub invalid: bool,
    /// The errno is `EAGAIN`.
    pub again: bool,
}

impl Errno {
    /// Any errno but `EINVAL` and `EAGAIN`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), invalid: false, again: false }
    }
}

impl Failure {
    /// A `PARAMETER_PROBLEM`.
    #[must_use]
    pub fn parameter(text: impl Into<String>) -> Self {
        Self::Message { kind: Kind::Parameter, text: text.into() }
    }

    /// A `VERSION_PROBLEM`.
    #[must_use]
    pub fn version(text: impl Into<String>) -> Self {
        Self::Message { kind: Kind::Version, text: text.into() }
    }

    /// An `OTHER_PROBLEM`.
    #[must_use]
    pub fn other(text: impl Into<String>) -> Self {
        Self::Message { kind: Kind::Other, text: text.into() }
    }

    /// Text of its own and an exit code.
    #[must_use]
    pub fn plain(code: u8, text: impl Into<String>) -> Self {
        Self::Plain { text: text.into(), code }
    }

    /// The same after a dump (`-v -v`): legacy goes by what it did last, and has only the errno's own words then.
    #[must_use]
    pub fn after_dump(self) -> Self {
        let Self::Refused(errno) = self else { return self };
        let text = match errno.text.as_str() {
            "Chain already exists" => "File exists",
            "Bad rule (does a matching rule exist in that chain?)" | "Bad built-in chain name" => {
                "No chain/target/match by that name"
            }
            "Bad policy name" => "Invalid argument",
            text if text.starts_with("Index of ") => "Argument list too long",
            text => text,
        };
        Self::Refused(Errno { text: text.to_owned(), ..errno })
    }

    /// The exit code.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Message { kind, .. } => *kind as u8,
            Self::TryHelp(_) => Kind::Parameter as u8,
            Self::Refused(Errno { again: true, .. }) => Kind::Resource as u8,
            Self::Refused(_) | Self::Line { .. } => 1,
            Self::Plain { code, .. } => *code,
            // What a shell shows of legacy, which dies of SIGPIPE.
            Self::BrokenPipe => 141,
            Self::Said(code) => *code,
        }
    }

    /// What is written to standard error, complete lines. `line` is that of the restore in which it happened.
    #[must_use]
    pub fn render(&self, program: &str, line: Option<u32>) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out, program, line);
        out
    }

    fn write(&self, out: &mut String, program: &str, line: Option<u32>) -> std::fmt::Result {
        match self {
            Self::Message { kind, text } => {
                writeln!(out, "{program} v{PROGRAM_VERSION}: {text}")?;
                match kind {
                    Kind::Parameter => try_help(out, program, line),
                    Kind::Version => writeln!(out, "Perhaps {program} or your kernel needs to be upgraded."),
                    Kind::Other | Kind::Resource => Ok(()),
                }
            }
            Self::TryHelp(text) => {
                if let Some(text) = text {
                    writeln!(out, "{text}")?;
                }
                try_help(out, program, line)
            }
            Self::Refused(errno) => {
                let pointer = if errno.invalid { " Run `dmesg' for more information." } else { "" };
                writeln!(out, "{program}: {}.{pointer}", errno.text)
            }
            Self::Plain { text, .. } => writeln!(out, "{text}"),
            Self::Line { line, reason } => {
                if let Some(reason) = reason {
                    writeln!(out, "{program}: {reason}")?;
                }
                writeln!(out, "{program}: line {line} failed")
            }
            Self::BrokenPipe | Self::Said(_) => Ok(()),
        }
    }
}

/// A failure and, in a restore, the line at which it happened.
#[derive(Debug)]
pub struct Located {
    /// What happened.
    pub failure: Failure,
    /// One-based.
    pub line: Option<u32>,
}

impl<F: Into<Failure>> From<F> for Located {
    fn from(failure: F) -> Self {
        Self { failure: failure.into(), line: None }
    }
}

impl Failure {
    /// With its place in a restore's input.
    #[must_use]
    pub const fn at(self, line: u32) -> Located {
        Located { failure: self, line: Some(line) }
    }
}

fn try_help(out: &mut String, program: &str, line: Option<u32>) -> std::fmt::Result {
    if let Some(line) = line {
        writeln!(out, "Error occurred at line: {line}")?;
    }
    writeln!(out, "Try `{program} -h' or '{program} --help' for more information.")
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        Self::plain(Kind::Resource as u8, error.to_string())
    }
}

impl From<ParseError> for Failure {
    fn from(error: ParseError) -> Self {
        let style = error.style();
        let text = error.to_string();
        match (style.prefix, style.hint) {
            (true, true) => Self::parameter(text),
            (true, false) => Self::Message { kind: Kind::Other, text },
            (false, _) => Self::TryHelp(style.body.then_some(text)),
        }
    }
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<EditError> for Errno {
    fn from(error: EditError) -> Self {
        let invalid = matches!(error, EditError::BuiltinChain | EditError::BadPolicy | EditError::JumpToBuiltin);
        Self { text: error.to_string(), invalid, again: false }
    }
}

impl From<CheckError> for Failure {
    fn from(error: CheckError) -> Self {
        Self::Refused(Errno { invalid: error.is_invalid_argument(), ..Errno::new(error.to_string()) })
    }
}

/// A commit that the datapath refused. Where legacy's kernel only has an errno, ours says which rule and why.
impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        if let BackendError::Refused(error) = error {
            return error.into();
        }
        let again = matches!(error, BackendError::Raced(_));
        Self::Refused(Errno { again, ..Errno::new(error.to_string()) })
    }
}

/// Failing to write output; input errors are told apart where they happen.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::other(format!("cannot write: {}", strerror(&error)))
    }
}

/// Reading what is in force failed: legacy's words for a table that cannot be had.
#[must_use]
pub fn cannot_initialize(program: &str, table: &str, error: &BackendError) -> Failure {
    let text = format!("can't initialize {program} table `{table}': {error}");
    match error {
        // Without the advice to upgrade.
        BackendError::Obstacle(_) => {
            Failure::plain(Kind::Version as u8, format!("{program} v{PROGRAM_VERSION}: {text}"))
        }
        _ => Failure::version(text),
    }
}
