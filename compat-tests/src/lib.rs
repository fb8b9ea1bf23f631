//! The differential harness: the same rules and the same packets through legacy netfilter and through
//! bpftables, in two equal sets of network namespaces, and a comparison of everything that can be seen
//! from outside.
//!
//! Black box: only binaries are run. [`world::Kind::Ours`] takes the multi-call binary from the
//! environment variable `BPFTABLES_BIN`, else from the target directory that this test was built in.
//! `COMPAT_SUBJECT=legacy` compares legacy with itself, which proves the harness and its scenarios.
//!
//! Scenarios are text ([`scenario`]); most live in `scenarios/*.txt`, tables of them are generated in
//! [`matrix`]. `cargo run -p bpftables-compat-tests --bin scenario -- FILE` runs a file by hand.

pub mod cli;
pub mod diff;
pub mod dissect;
pub mod matrix;
pub mod netns;
pub mod packet;
pub mod replay;
pub mod run;
pub mod scenario;
pub mod sockets;
pub mod suite;
pub mod sys;
pub mod world;

/// Errors of the harness are for people: a sentence that says what was attempted.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
