//! Random edits, compiled into the image step by step, against the linear evaluator and a fresh compilation.

use super::*;
use crate::interp::{Pick, traverse};
use crate::testgen::growing::{Draft, Growing, draft, edit};
use crate::testgen::{self, Profile};
use bpftables_ruleset::eval::{self, Packet, Simulated};
use bpftables_ruleset::matches::{Match, Owner};
use bpftables_ruleset::targets::Masquerade;
use bpftables_ruleset::{Editor, IpMatch, Ruleset, Table, Target, check};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::FileFailurePersistence;

/// Packets meet the image as they meet the ruleset.
fn same(growing: &Growing, packets: &[Packet]) -> Result<(), TestCaseError> {
    let mut linear = Simulated::default();
    linear.addrs = match growing.ruleset.family {
        Family::V4 => testgen::addr_types(),
        Family::V6 => testgen::ipv6::addr_types(),
    };
    let mut image = linear.clone();
    for (index, packet) in packets.iter().enumerate() {
        for env in [&mut linear, &mut image] {
            (env.seed, env.now) = (index as u64, index as u64 * 7_000);
        }
        for hook in growing.table.hooks() {
            for pick in [Pick::First, Pick::Strict] {
                let (mut a, mut b) = (packet.clone(), packet.clone());
                let want = eval::traverse(&growing.ruleset, growing.table, *hook, &mut a, &mut linear);
                let got = traverse(&growing.image, growing.table, *hook, &mut b, &mut image, pick);
                prop_assert_eq!(Ok(want), got);
                prop_assert_eq!(a, b);
                prop_assert_eq!(&linear, &image);
            }
        }
    }
    Ok(())
}

fn pool(ruleset: &Ruleset) -> Vec<Rule> {
    ruleset.tables.iter().flat_map(Table::chains).flat_map(|chain| chain.rules.clone()).collect()
}

fn config(cases: u32) -> ProptestConfig {
    let failure_persistence = Some(Box::new(FileFailurePersistence::Direct("src/patch.regressions")) as _);
    ProptestConfig { cases, failure_persistence, max_shrink_iters: 5_000, ..ProptestConfig::default() }
}

fn edits(
    ruleset: Ruleset,
    table: TableKind,
    drafts: &[Draft],
    pool: &[Rule],
    packets: &[Packet],
) -> Result<(), TestCaseError> {
    let Ok(mut growing) = Growing::new(ruleset, table, Options::default()) else { return Ok(()) };
    if pool.is_empty() {
        return Ok(());
    }
    for draft in drafts {
        let edited = edit(growing.ruleset.table(table).unwrap(), draft, pool);
        if growing.step(edited) {
            same(&growing, packets)?;
        }
    }
    Ok(())
}

fn profile() -> impl Strategy<Value = Profile> {
    let table = prop::sample::select(vec![TableKind::Filter, TableKind::Nat, TableKind::Mangle]);
    (table, prop::bool::weighted(0.3)).prop_map(|(table, memory)| Profile { table, memory, ..Profile::ALL })
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn an_image_changed_step_by_step_does_what_the_ruleset_says(
        (profile, ruleset, other) in profile().prop_flat_map(|p| (Just(p), testgen::ruleset(p), testgen::ruleset(p))),
        drafts in vec(draft(), 12),
        packets in vec(testgen::packet(), 8),
    ) {
        edits(ruleset, profile.table, &drafts, &pool(&other), &packets)?;
    }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn an_ipv6_image_changed_step_by_step_does_what_the_ruleset_says(
        (profile, ruleset, other) in profile().prop_flat_map(|p| (Just(p), testgen::ruleset(p), testgen::ruleset(p))),
        drafts in vec(draft(), 8),
        packets in vec(testgen::packet(), 8),
    ) {
        let packets: Vec<Packet> = packets.iter().map(testgen::ipv6::packet).collect();
        let (ruleset, other) = (testgen::ipv6::ruleset(&ruleset), testgen::ipv6::ruleset(&other));
        edits(ruleset, profile.table, &drafts, &pool(&other), &packets)?;
    }

    #[test]
    fn a_long_chain_keeps_its_tables_and_does_what_the_ruleset_says(
        ruleset in testgen::many_rules(Profile { memory: false, ..Profile::ALL }, 150),
        other in testgen::ruleset(Profile { memory: true, ..Profile::ALL }),
        drafts in vec((draft(), any::<bool>()), 30),
        packets in vec(testgen::packet(), 6),
    ) {
        let drafts: Vec<Draft> = drafts
            .into_iter()
            .map(|(draft, ends)| Draft { chain: 0, what: if ends { [0, 5, 8, 8][usize::from(draft.what % 4)] } else { draft.what }, ..draft })
            .collect();
        edits(ruleset, TableKind::Filter, &drafts, &pool(&other), &packets)?;
    }
}

