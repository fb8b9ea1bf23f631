//! docs/coverage.md says what is run and what is refused, and why. It is made from what the parser takes and the compiler answers for every rule
//! that legacy accepted in the parser's fixtures, so it says what a commit would say.
//!
//! `BPFTABLES_UPDATE=1 cargo test -p bpftables --test coverage` writes it anew.

#[path = "common/names.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod names;

#[path = "common/accepted.rs"]
mod rules;

use bpftables::dry::Dry;
use bpftables_compiler::CompileError;
use bpftables_parser::{ExtensionKind, extensions};
use bpftables_ruleset::Family;
use rules::{accepted, compile, files, root};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// Every chain of every table.
const CHAINS: [(&str, &[&str]); 5] = [
    ("raw", &["PREROUTING", "OUTPUT"]),
    ("mangle", &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]),
    ("nat", &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]),
    ("filter", &["INPUT", "FORWARD", "OUTPUT"]),
    ("security", &["INPUT", "FORWARD", "OUTPUT"]),
];
/// How many rules of an extension are tried in every chain.
const TRIED: usize = 6;

type Named = (bool, String);

/// What became of the rules of an extension in a family.
#[derive(Debug, Default)]
struct Found {
    native: BTreeSet<String>,
    reasons: BTreeSet<String>,
    chains: BTreeSet<(usize, usize)>,
}

/// The extensions of the ruleset's only rule.
fn named(dry: &Dry, family: Family) -> Vec<Named> {
    let chains = dry.ruleset(family).tables.iter().flat_map(|table| table.chains());
    let rules = chains.flat_map(|chain| &chain.rules);
    let name = |rule: &bpftables_ruleset::Rule| {
        let matches = rule.matches.iter().map(|m| (false, m.name().to_owned()));
        matches.chain([(true, rule.target.name().to_owned())]).collect::<Vec<_>>()
    };
    rules.flat_map(name).collect()
}

fn explore(family: Family) -> BTreeMap<Named, Found> {
    let mut all: BTreeMap<Named, Found> = BTreeMap::new();
    let mut tried: BTreeMap<Named, usize> = BTreeMap::new();
    for (table, chain, rule) in accepted(family) {
        let Some(dry) = compile(family, &table, &chain, &rule) else { continue };
        let reason = dry.refused().first().map(|error| match error {
            CompileError::Unsupported { reason, .. } => reason.to_string(),
            other => other.to_string(),
        });
        for extension in named(&dry, family) {
            let word = format!("-{} {}", if extension.0 { 'j' } else { 'm' }, extension.1);
            let found = all.entry(extension.clone()).or_default();
            match &reason {
                None => drop(found.native.insert(rule.clone())),
                Some(reason) => {
                    // Another extension of the rule is in the way.
                    let Some(rest) = reason.strip_prefix(&word).filter(|rest| rest.starts_with(' ')) else { continue };
                    found.reasons.insert(rest.trim().to_owned());
                }
            }
            let count = tried.entry(extension.clone()).or_default();
            if *count < TRIED {
                *count += 1;
                for (t, (table, chains)) in CHAINS.iter().enumerate() {
                    for (c, chain) in chains.iter().enumerate() {
                        if compile(family, table, chain, &rule).is_some() {
                            found.chains.insert((t, c));
                        }
                    }
                }
            }
        }
    }
    all
}

/// One cell of the table.
fn status(found: Option<&Found>) -> String {
    let Some(found) = found else { return "not tried: legacy's kernel accepted no rule of it".into() };
    let reasons = found.reasons.iter().map(|reason| match reason.as_str() {
        "can't be run yet" => "not yet".to_owned(),
        other => other.strip_prefix("can't be run, for ").unwrap_or(other).to_owned(),
    });
    let reasons = reasons.collect::<Vec<_>>().join("; ");
    match (found.native.is_empty(), reasons.is_empty()) {
        (false, true) => "native".into(),
        (false, false) => format!("native, but refused: {reasons}"),
        (true, false) => format!("refused: {reasons}"),
        (true, true) => "nothing tried".into(),
    }
}

