//! Edits of tables made by hand.

use super::*;
use crate::addr::Family;
use crate::counters::Slot;
use crate::rule::IpMatch;
use crate::table::TableKind;

/// Every slot has counted what its number says.
struct Counted;

impl CounterView for Counted {
    fn get(&self, slot: Slot) -> Counters {
        match slot {
            Slot::UNASSIGNED => Counters::default(),
            Slot(number) => Counters { packets: number.into(), bytes: u64::from(number) * 100 },
        }
    }
}

fn rule(target: Target) -> Rule {
    Rule::new(IpMatch::default(), Vec::new(), target)
}

fn table_with_slots() -> Table {
    let mut table = Table::new(Family::V4, TableKind::Filter);
    table.builtin[0].slot = Slot(3);
    for slot in 5..8 {
        let mut rule = rule(Target::Accept);
        rule.slot = Slot(slot);
        table.builtin[0].rules.push(rule);
    }
    table
}

fn packets(table: &Table) -> Vec<u64> {
    let input = &table.builtin[0];
    let rules = input.rules.iter().map(|rule| rule.counters(&Counted).packets);
    std::iter::once(input.counters(&Counted).packets).chain(rules).collect()
}

#[test]
fn zeroing_subtracts_what_was_counted() {
    let mut table = table_with_slots();
    assert_eq!(packets(&table), [3, 5, 6, 7]);
    assert_eq!(Editor::new(&mut table).zero_number("INPUT", 2, &Counted), Ok(()));
    assert_eq!(packets(&table), [3, 5, 0, 7], "one rule, not the policy");
    assert_eq!(Editor::new(&mut table).zero("INPUT", &Counted), Ok(()));
    assert_eq!(packets(&table), [0, 0, 0, 0]);
    assert_eq!(table.builtin[0].counters(&Counted).bytes, 0);
}

#[test]
fn a_policy_begins_with_the_counters_given_or_with_zero() {
    let mut table = table_with_slots();
    let given = Counters { packets: 40, bytes: 50 };
    assert_eq!(Editor::new(&mut table).set_policy("INPUT", "DROP", Some(given), &Counted), Ok(()));
    assert_eq!(table.builtin[0].counters(&Counted), given);
    assert_eq!(Editor::new(&mut table).set_policy("INPUT", "ACCEPT", None, &Counted), Ok(()));
    assert_eq!(table.builtin[0].counters(&Counted), Counters::default());
    assert_eq!(packets(&table)[1..], [5, 6, 7]);
}

#[test]
fn references_follow_every_edit() {
    let mut table = Table::new(Family::V4, TableKind::Filter);
    let mut editor = Editor::new(&mut table);
    assert_eq!(editor.new_chain("A"), Ok(()));
    assert_eq!(editor.references("A"), 0);
    let jump = || rule(Target::Jump("A".into()));
    assert_eq!(editor.append("INPUT", jump()), Ok(()));
    assert_eq!(editor.insert("INPUT", 1, rule(Target::Goto("A".into()))), Ok(()));
    assert_eq!(editor.replace("INPUT", 1, jump()), Ok(()));
    assert_eq!(editor.references("A"), 2);
    assert_eq!(editor.delete_chain("A"), Err(EditError::ChainReferenced));
    assert_eq!(editor.rename_chain("A", "B"), Ok(()));
    assert_eq!((editor.references("A"), editor.references("B")), (0, 2));
    assert_eq!(editor.delete_number("INPUT", 1), Ok(()));
    assert_eq!(editor.references("B"), 1);
    assert_eq!(editor.flush("INPUT"), Ok(()));
    assert_eq!(editor.delete_chain("B"), Ok(()));
    assert!(editor.table().user.is_empty());
}

#[test]
fn deleting_all_chains_goes_on_after_one_that_cannot_go() {
    let mut table = Table::new(Family::V4, TableKind::Filter);
    let mut editor = Editor::new(&mut table);
    for chain in ["A", "B", "C"] {
        assert_eq!(editor.new_chain(chain), Ok(()));
    }
    assert_eq!(editor.append("B", rule(Target::Drop)), Ok(()));
    assert_eq!(editor.delete_all_chains(), Err(EditError::ChainNotEmpty));
    assert_eq!(editor.table().user.len(), 1);
}

#[test]
fn a_hundred_thousand_chains_are_made_filled_and_deleted_in_no_time() {
    let mut table = Table::new(Family::V4, TableKind::Filter);
    let mut editor = Editor::new(&mut table);
    for n in 0..100_000 {
        let chain = format!("C{n}");
        assert_eq!(editor.new_chain(&chain), Ok(()));
        assert_eq!(editor.append(&chain, rule(Target::Drop)), Ok(()));
        assert_eq!(editor.append("INPUT", rule(Target::Jump(chain.as_str().into()))), Ok(()));
    }
    for n in 0..100_000 {
        assert_eq!(editor.references(&format!("C{n}")), 1);
    }
    assert_eq!(editor.flush("INPUT"), Ok(()));
    for n in 0..100_000 {
        let chain = format!("C{n}");
        assert_eq!(editor.flush(&chain), Ok(()));
        assert_eq!(editor.delete_chain(&chain), Ok(()));
    }
    assert!(editor.table().user.is_empty());
}
