//! The command lines of bpftables: `iptables`, `iptables-save`, `iptables-restore` and the administrator's `bpftables`.
//!
//! Architecture Invariant: legacy's exit codes, and its words for what went wrong with rules and tables, are made in
//! [`failure`] alone.

pub mod backend;
pub mod clock;
pub mod failure;
pub mod getopt;
pub mod lock;
pub mod multicall;
pub mod names;
