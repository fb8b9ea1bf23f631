//! What can be wrong with a command line or a line of a restore file.

/// Which kind of extension a name was taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtensionKind {
    /// `-m NAME`.
    Match,
    /// `-j NAME`.
    Target,
}

impl ExtensionKind {
    /// The word that legacy uses.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Target => "target",
        }
    }
}

impl std::fmt::Display for ExtensionKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// What is wrong. `Display` is the body of legacy's message: without `iptables v1.8.11 (bpf): ` before it, the line end after it, and
/// the "Try `iptables -h' ..." line, all of which [`ParseError::style`] asks for. A body may itself end in a line end, as legacy's do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A wrong option, value or combination (legacy's PARAMETER_PROBLEM).
    #[error("{0}")]
    Parameter(String),
    /// Anything else that legacy reports with exit code 1 (OTHER_PROBLEM).
    #[error("{0}")]
    Other(String),
    /// `Bad argument`: printed without the program's name before it.
    #[error("Bad argument `{0}'")]
    BadArgument(String),
    /// Nothing but the hint to the help text (`-6` given to iptables).
    #[error("")]
    OnlyHint,
    /// A match or target that legacy does not have either.
    #[error("Couldn't load {kind} `{name}':No such file or directory\n")]
    MissingExtension {
        /// Match or target.
        kind: ExtensionKind,
        /// As written.
        name: String,
    },
    /// Bytes that are not UTF-8; the model holds text.
    #[error("argument is not valid UTF-8: `{0}'")]
    NotUtf8(String),
}

/// What surrounds the body of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// The program's name and version stand before it.
    pub prefix: bool,
    /// There is a body at all.
    pub body: bool,
    /// The "Error occurred at line: N" line (in a restore) and the "Try ..." line follow.
    pub hint: bool,
}

impl ParseError {
    /// The exit code of legacy's program.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Other(_) => 1,
            _ => 2,
        }
    }

    /// What is to be printed around the message.
    #[must_use]
    pub const fn style(&self) -> Style {
        match self {
            Self::Other(_) => Style { prefix: true, body: true, hint: false },
            Self::BadArgument(_) => Style { prefix: false, body: true, hint: true },
            Self::OnlyHint => Style { prefix: false, body: false, hint: true },
            _ => Style { prefix: true, body: true, hint: true },
        }
    }

    pub(crate) fn parameter(message: impl Into<String>) -> Self {
        Self::Parameter(message.into())
    }
}
