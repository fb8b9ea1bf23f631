//! The scenario files, each against legacy. Every test needs root and the binary under test.

use bpftables_compat_tests::suite;

#[test]
fn verdicts_chains_and_policies_are_those_of_legacy() {
    suite::file("basics.txt");
}

#[test]
fn every_kind_of_translation_is_that_of_legacy() {
    suite::file("nat.txt");
}

#[test]
fn icmp_errors_are_translated_inside_and_out_as_by_legacy() {
    suite::file("icmp_nat.txt");
}

#[test]
fn connection_states_are_those_of_legacy() {
    suite::file("conntrack.txt");
}

#[test]
fn reject_answers_as_legacy_at_every_hook() {
    suite::file("reject.txt");
}

#[test]
fn odd_packets_meet_what_they_meet_in_legacy() {
    suite::file("odd.txt");
}

#[test]
fn headers_are_rewritten_as_by_legacy() {
    suite::file("headers.txt");
}

#[test]
fn hashes_mark_as_those_of_legacy() {
    suite::file("hmark.txt");
}

#[test]
fn packets_are_copied_as_by_legacy() {
    suite::file("tee.txt");
}

#[test]
fn rates_are_estimated_as_by_legacy() {
    suite::file("rateest.txt");
}

#[test]
fn sockets_are_found_and_proxies_are_given_packets_as_by_legacy() {
    suite::file("sockets.txt");
}

#[test]
fn words_clocks_and_cpus_match_as_in_legacy() {
    suite::file("words.txt");
}

#[test]
fn headers_link_addresses_and_owners_match_as_in_legacy() {
    suite::file("header_matches.txt");
}

#[test]
fn fragments_are_tracked_as_by_legacy() {
    suite::file("fragments.txt");
}

#[test]
fn a_host_that_is_no_router_does_as_with_legacy() {
    suite::file("hosts.txt");
}

#[test]
fn matches_of_devices_and_routes_and_what_goes_by_them_do_as_in_legacy() {
    suite::file("routes.txt");
}

#[test]
fn strings_and_programs_find_what_they_find_in_legacy() {
    suite::file("search.txt");
}

#[test]
fn matches_of_transport_protocols_hold_as_in_legacy() {
    suite::file("transport.txt");
}

#[test]
fn matches_that_remember_do_so_as_in_legacy() {
    suite::file("stateful.txt");
}

#[test]
fn sets_are_changed_as_by_legacy() {
    suite::file("set_changes.txt");
    suite::file("set_changes_networks.txt");
}

#[test]
fn sets_have_what_they_have_in_legacy() {
    suite::file("sets.txt");
}

#[test]
fn vlan_and_tun_devices_are_filtered_as_by_legacy() {
    suite::file("devices.txt");
}

#[test]
fn bridged_packets_meet_the_rules_of_legacy() {
    suite::file("bridge.txt");
}

#[test]
fn what_random_rounds_found_is_as_in_legacy() {
    suite::file("rounds.txt");
}

#[test]
fn deliberate_differences_are_as_stated() {
    suite::file("deviations.txt");
}
