//! The pure model of an iptables ruleset: tables, chains, rules, matches and targets, and what can be done to them.
//!
//! Architecture Invariant: no IO and no clock in this crate; everything is a value or a function of values.
//! Architecture Invariant: one match or one target is one file, registered in [`mod@matches`] or [`targets`].

pub mod addr;
pub mod chain;
pub mod check;
pub mod counters;
pub mod edit;
pub mod eval;
pub mod matches;
pub mod named;
pub mod names;
pub mod rule;
pub mod table;
pub mod targets;
pub mod text;

pub use addr::{AddrMatch, Family, IfacePattern, PortRange};
pub use chain::{Chain, ChainName, Policy};
pub use check::{CheckError, check};
pub use counters::{CounterView, Counters, NoCounters, Slot};
pub use edit::{EditError, Editor};
pub use matches::Match;
pub use names::{Names, NoNames};
pub use rule::{IpMatch, LineId, Rule};
pub use table::{Hook, Ruleset, Table, TableKind};
pub use targets::Target;
