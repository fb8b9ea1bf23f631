//! What holds for every extension of the registry: it has fixtures, and whatever legacy accepted there comes back from its own text, alone and
//! beside the matches of others. A new extension is covered by its fixtures.

#![allow(clippy::disallowed_methods, reason = "tests read files")]

mod support;

use bpftables_parser::extensions;
use bpftables_ruleset::{Family, Ruleset};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;
use support::{restore, run, saved, words};

/// A rule that legacy accepted.
#[derive(Clone, Debug)]
struct Accepted {
    table: String,
    chain: String,
    /// All after the chain.
    rule: Vec<String>,
}

/// The rules with `-A` and exit code 0 in the fixtures of a family.
fn accepted(family: Family) -> Vec<Accepted> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let folder = if family == Family::V4 { folder } else { folder.join("ip6") };
    let mut files: Vec<_> = folder.read_dir().expect("fixtures").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let mut all = Vec::new();
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "txt")) {
        let text = std::fs::read_to_string(path).expect("a fixture");
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(command) = line.strip_prefix("$ ") else { continue };
            if lines.peek().is_some_and(|next| next.starts_with("rc ")) {
                continue;
            }
            all.extend(rule_of(words(command)));
        }
    }
    all
}

fn rule_of(mut words: Vec<String>) -> Option<Accepted> {
    let mut table = "filter".to_owned();
    if words.first().is_some_and(|word| word == "-t") {
        table = words.get(1)?.clone();
        words.drain(..2);
    }
    // What no restore file takes.
    if words.iter().any(|word| word.is_empty() || word.starts_with("-w") || word == "-t") {
        return None;
    }
    let (append, rest) = words.split_first()?;
    let (chain, rule) = rest.split_first()?;
    (append == "-A").then(|| Accepted { table, chain: chain.clone(), rule: rule.to_vec() })
}

static V4: LazyLock<Vec<Accepted>> = LazyLock::new(|| accepted(Family::V4));
static V6: LazyLock<Vec<Accepted>> = LazyLock::new(|| accepted(Family::V6));

fn all(family: Family) -> &'static [Accepted] {
    match family {
        Family::V4 => &V4,
        Family::V6 => &V6,
    }
}

/// The words of a rule as a line of a restore file.
fn line(words: &[String]) -> String {
    let plain = |word: &str| !word.is_empty() && !word.contains([' ', '"', '\\', '\t']);
    let quoted = |word: &String| match plain(word) {
        true => word.clone(),
        false => format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// `-m NAME` with its options, of a rule.
fn matches_of(rule: &[String]) -> Vec<Vec<String>> {
    let starts =
        |word: &String| matches!(word.as_str(), "-m" | "-j" | "-g" | "-p" | "-s" | "-d" | "-i" | "-o" | "-c" | "-f");
    let mut found: Vec<Vec<String>> = Vec::new();
    let mut open = false;
    for (index, word) in rule.iter().enumerate() {
        // A `!` belongs to what follows it.
        let next = if word == "!" { rule.get(index + 1) } else { Some(word) };
        if next.is_some_and(starts) {
            open = word == "-m";
            if open {
                found.push(Vec::new());
            }
        }
        if open && let Some(last) = found.last_mut() {
            last.push(word.clone());
        }
    }
    found
}

/// Saves what a text restores to; `None` when it is not accepted.
fn pass(family: Family, text: &str) -> Option<String> {
    let mut rules = Ruleset::new(family);
    (restore(&mut rules, text.as_bytes(), false, false).code == 0).then(|| saved(&rules, false))
}

/// A rule's text, and the text that this comes back as. It is the same but for legacy's own traps: device names with spaces are not
/// quoted and so not read again, `--ipcompspi 0:4294967295` is not printed and then read as 0, and the like.
fn texts(family: Family, table: &str, chain: &str, rule: &[String]) -> Option<(String, Option<String>)> {
    let first = pass(family, &format!("*{table}\n:UC - [0:0]\n-A {chain} {}\nCOMMIT\n", line(rule)))?;
    let second = pass(family, &first);
    if let Some(second) = &second {
        assert_eq!(pass(family, second).as_ref(), Some(second), "{rule:?}");
    }
    Some((first, second))
}

#[test]
fn every_accepted_rule_of_every_extension_comes_back_from_its_text() {
    let mut seen = BTreeSet::new();
    let (mut count, mut traps) = (0, Vec::new());
    for family in Family::ALL {
        for Accepted { table, chain, rule } in all(family) {
            let Some((first, second)) = texts(family, table, chain, rule) else { continue };
            count += 1;
            let words: Vec<&str> = first.split_whitespace().collect();
            let named = words.windows(2).filter(|pair| pair[0] == "-m" || pair[0] == "-j");
            seen.extend(named.map(|pair| pair[1].to_owned()));
            if second.is_none_or(|second| second != first) {
                traps.push(rule);
            }
        }
    }
    assert!(count > 500, "only {count} rules");
    assert!(traps.len() * 50 < count, "{} of {count} come back otherwise: {traps:?}", traps.len());
    let names = Family::ALL.into_iter().flat_map(extensions).map(|(_, name)| name);
    let missing: BTreeSet<&str> =
        names.filter(|name| !seen.contains(*name) && !NEVER_ACCEPTED.contains(name)).collect();
    assert!(missing.is_empty(), "no accepted rule in the fixtures: {missing:?}");
}

/// Their rules need objects or modules that the kernel did not have, so legacy accepted none.
const NEVER_ACCEPTED: &[&str] = &["CLUSTERIP", "LED", "SECMARK", "ULOG", "ipvs", "nfacct"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn matches_of_all_extensions_stand_beside_each_other(
        v6 in any::<bool>(),
        base in any::<prop::sample::Index>(),
        others in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
    ) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let rules = all(family);
        let Accepted { table, chain, rule } = base.get(rules);
        let mut rule = rule.clone();
        for other in &others {
            let target = rule.iter().position(|word| word == "-j" || word == "-g").unwrap_or(rule.len());
            let words = matches_of(&other.get(rules).rule).concat();
            rule.splice(target..target, words);
        }
        let Some((first, Some(second))) = texts(family, table, chain, &rule) else { return Ok(()) };
        prop_assume!(first == second);
        // The rule is found again by its text.
        let mut rules = Ruleset::new(family);
        prop_assert_eq!(restore(&mut rules, first.as_bytes(), false, false).code, 0);
        let start = format!("-A {chain} ");
        let Some(line) = first.lines().find_map(|line| line.strip_prefix(&start)) else { return Ok(()) };
        let answer = restore(&mut rules, format!("*{table}\n-D {chain} {line}\nCOMMIT\n").as_bytes(), false, true);
        // A rate is printed in whole numbers, so what is read again may be another one.
        prop_assert!(answer.code == 0 || line.contains("limit"), "{} {}", first, answer.err);
    }
}

#[test]
fn lists_show_every_accepted_rule_without_a_word_on_standard_error() {
    for family in Family::ALL {
        for Accepted { table, chain, rule } in all(family) {
            let mut rules = Ruleset::new(family);
            run(&mut rules, &words(&format!("-t {table} -N UC")));
            let command: Vec<String> = ["-t", table, "-A", chain].iter().map(|word| (*word).to_owned()).collect();
            if run(&mut rules, &[command, rule.clone()].concat()).code != 0 {
                continue;
            }
            for options in ["-L", "-L -n -v -x --line-numbers", "-S -v"] {
                let answer = run(&mut rules, &words(&format!("-t {table} {options}")));
                assert_eq!((answer.code, answer.err.as_str()), (0, ""), "{rule:?} {options}");
            }
        }
    }
}
