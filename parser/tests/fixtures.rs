//! Legacy's answers to command lines and restore files of both families, against ours.

#![allow(clippy::disallowed_methods, reason = "tests read files")]

mod support;

use bpftables_ruleset::{Family, Ruleset};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use support::{Answer, restore, run, saved, words};

/// A command of a fixture and what legacy answered.
struct Step {
    args: Vec<String>,
    answer: Answer,
}

/// The cases of a fixture file: the table, and the steps.
fn cases(text: &str) -> Vec<(String, Vec<Step>)> {
    let mut cases: Vec<(String, Vec<Step>)> = Vec::new();
    for line in text.lines() {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        match mark {
            "@" => cases.push((rest.to_owned(), Vec::new())),
            "$" => {
                let step = Step { args: words(rest), answer: Answer::default() };
                cases.last_mut().expect("a case").1.push(step);
            }
            "rc" | "1" | "2" => {
                let step = cases.last_mut().and_then(|case| case.1.last_mut()).expect("a step");
                match mark {
                    "rc" => step.answer.code = rest.parse().expect("an exit code"),
                    "1" => writeln!(step.answer.out, "{rest}").expect("a string"),
                    _ => writeln!(step.answer.err, "{rest}").expect("a string"),
                }
            }
            _ => assert!(line.starts_with('#'), "unknown line {line:?}"),
        }
    }
    cases
}

/// The fixtures in a folder, in a stable order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().expect("fixtures").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|found| found == "txt")).collect();
    files.sort();
    files
}

#[test]
fn every_command_answers_as_legacy_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let v4 = files(&folder).into_iter().map(|path| (Family::V4, path));
    let v6 = files(&folder.join("ip6")).into_iter().map(|path| (Family::V6, path));
    let mut count = 0;
    let mut wrong = String::new();
    for (family, path) in v4.chain(v6) {
        let text = std::fs::read_to_string(path).expect("a fixture");
        for (table, steps) in cases(&text) {
            let mut rules = Ruleset::new(family);
            run(&mut rules, &words(&format!("-t {table} -N UC")));
            for step in steps {
                count += 1;
                let answer = run(&mut rules, &step.args);
                if answer != step.answer {
                    writeln!(wrong, "{:?}\n  legacy {:?}\n  ours   {answer:?}", step.args, step.answer)
                        .expect("a string");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count > 1500, "only {count} commands were compared");
}

#[test]
fn every_restore_answers_as_legacy_does() {
    restores(Family::V4, include_str!("fixtures/restore.json"));
    restores(Family::V6, include_str!("fixtures/ip6/restore.json"));
}

fn restores(family: Family, text: &str) {
    let cases: serde_json::Value = serde_json::from_str(text).expect("json");
    let cases = cases.as_array().expect("a list");
    assert!(cases.len() > 15);
    for case in cases {
        let field = |name: &str| case[name].as_str().expect("a string");
        let option = |name: &str| case["args"].as_array().expect("a list").iter().any(|arg| arg == name);
        let mut rules = Ruleset::new(family);
        for setup in ["-N OLD", "-A OLD -j RETURN", "-A INPUT -j OLD"] {
            assert_eq!(run(&mut rules, &words(setup)).code, 0);
        }
        let answer = restore(&mut rules, field("input").as_bytes(), option("-c"), option("-n"));
        let input = field("input");
        assert_eq!(u64::from(answer.code), case["rc"].as_u64().expect("a number"), "{input:?} {answer:?}");
        assert_eq!(answer.err, field("stderr"), "{input:?}");
        rules.tables.retain(|table| table.kind == bpftables_ruleset::TableKind::Filter);
        assert_eq!(saved(&rules, true), field("save"), "{input:?}");
    }
}
