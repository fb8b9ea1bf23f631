//! iptables command lines and iptables-restore input, as legacy reads them.
//!
//! Architecture Invariant: no IO; names of services, hosts and so on come through [`Names`].
//! Architecture Invariant: one match or target is one file under `ext`, registered in `registry`.
//!
//! What legacy 1.8.11 answers is kept in `tests/fixtures`. Where this crate deliberately differs from it:
//! - bytes that are not UTF-8 are refused ([`ParseError::NotUtf8`]); a comment longer than 255 bytes is cut before the character that does not fit.
//!
//! An argument in the word of an extension's flag (`--set=1`) is refused as legacy does, which then shows the option's internal number as a
//! letter; ours is not always the same number.
//!
//! Also: `-j standard` is a missing target here (legacy leaves the refusal to the kernel), and hexadecimal fractions are no
//! probabilities.

mod again;
mod command;
mod error;
mod ext;
mod getopt;
mod help;
mod parse;
mod registry;
pub mod restore;
mod value;

pub use bpftables_ruleset::names::{Names, NoNames};
pub use command::{AlsoZero, Command, Resolved, RuleSpec, TargetSpec, Verb};
pub use error::{ExtensionKind, ParseError, Style};
pub use parse::{Invocation, parse_command, parse_command_noticing};
pub use registry::extensions;
