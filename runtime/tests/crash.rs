//! A process that commits in a loop is killed at random instants: what is left is one of its rulesets, whole, in the image and in the
//! state that goes with it.

mod common;

use bpftables_compiler::{Line, Options, compile};
use bpftables_ruleset::targets::MarkSet;
use bpftables_ruleset::{AddrMatch, Counters, Editor, Family, IpMatch, Rule, Ruleset, Slot, Table, TableKind, Target};
use bpftables_runtime::Engine;
use common::in_namespace;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Set in the process that is killed.
const CHILD: &str = "BPFTABLES_CRASH_CHILD";
/// Times that it is killed.
const KILLS: u32 = 500;
/// Times that a process is killed that commits chain by chain.
const STEP_KILLS: u32 = 150;
/// Times that it is killed during its first commit, when everything is loaded.
const FIRST_KILLS: u32 = 6;
/// Times that it is killed while programs with more parts take the place of others.
const GROWTH_KILLS: u32 = 8;

/// Two rulesets that share no rule. `which` 0 has the nat table too.
fn ruleset(which: u32) -> Ruleset {
    let mut ruleset = Ruleset::new(Family::V4);
    let rules = |count: u32, base: u32| -> Vec<Rule> {
        let rule = |n: u32| {
            let addr = IpAddr::V4(Ipv4Addr::from(base + n));
            let src = AddrMatch { addr, mask: IpAddr::V4(Ipv4Addr::BROADCAST), invert: false };
            Rule::new(IpMatch { src: Some(src), ..IpMatch::default() }, vec![], Target::Drop)
        };
        (0..count).map(rule).collect()
    };
    ruleset.table_mut(TableKind::Filter).builtin[0].rules = rules(40 + 300 * which, 0x0a00_0000 + (which << 16));
    if which == 0 {
        ruleset.table_mut(TableKind::Nat);
    } else {
        ruleset.table_mut(TableKind::Mangle).builtin[1].rules = rules(3, 0x0b00_0000);
    }
    ruleset
}

#[test]
#[ignore = "runs in the process that is killed"]
fn commits_until_killed() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    for round in 0.. {
        let mut engine = Engine::open().unwrap();
        // As iptables-restore does: what is there is read, and replaced.
        engine.read(Family::V4).unwrap();
        engine.commit(&mut ruleset(round % 2)).unwrap();
    }
}

/// Which of the two rulesets is live: as read, and by the image's bytes.
fn live() -> Option<u32> {
    let mut engine = Engine::open().unwrap();
    let snapshot = engine.read(Family::V4).unwrap();
    if snapshot.generation == 0 {
        assert!(snapshot.ruleset.tables.is_empty());
        return None;
    }
    // Chains compare with the slots of their policies.
    let mut read = snapshot.ruleset.clone();
    for chain in read.tables.iter_mut().flat_map(|table| &mut table.builtin) {
        assert_ne!(chain.slot, Slot::UNASSIGNED);
        (chain.slot, chain.offset) = (Slot::UNASSIGNED, Counters::default());
    }
    let which = (0..2).find(|which| read == ruleset(*which)).expect("one of the two rulesets, whole");
    let bytes = engine.dump_image(Family::V4).unwrap().unwrap();
    let compiled = compile(&snapshot.ruleset, &Options::default()).unwrap();
    let lines: &[Line] = &compiled.lines;
    assert_eq!(bytes.len(), lines.len() * 64);
    // Line 0 holds the generation and the place of the state.
    for (index, (line, real)) in lines.iter().zip(bytes.chunks(64)).enumerate().skip(1) {
        assert_eq!(line.0, real, "line {index} of ruleset {which}");
    }
    Some(which)
}

/// What is added to and taken from the rules of `ruleset(1)`, in steps.
fn more() -> Rule {
    Rule::new(IpMatch::default(), vec![], Target::Mark(MarkSet { value: 1, mask: 0 }))
}

