//! Edits of tables made by hand.

use super::*;
use crate::addr::Family;
use crate::counters::{CounterView, Counters, Slot};
use crate::rule::{IpMatch, Rule};
use crate::targets::Target;

/// Every slot has counted what its number says.
pub(super) struct Counted;

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

/// A table that gives its chains one by one.
pub(super) struct Whole(pub(super) Table);

impl Source for Whole {
    fn has(&self, chain: &str) -> bool {
        self.0.chain(chain).is_some()
    }

    fn take(&self, chain: &str) -> Option<Chain> {
        self.0.chain(chain).cloned()
    }

    fn references(&self, chain: &str) -> u32 {
        reference_counts(&self.0).get(chain).copied().unwrap_or(0)
    }

    fn lines(&self, chain: &str) -> Option<Vec<LineId>> {
        Some(self.0.chain(chain)?.rules.iter().map(|rule| rule.line).collect())
    }

    fn counted(&self, slot: Slot) -> Counters {
        Counted.get(slot)
    }

    fn is_sound(&self) -> bool {
        true
    }
}

/// Does edit `what` of 14, about chains and places that the other numbers stand for; its answer.
fn some_edit(editor: &mut Editor<'_>, [what, a, b, at]: [u32; 4]) -> Result<(), EditError> {
    const NAMES: [&str; 7] = ["INPUT", "FORWARD", "A", "B", "C", "D", "E"];
    let (one, other) = (NAMES[a as usize % 7], NAMES[b as usize % 7]);
    let new = match b % 3 {
        0 => rule(Target::Accept),
        1 => rule(Target::Goto(other.into())),
        _ => rule(Target::Jump(other.into())),
    };
    match what % 14 {
        0..=2 => editor.append(one, new),
        3 => editor.insert(one, at % 4, new),
        4 => editor.replace(one, at % 4, new),
        5 => editor.delete(one, &new),
        6 => editor.delete_number(one, at % 4),
        7 => editor.check(one, &new),
        8 | 9 => editor.new_chain(one),
        10 => editor.delete_chain(one),
        11 => editor.flush(one),
        12 => editor.set_policy(one, ["ACCEPT", "DROP", "x"][at as usize % 3], None, &Counted),
        _ => editor.zero(one, &Counted),
    }
}

#[test]
fn a_table_read_chain_by_chain_is_edited_as_a_whole_one_is() {
    let mut x = 7_u64;
    let mut next = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 33) as u32
    };
    let mut table = table_with_slots();
    for round in 0..3000 {
        let mut whole = table.clone();
        let edits: Vec<[u32; 4]> = (0..next() % 6).map(|_| [next(), next(), next(), next()]).collect();
        let mut editor = Editor::new(&mut whole);
        let wanted: Vec<_> = edits.iter().map(|edit| some_edit(&mut editor, *edit)).collect();
        drop(editor);

        let (mut part, source) = (Table::new(table.family, table.kind), Whole(table.clone()));
        let mut editor = Editor::of_parts(&mut part, &source);
        let widened = round % 3 == 0;
        let mut got = Vec::new();
        for (at, edit) in edits.iter().enumerate() {
            if widened && at == 2 {
                editor.widen(table.clone());
                assert!(editor.is_whole());
            }
            got.push(some_edit(&mut editor, *edit));
        }
        assert_eq!(got, wanted, "{edits:?}");
        let names = ["INPUT", "A", "B", "C"];
        names.iter().for_each(|name| assert_eq!(editor.is_chain(name), whole.chain(name).is_some(), "{edits:?}"));
        let done_as_whole = editor.is_whole();
        let Edited { taken, .. } = editor.finish();
        let result = if done_as_whole {
            part
        } else {
            let mut result = table.clone();
            merge(&mut result, part, &taken);
            result
        };
        assert_eq!(format!("{result:?}"), format!("{whole:?}"), "{edits:?}");
        // Large tables would be slow.
        table =
            if whole.chains().map(|chain| chain.rules.len()).sum::<usize>() > 40 { table_with_slots() } else { whole };
    }
}
