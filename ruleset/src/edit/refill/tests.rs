//! Chains filled again, beside editors that know nothing of lines.

use super::super::merge;
use super::super::tests::{Counted, Whole};
use super::*;
use crate::addr::Family;
use crate::counters::Slot;
use crate::rule::IpMatch;
use crate::table::{Table, TableKind};
use crate::targets::Target;
use std::collections::BTreeSet;

const NAMES: [&str; 5] = ["A", "B", "C", "D", "LOG"];

/// A line of a restore file, such as `-A C -j D`: the chain, and which of some rules it gives it.
type Appended = (&'static str, u32);

/// What a line appends: to LOG it goes by that name only while there is a chain of it.
fn meant(editor: &Editor<'_>, (chain, which): Appended) -> Rule {
    let target = match NAMES.get(which as usize) {
        Some(&"LOG") if !editor.is_chain("LOG") => Target::Accept,
        Some(to) => Target::Jump((*to).into()),
        None => Target::Drop,
    };
    let mut line = LineId::NONE;
    // As the parser: what becomes a jump for the chain's sake alone is no line to be known again.
    if target != Target::Jump("LOG".into()) {
        line.0[..2].copy_from_slice(&[1 + which as u8, chain.as_bytes()[0]]);
    }
    Rule { line, ..Rule::new(IpMatch::default(), Vec::new(), target) }
}

fn id((chain, which): Appended) -> LineId {
    let mut line = LineId::NONE;
    line.0[..2].copy_from_slice(&[1 + which as u8, chain.as_bytes()[0]]);
    line
}

/// Does what a number stands for; whether that was done, and whether by a line that was known.
fn edit(editor: &mut Editor<'_>, [what, a, b]: [u32; 3]) -> (Result<(), EditError>, bool) {
    let (name, line) = (NAMES[a as usize % 5], (NAMES[a as usize % 5], b % 7));
    let done = match what % 24 {
        0..=5 if editor.is_chain(name) => editor.refill(name),
        6..=17 => {
            if editor.again(name, id(line)) {
                return (Ok(()), true);
            }
            let rule = meant(editor, line);
            editor.append(name, rule)
        }
        18 => editor.new_chain(name),
        19 => editor.delete_chain(name),
        20 => editor.flush(name),
        21 => editor.delete_number(name, b % 3 + 1),
        22 => editor.zero(name, &Counted),
        _ => editor.insert(name, 1, Rule::new(IpMatch::default(), Vec::new(), Target::Return)),
    };
    (done, false)
}

/// The lines that a chain has, as a restore would write it again, sometimes one too few or too many.
fn rewritten(table: &Table, next: &mut impl FnMut() -> u32) -> Vec<[u32; 3]> {
    let mut edits = Vec::new();
    for (a, name) in (0..).zip(NAMES).filter(|(_, name)| table.user.contains_key(*name)) {
        edits.push([0, a, 0]);
        for rule in &table.user[name].rules {
            let which = u32::from(rule.line.0[0]).checked_sub(1).unwrap_or(next() % 7);
            match next() % 12 {
                0 => {}
                1 => edits.extend([[6, a, next() % 7], [6, a, which]]),
                _ => edits.push([6, a, which]),
            }
        }
    }
    edits
}

/// What a person sees.
fn seen(table: &Table) -> Vec<String> {
    let rule = |rule: &Rule| format!("{:?} {:?} {:?}", rule.target, rule.counters(&Counted), rule.line);
    table
        .chains()
        .map(|chain| format!("{} {:?}", chain.name, chain.rules.iter().map(rule).collect::<Vec<_>>()))
        .collect()
}

#[test]
fn a_chain_that_is_filled_again_has_the_rules_that_its_lines_say_and_nothing_counted() {
    let mut x = 7_u64;
    let mut next = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 33) as u32
    };
    let (mut known, mut refilled, mut kept, mut slots) = (0, 0, 0, 1..);
    let mut table = Table::new(Family::V4, TableKind::Filter);
    for round in 0..20_000 {
        let mut edits = if round % 2 == 0 { rewritten(&table, &mut next) } else { Vec::new() };
        (0..next() % 5).for_each(|_| edits.push([next(), next(), next()]));
        if next() % 3 == 0 {
            let at = next() as usize % (edits.len() + 1);
            edits.insert(at, [18 + next() % 2, next(), 0]);
        }

        let mut whole = table.clone();
        let mut editor = Editor::new(&mut whole);
        let wanted: Vec<_> = edits.iter().map(|of| edit(&mut editor, *of).0).collect();
        drop(editor);

        let (mut part, source) = (Table::new(table.family, table.kind), Whole(table.clone()));
        let mut editor = Editor::of_parts(&mut part, &source);
        editor.expect_lines(["LOG"]);
        let widened = (round % 5 == 0).then(|| next() as usize % (edits.len() + 1));
        let mut got = Vec::new();
        for (at, of) in edits.iter().enumerate() {
            if widened == Some(at) {
                editor.widen(table.clone());
            }
            let (done, again) = edit(&mut editor, *of);
            known += usize::from(again);
            got.push(done);
        }
        assert_eq!(got, wanted, "{edits:?} of {:?}", seen(&table));
        let as_whole = editor.is_whole();
        let edited = editor.finish();
        let result = if as_whole {
            part
        } else {
            let mut result = table.clone();
            merge(&mut result, part, &edited.taken);
            zero_rules(&mut result, &edited.refilled, &Counted);
            result
        };
        assert_eq!(seen(&result), seen(&whole), "{edits:?} of {:?}", seen(&table));
        refilled += edited.refilled.iter().filter(|name| !table.user[*name].rules.is_empty()).count();

        // What has a slot keeps it, and no two have one.
        table = if result.chains().any(|chain| chain.rules.len() > 12) {
            Table::new(table.family, table.kind)
        } else {
            result
        };
        let mut used = BTreeSet::new();
        for rule in table.user.values_mut().flat_map(|chain| &mut chain.rules) {
            if rule.slot == Slot::UNASSIGNED {
                rule.slot = Slot(slots.next().unwrap());
                rule.offset = rule.offset.minus(Counted.get(rule.slot));
            } else {
                kept += 1;
            }
            assert!(used.insert(rule.slot));
        }
    }
    assert!(known > 5_000 && refilled > 1_000 && kept > 20_000, "{known} {refilled} {kept}");
}
