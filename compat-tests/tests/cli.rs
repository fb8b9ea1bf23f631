//! Command lines under both implementations. Needs root and the binary under test.

use bpftables_compat_tests::{cli, suite};
use std::fmt::Write as _;

#[test]
fn command_lines_are_answered_as_by_legacy() {
    let all = cli::parse(include_str!("../cli/sessions.txt")).expect("the table of sessions is well formed");
    let bad = cli::differences(&all, suite::subject());
    let mut report = String::new();
    for (name, diff) in &bad {
        let _ = writeln!(report, "\n### {name}\n{diff}");
    }
    assert!(bad.is_empty(), "{report}\n{} of {} sessions differ", bad.len(), all.len());
}