/// The chains in which legacy and we take it.
fn chains(found: &Found) -> String {
    if found.chains.len() == CHAINS.iter().map(|(_, chains)| chains.len()).sum::<usize>() {
        return "all".into();
    }
    let mut text = Vec::new();
    for (t, (table, chains)) in CHAINS.iter().enumerate() {
        let there: Vec<&str> =
            (0..chains.len()).filter(|c| found.chains.contains(&(t, *c))).map(|c| chains[c]).collect();
        match there.len() {
            0 => {}
            n if n == chains.len() => text.push((*table).to_owned()),
            _ => text.push(format!("{table} {}", there.join(" "))),
        }
    }
    text.join(", ")
}

/// The texts of what is compared with legacy, by name.
fn tests() -> Vec<(String, String)> {
    let compat = root().join("compat-tests");
    let mut paths = files(&compat.join("scenarios"), "txt");
    paths.push(compat.join("src/matrix.rs"));
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    paths.into_iter().map(|path| (name(&path), std::fs::read_to_string(&path).expect("scenarios"))).collect()
}

fn tested(tests: &[(String, String)], (target, name): &Named) -> String {
    let word = format!("-{} {name}", if *target { 'j' } else { 'm' });
    let has = |text: &str| {
        text.match_indices(&word).any(|(at, _)| {
            text[at + word.len()..]
                .chars()
                .next()
                .is_none_or(|next| !next.is_alphanumeric() && next != '-' && next != '_')
        })
    };
    let names: Vec<&str> = tests.iter().filter(|(_, text)| has(text)).map(|(name, _)| name.as_str()).collect();
    names.join(" ")
}

fn document() -> String {
    let found = Family::ALL.map(explore);
    let tests = tests();
    let mut text = String::from(
        "# What is run, and what is refused\n\n\
         Made by `BPFTABLES_UPDATE=1 cargo test -p bpftables --test coverage` from what the parser takes and the compiler answers for every rule that legacy accepted\n\
         (`parser/tests/fixtures`); the same test fails when this is not what they say. A refused rule is refused at its commit, by name and with the reason, and nothing\n\
         is changed. Tables and chains are those in which some rule of an extension is accepted. The last column names the scenarios of `compat-tests` beside legacy.\n",
    );
    for (target, title) in [(false, "Matches"), (true, "Targets")] {
        let kind = if target { ExtensionKind::Target } else { ExtensionKind::Match };
        let names: BTreeSet<&str> = Family::ALL
            .into_iter()
            .flat_map(extensions)
            .filter(|(of, _)| std::mem::discriminant(of) == std::mem::discriminant(&kind))
            .map(|(_, name)| name)
            .collect();
        let native = |family: Family| {
            let of = found[family as usize].iter().filter(|((is, _), found)| *is == target && !found.native.is_empty());
            of.filter(|((_, name), _)| names.contains(name.as_str())).count()
        };
        let counts = Family::ALL.map(|family| {
            extensions(family).filter(|(of, _)| std::mem::discriminant(of) == std::mem::discriminant(&kind)).count()
        });
        let _ = write!(
            text,
            "\n## {title}\n\nIPv4: {} of {} run, at least in part; IPv6: {} of {}.\n\n\
             | | IPv4 | IPv6 | where | scenarios |\n|---|---|---|---|---|\n",
            native(Family::V4),
            counts[0],
            native(Family::V6),
            counts[1],
        );
        for name in names {
            let key = (target, name.to_owned());
            let cells = Family::ALL.map(|family| {
                let has = extensions(family)
                    .any(|(of, known)| known == name && std::mem::discriminant(&of) == std::mem::discriminant(&kind));
                if has { status(found[family as usize].get(&key)) } else { "–".into() }
            });
            let place = found.iter().find_map(|all| all.get(&key)).map(chains).unwrap_or_default();
            let _ = writeln!(text, "| `{name}` | {} | {} | {place} | {} |", cells[0], cells[1], tested(&tests, &key));
        }
    }
    text
}

#[test]
fn the_document_of_coverage_says_what_the_compiler_says() {
    let path = root().join("docs/coverage.md");
    let made = document();
    if std::env::var_os("BPFTABLES_UPDATE").is_some() {
        std::fs::write(&path, &made).expect("docs can be written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let differing = made.lines().zip(there.lines()).find(|(made, there)| made != there);
    assert!(
        made == there,
        "docs/coverage.md is not what the code says: write it anew with BPFTABLES_UPDATE=1; first difference: {differing:#?}"
    );
}