#[test]
fn rules_at_the_ends_of_a_long_chain_cost_what_they_are() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let plain = Profile { memory: false, chance: false, conntrack: false, ..Profile::ALL };
    let ruleset = testgen::many_rules(plain, 2000).new_tree(&mut runner).unwrap().current();
    let rule = Rule::new(IpMatch::default(), Vec::new(), Target::None);
    let mut growing = Growing::new(ruleset, TableKind::Filter, Options::default()).unwrap();
    for step in 0..20 {
        let mut table = growing.ruleset.table(TableKind::Filter).unwrap().clone();
        let mut editor = Editor::new(&mut table);
        match step % 3 {
            0 => editor.append("INPUT", rule.clone()),
            1 => editor.insert("INPUT", 1, rule.clone()),
            _ => editor.delete_number("INPUT", 700),
        }
        .unwrap();
        drop(editor);
        let before = growing.image.lines.len();
        assert!(growing.step(table));
        let grown = growing.image.lines.len() - before;
        assert!(if step == 0 { grown < 8 } else { grown < 50 }, "step {step}: {grown} lines");
    }
    assert_eq!(growing.patched, 20);
}

#[test]
fn what_is_refused_and_what_all_chains_share_is_left_to_a_compilation_of_the_whole() {
    let mut ruleset = Ruleset::new(Family::V4);
    let mut editor = Editor::new(ruleset.table_mut(TableKind::Filter));
    editor.new_chain("A").unwrap();
    editor.new_chain("B").unwrap();
    let jump = |to: &str| Rule::new(IpMatch::default(), Vec::new(), Target::Jump(to.into()));
    editor.append("INPUT", jump("A")).unwrap();
    editor.append("A", jump("B")).unwrap();
    drop(editor);
    let mut empty = Ruleset::new(Family::V4);
    empty.table_mut(TableKind::Filter);
    let mut growing = Growing::new(empty, TableKind::Filter, Options::default()).unwrap();
    assert!(growing.step(ruleset.table(TableKind::Filter).unwrap().clone()));
    assert_eq!(growing.patched, 1, "chains that are reached from then on");
    let mut table = growing.ruleset.table(TableKind::Filter).unwrap().clone();
    Editor::new(&mut table).append("B", jump("A")).unwrap();
    assert!(!growing.step(table), "a loop");
    let mut table = growing.ruleset.table(TableKind::Filter).unwrap().clone();
    let masquerade = Masquerade { ports: None, shifted: false, random: false, random_fully: false };
    let rule = Rule { target: Target::Masquerade(masquerade), ..jump("A") };
    Editor::new(&mut table).append("B", rule).unwrap();
    assert!(!growing.step(table), "a target of another table");
}

#[test]
fn chains_that_a_deleted_verdict_hid_are_looked_at() {
    let mut ruleset = Ruleset::new(Family::V4);
    let mut editor = Editor::new(ruleset.table_mut(TableKind::Filter));
    editor.new_chain("A").unwrap();
    let rule = |target: Target| Rule::new(IpMatch::default(), Vec::new(), target);
    let owner = Match::Owner(Owner { uid: Some((1, 1, false)), gid: None, socket: None, supplementary: false });
    editor.append("A", Rule { matches: vec![owner], ..rule(Target::Drop) }).unwrap();
    editor.append("INPUT", rule(Target::Accept)).unwrap();
    editor.append("INPUT", rule(Target::Jump("A".into()))).unwrap();
    drop(editor);
    let mut growing = Growing::new(ruleset, TableKind::Filter, Options::default()).unwrap();
    let mut table = growing.ruleset.table(TableKind::Filter).unwrap().clone();
    assert!(check(&table).is_ok());
    Editor::new(&mut table).delete_number("INPUT", 1).unwrap();
    assert!(!growing.step(table), "no owner is known of what comes in");
    assert_eq!(growing.patched, 0);
}