#[test]
#[ignore = "runs in the process that is killed"]
fn steps_until_killed() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let mut engine = Engine::open().unwrap();
    loop {
        let part = engine.part(Family::V4, TableKind::Filter).unwrap().unwrap();
        let mut table = Table::new(Family::V4, TableKind::Filter);
        let mut editor = Editor::of_parts(&mut table, &part);
        if editor.delete("INPUT", &more()).is_err() {
            editor.append("INPUT", more()).unwrap();
        }
        drop(editor);
        engine.commit_part(&part, &mut table, &[]).unwrap().expect("a step");
    }
}

#[test]
fn killing_a_step_leaves_the_old_or_the_new_rules() {
    in_namespace(|| {
        let wanted = ruleset(1);
        Engine::open().unwrap().commit(&mut wanted.clone()).unwrap();
        let wanted = &wanted.tables[0].builtin[0].rules;
        let (mut seen, mut state, mut generations) = ([0; 2], 11, 0);
        for _ in 0..STEP_KILLS {
            kill("steps_until_killed", Duration::from_micros(2_000 + random(&mut state) % 40_000));
            // Each kind of damage is found by reading: the rules' checksums, and the image's references by the next step.
            let snapshot = Engine::open().unwrap().read(Family::V4).unwrap();
            let rules = &snapshot.ruleset.tables[0].builtin[0].rules;
            assert_eq!(&rules[..wanted.len()], &wanted[..]);
            assert_eq!(&rules[wanted.len()..], &[more(), more()][..rules.len() - wanted.len()]);
            assert!(snapshot.generation >= generations);
            generations = snapshot.generation;
            seen[rules.len() - wanted.len()] += 1;
        }
        assert!(seen.iter().all(|count| *count > STEP_KILLS / 10), "both were left often: {seen:?}");
        assert!(generations > STEP_KILLS, "{generations} generations");
    });
}

fn kill_after(delay: Duration) {
    kill("commits_until_killed", delay);
}

fn kill(test: &str, delay: Duration) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", test])
        .env(CHILD, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(delay);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "the committing process ended by itself");
}

/// Numbers that look random, the same in each run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn killing_a_commit_leaves_the_old_or_the_new_ruleset_whole() {
    in_namespace(|| {
        Engine::open().unwrap().commit(&mut ruleset(0)).unwrap();
        let mut seen = [0; 2];
        let mut state = 7;
        for _ in 0..KILLS {
            kill_after(Duration::from_micros(2_000 + random(&mut state) % 60_000));
            seen[live().unwrap() as usize] += 1;
        }
        assert!(seen.iter().all(|count| *count > 50), "both were left often: {seen:?}");
        // Nothing stays locked or half made.
        Engine::open().unwrap().commit(&mut ruleset(1)).unwrap();
        assert_eq!(live(), Some(1));
    });
}

#[test]
fn killing_a_first_commit_leaves_nothing_or_all() {
    in_namespace(|| {
        let mut state = 3;
        for _ in 0..FIRST_KILLS {
            kill_after(Duration::from_millis(20 + random(&mut state) % 3000));
            live();
            Engine::open().unwrap().uninstall().unwrap();
        }
        Engine::open().unwrap().commit(&mut ruleset(0)).unwrap();
        assert_eq!(live(), Some(0));
    });
}

#[test]
fn killing_a_commit_that_loads_more_parts_leaves_the_old_or_the_new_ruleset_whole() {
    in_namespace(|| {
        let mut state = 5;
        for _ in 0..GROWTH_KILLS {
            // Rules alone; the other ruleset has the nat table.
            Engine::open().unwrap().commit(&mut ruleset(1)).unwrap();
            kill_after(Duration::from_millis(5 + random(&mut state) % 700));
            live().unwrap();
            Engine::open().unwrap().commit(&mut ruleset(0)).unwrap();
            assert_eq!(live(), Some(0));
            Engine::open().unwrap().uninstall().unwrap();
        }
    });
}
