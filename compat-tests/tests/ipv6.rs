//! IPv6 through legacy and the binary under test. Needs root, `ping`, and the binary.

use bpftables_compat_tests::{ipv6, suite};

#[test]
fn ipv6_rules_states_translations_and_answers_are_those_of_legacy() {
    let found =
        ipv6::differences(include_str!("../scenarios/ipv6.txt"), suite::subject()).expect("scenarios can be run");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn ipv6_targets_that_write_into_headers_do_as_those_of_legacy() {
    let text = include_str!("../scenarios/headers6.txt");
    let found = ipv6::differences(text, suite::subject()).expect("scenarios can be run");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn ipv6_matches_of_transport_protocols_hold_as_in_legacy() {
    let text = include_str!("../scenarios/transport6.txt");
    let found = ipv6::differences(text, suite::subject()).expect("scenarios can be run");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn ipv6_matches_of_extension_headers_hold_as_in_legacy() {
    let text = include_str!("../scenarios/extensions6.txt");
    let found = ipv6::differences(text, suite::subject()).expect("scenarios can be run");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn ipv6_matches_of_routes_and_strings_and_clamped_mss_do_as_in_legacy() {
    let text = include_str!("../scenarios/routes6.txt");
    let found = ipv6::differences(text, suite::subject()).expect("scenarios can be run");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn ipv6_hashes_mark_as_those_of_legacy() {
    let text = include_str!("../scenarios/hmark6.txt");
    let found = ipv6::differences(text, suite::subject()).expect("scenarios can be run");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn ipv6_sockets_are_found_and_proxies_are_given_packets_as_by_legacy() {
    let text = include_str!("../scenarios/sockets6.txt");
    let found = ipv6::differences(text, suite::subject()).expect("scenarios can be run");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn ipv6_sets_have_what_they_have_in_legacy() {
    let text = include_str!("../scenarios/sets6.txt");
    let found = ipv6::differences(text, suite::subject()).expect("scenarios can be run");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn ipv6_packets_that_a_bridge_hands_on_meet_the_rules_of_legacy() {
    let text = include_str!("../scenarios/bridge6.txt");
    let found = ipv6::differences(text, suite::subject()).expect("scenarios can be run");
    assert!(found.is_empty(), "{}", found.join("\n"));
}
