//! The differential harness: the same rules and the same packets through legacy netfilter and through
//! bpftables, in two equal sets of network namespaces, and a comparison of everything that can be seen
//! from outside.
//!
//! Black box: only binaries are run. [`world::Kind::Ours`] takes the multi-call binary from the
//! environment variable `BPFTABLES_BIN`, else from the target directory that this test was built in.
//! `COMPAT_SUBJECT=legacy` compares legacy with itself, which proves the harness and its scenarios.
//!
//! `COMPAT_ONLY=TEXT` runs the scenarios and sessions whose name has TEXT, `COMPAT_SHOW=1` prints what legacy
//! did, `COMPAT_FRESH=1` gives every scenario namespaces of its own (otherwise rules and connections are
//! flushed between them, for which bpftables needs `bpftables conntrack flush`).
//!
//! A difference counts only if it is also seen in new namespaces, slowly; one that is not is noted on stderr.
//!
//! Scenarios are text ([`scenario`]); most live in `scenarios/*.txt`, tables of them are generated in
//! [`matrix`]. `cargo run -p bpftables-compat-tests --bin scenario -- FILE` runs a file by hand.

pub mod cli;
pub mod diff;
pub mod dissect;
pub mod dissect6;
pub mod ipv6;
pub mod matrix;
pub mod netns;
pub mod packet;
pub mod packet6;
pub mod replay;
pub mod rounds;
pub mod run;
pub mod scenario;
pub mod sockets;
pub mod suite;
pub mod sys;
pub mod workers;
pub mod world;

/// Errors of the harness are for people: a sentence that says what was attempted.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
