//! Every match at every hook and every target in every chain, against legacy. Needs root and the binary under test.

use bpftables_compat_tests::{matrix, suite};

#[test]
fn every_match_counts_as_in_legacy_at_every_hook() {
    suite::scenarios("matches", &matrix::matches().expect("the table of matches is well formed"));
}

#[test]
fn every_target_does_as_in_legacy_in_every_chain() {
    suite::scenarios("targets", &matrix::targets().expect("the table of targets is well formed"));
}

#[test]
fn deep_and_long_chains_are_walked_as_by_legacy() {
    suite::scenarios("chains", &matrix::depth().expect("the table of chains is well formed"));
}
