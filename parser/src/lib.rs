//! iptables command lines and iptables-restore input, as legacy reads them.
//!
//! Architecture Invariant: no IO; names of services, hosts and so on come through [`Names`].
//! Architecture Invariant: one match or target is one file under `ext`, registered in `registry`.

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
