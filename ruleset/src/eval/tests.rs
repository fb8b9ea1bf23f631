use super::*;
use crate::addr::Family;
use crate::rule::IpMatch;

fn packet(proto: u8, payload: &[u8], fragment: u16) -> Packet {
    let mut data = vec![0x45, 0, 0, (20 + payload.len()) as u8, 0, 0, 0, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    data[6..8].copy_from_slice(&fragment.to_be_bytes());
    data.extend_from_slice(payload);
    Packet { data, iif: Some("eth0".into()), oif: None, local: false, mark: 0, ct: Ct::None }
}

fn rule(slot: u32, matches: Vec<Match>, target: Target) -> Rule {
    let proto = matches.iter().find_map(|m| match m {
        Match::Tcp(_) => Some((6, false)),
        Match::Udp(_) => Some((17, false)),
        _ => None,
    });
    Rule { slot: Slot(slot), ..Rule::new(IpMatch { proto, ..IpMatch::default() }, matches, target) }
}

fn filter(input: Vec<Rule>, user: Vec<(&str, Vec<Rule>)>) -> Ruleset {
    let mut ruleset = Ruleset::new(Family::V4);
    let table = ruleset.table_mut(TableKind::Filter);
    table.builtin[0].rules = input;
    table.builtin[0].slot = Slot(0);
    for (name, rules) in user {
        table.user.insert(name.into(), Chain { rules, ..Chain::new(name.into(), None) });
    }
    ruleset
}

fn go(ruleset: &Ruleset, packet: &mut Packet) -> (Verdict, Vec<u32>) {
    let out = traverse(ruleset, TableKind::Filter, Hook::Input, packet, &mut Simulated::default());
    (out.verdict, out.counted.iter().map(|slot| slot.0).collect())
}

#[test]
fn a_goto_from_a_called_chain_returns_to_the_caller_of_the_caller() {
    let ruleset = filter(
        vec![rule(1, vec![], Target::Jump("A".into())), rule(2, vec![], Target::None)],
        vec![
            ("A", vec![rule(3, vec![], Target::Goto("B".into())), rule(4, vec![], Target::Drop)]),
            ("B", vec![rule(5, vec![], Target::Return), rule(6, vec![], Target::Drop)]),
        ],
    );
    assert_eq!(go(&ruleset, &mut packet(17, &[0; 8], 0)), (Verdict::Accept, vec![1, 3, 5, 2, 0]));
}

#[test]
fn a_goto_from_a_base_chain_ends_in_the_policy() {
    let mut ruleset = filter(
        vec![rule(1, vec![], Target::Goto("A".into())), rule(2, vec![], Target::Accept)],
        vec![("A", vec![rule(3, vec![], Target::None)])],
    );
    ruleset.table_mut(TableKind::Filter).builtin[0].policy = Some(Policy::Drop);
    assert_eq!(go(&ruleset, &mut packet(17, &[0; 8], 0)), (Verdict::Drop, vec![1, 3, 0]));
}

#[test]
fn return_in_a_base_chain_counts_the_policy() {
    let ruleset = filter(vec![rule(1, vec![], Target::Return), rule(2, vec![], Target::Drop)], vec![]);
    assert_eq!(go(&ruleset, &mut packet(17, &[0; 8], 0)), (Verdict::Accept, vec![1, 0]));
}

#[test]
fn a_truncated_tcp_header_is_dropped_inside_the_match_but_not_before_it_is_asked() {
    let mark = Match::Mark(crate::matches::Mark { value: 1, mask: 1, invert: false });
    let ruleset = filter(
        vec![
            rule(1, vec![mark, Match::Tcp(crate::matches::Tcp::default())], Target::Accept),
            rule(2, vec![Match::Tcp(crate::matches::Tcp::default())], Target::Accept),
        ],
        vec![],
    );
    assert_eq!(go(&ruleset, &mut packet(6, &[0; 19], 0)), (Verdict::Hotdrop, vec![]));
    assert_eq!(go(&ruleset, &mut packet(6, &[0; 20], 0)), (Verdict::Accept, vec![2]));
    // Offset 1 is dropped, a later fragment just does not match.
    assert_eq!(go(&ruleset, &mut packet(6, &[0; 20], 1)).0, Verdict::Hotdrop);
    assert_eq!(go(&ruleset, &mut packet(6, &[0; 20], 2)), (Verdict::Accept, vec![0]));
}

#[test]
fn conntrack_without_a_connection_asks_the_state_alone() {
    use crate::matches::{Conntrack, CtStates, CtStatus};
    let ct = |state, status| Match::Conntrack(Box::new(Conntrack { state, status, ..Conntrack::default() }));
    let invalid = Some((CtStates(CtStates::INVALID), false));
    let confirmed = Some((CtStatus(CtStatus::CONFIRMED), false));
    let ruleset = filter(
        vec![rule(1, vec![ct(None, confirmed)], Target::None), rule(2, vec![ct(invalid, confirmed)], Target::Drop)],
        vec![],
    );
    assert_eq!(go(&ruleset, &mut packet(17, &[0; 8], 0)), (Verdict::Drop, vec![2]));
}

#[test]
fn nth_begins_at_packet_and_limit_gives_back_credit_with_time() {
    let mut sim = Simulated::default();
    let key = StateKey { slot: Slot(1), ordinal: 0 };
    let hits: Vec<bool> = (0..6).map(|_| sim.nth(key, 2, 1)).collect();
    assert_eq!(hits, [false, true, false, false, true, false]);
    let hits: Vec<bool> = (0..3).map(|_| sim.limit(key, 10_000, 2)).collect();
    assert_eq!(hits, [true, true, false]);
    sim.now += 10_000;
    assert!(sim.limit(key, 10_000, 2));
    assert!(!sim.limit(key, 10_000, 2));
}