#[test]
fn a_list_of_recent_goes_with_the_chain_that_named_it() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let profile = Profile { memory: true, ..Profile::ALL };
    let recent = loop {
        let ruleset = testgen::ruleset(profile).new_tree(&mut runner).unwrap().current();
        let found = pool(&ruleset).into_iter().flat_map(|rule| rule.matches).find(|m| matches!(m, Match::Recent(_)));
        if let Some(recent) = found {
            break recent;
        }
    };
    let mut ruleset = Ruleset::new(Family::V4);
    let mut editor = Editor::new(ruleset.table_mut(TableKind::Filter));
    editor.new_chain("A").unwrap();
    editor.append("A", Rule::new(IpMatch::default(), vec![recent], Target::Drop)).unwrap();
    drop(editor);
    let mut growing = Growing::new(ruleset, TableKind::Filter, Options::default()).unwrap();
    assert_eq!(growing.image.recent.len(), 1);
    let mut table = growing.ruleset.table(TableKind::Filter).unwrap().clone();
    let mut editor = Editor::new(&mut table);
    editor.flush("A").unwrap();
    editor.delete_chain("A").unwrap();
    drop(editor);
    assert!(growing.step(table));
    assert_eq!((growing.image.recent.len(), growing.patched), (0, 0));
}

#[test]
fn tables_are_those_that_a_chain_was_compiled_with_however_long_its_ends_are() {
    let rule = || Rule::new(IpMatch::default(), Vec::new(), Target::None);
    let mut ruleset = Ruleset::new(Family::V4);
    let mut editor = Editor::new(ruleset.table_mut(TableKind::Filter));
    for _ in 0..32 {
        editor.append("INPUT", rule()).unwrap();
    }
    drop(editor);
    let mut empty = Ruleset::new(Family::V4);
    empty.table_mut(TableKind::Filter);
    let mut growing = Growing::new(empty, TableKind::Filter, Options::default()).unwrap();
    assert!(growing.step(ruleset.table(TableKind::Filter).unwrap().clone()));
    for more in [32, 1, 1] {
        let mut table = growing.ruleset.table(TableKind::Filter).unwrap().clone();
        let mut editor = Editor::new(&mut table);
        for _ in 0..more {
            editor.append("INPUT", rule()).unwrap();
        }
        drop(editor);
        assert!(growing.step(table));
    }
    assert_eq!(growing.patched, 4);
}

#[test]
fn a_realm_that_input_comes_to_ask_is_refused() {
    use bpftables_ruleset::matches::{NamedValue, Realm};
    let mut ruleset = Ruleset::new(Family::V4);
    let mut editor = Editor::new(ruleset.table_mut(TableKind::Filter));
    editor.new_chain("A").unwrap();
    let rule = |matches, target| Rule::new(IpMatch::default(), matches, target);
    let realm = NamedValue { value: 1, mask: !0, name: None, invert: false };
    let realm = Match::Realm(Realm { realm });
    editor.append("A", rule(vec![realm], Target::Drop)).unwrap();
    editor.append("FORWARD", rule(Vec::new(), Target::Jump("A".into()))).unwrap();
    drop(editor);
    let mut empty = Ruleset::new(Family::V4);
    empty.table_mut(TableKind::Filter);
    let mut growing = Growing::new(empty, TableKind::Filter, Options::default()).unwrap();
    assert!(growing.step(ruleset.table(TableKind::Filter).unwrap().clone()));
    let mut table = growing.ruleset.table(TableKind::Filter).unwrap().clone();
    Editor::new(&mut table).append("INPUT", rule(Vec::new(), Target::Jump("A".into()))).unwrap();
    assert!(!growing.step(table));
}
