//! IPv6 through legacy and the binary under test. Needs root, `ping`, and the binary.

use bpftables_compat_tests::{ipv6, suite};

#[test]
fn ipv6_rules_states_translations_and_answers_are_those_of_legacy() {
    let found =
        ipv6::differences(include_str!("../scenarios/ipv6.txt"), suite::subject()).expect("scenarios can be run");
    assert!(found.is_empty(), "{}", found.join("\n"));
}
