//! An image that is changed chain by chain says what one says that is compiled as a whole, for everything that rules may ask for: rules that
//! legacy accepted come and go, and after each step every rule of both images is compared.

#[path = "common/names.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod names;

#[path = "common/accepted.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod rules;

use bpftables_compiler::Options;
use bpftables_compiler::testgen::growing::{Draft, Growing, edit};
use bpftables_ruleset::matches::Match;
use bpftables_ruleset::{Editor, Family, Rule, Ruleset, Slot, Table, TableKind, Target};
use std::collections::{BTreeMap, BTreeSet};

/// How many rules of an extension are tried.
const TRIED: usize = 10;
/// Chains of the user's, of which some are reached.
const USER: [&str; 3] = ["UC", "A", "B"];

/// Natives whose rules all chains share, so that no patch has any.
const SHARED: [&str; 7] = ["-m hashlimit", "-m rateest", "-m recent", "-m set", "-j RATEEST", "-j SET", "-j TRACE"];

fn names(rule: &Rule) -> Vec<String> {
    let matches = rule.matches.iter().map(|m| format!("-m {}", m.name()));
    let target = (!goes(rule)).then(|| format!("-j {}", rule.target.name()));
    matches.chain(target).collect()
}

fn goes(rule: &Rule) -> bool {
    matches!(rule.target, Target::Jump(_) | Target::Goto(_))
}

/// How many rules of a chain are `rule`, wherever it goes.
fn count(table: &Table, chain: &str, rule: &Rule) -> usize {
    let same = |other: &&Rule| {
        (&other.ip, &other.matches) == (&rule.ip, &rule.matches) && (goes(rule) || other.target == rule.target)
    };
    table.chain(chain).map_or(0, |chain| chain.rules.iter().filter(same).count())
}

/// The rules that can be run, by table and chain.
fn natives(family: Family) -> BTreeMap<TableKind, Vec<(String, Rule)>> {
    let mut all: BTreeMap<TableKind, Vec<(String, Rule)>> = BTreeMap::new();
    let mut tried: BTreeMap<String, usize> = BTreeMap::new();
    for (table, chain, text) in rules::accepted(family) {
        let Some(dry) = rules::compile(family, &table, &chain, &text).filter(|dry| dry.refused().is_empty()) else {
            continue;
        };
        let of = dry.ruleset(family).tables.iter().find(|of| of.kind.name() == table);
        let Some(rule) = of.and_then(|of| of.chain(&chain)).and_then(|chain| chain.rules.first()) else { continue };
        let names = names(rule);
        let count = |name: &String| tried.get(name).copied().unwrap_or(0);
        if names.iter().any(|name| count(name) < TRIED) {
            names.iter().for_each(|name| *tried.entry(name.clone()).or_default() += 1);
            let rule = Rule { slot: Slot::UNASSIGNED, ..rule.clone() };
            let kind = TableKind::from_name(&table).expect("a table");
            all.entry(kind).or_default().push((chain, rule));
        }
    }
    all
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u16 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as u16
    }
}

fn begin(family: Family, kind: TableKind, options: &Options) -> Growing {
    let mut ruleset = Ruleset::new(family);
    let mut editor = Editor::new(ruleset.table_mut(kind));
    USER.iter().for_each(|name| editor.new_chain(name).expect("a new chain"));
    drop(editor);
    for (slot, chain) in (0..).zip(&mut ruleset.tables[0].builtin) {
        chain.slot = Slot(slot);
    }
    Growing::new(ruleset, kind, options.clone()).expect("an empty table")
}

fn rules_in(table: &Table) -> usize {
    table.chains().map(|chain| chain.rules.len()).sum()
}

/// Edits a table of a family; which extensions were in patches.
fn edited(family: Family, kind: TableKind, pool: &[(String, Rule)], random: &mut Random) -> BTreeSet<String> {
    let paths = pool.iter().flat_map(|(_, rule)| &rule.matches).filter_map(|m| match m {
        Match::Cgroup(cgroup) => Some(cgroup.path.clone()?.0),
        _ => None,
    });
    let cgroups = paths.zip(1 << 33..).map(|(path, id)| ((kind, path), id)).collect();
    let options = Options { cgroups, ..Options::default() };
    let mut growing = begin(family, kind, &options);
    let mut seen = BTreeSet::new();
    for (place, (chain, rule)) in (0..).zip(pool) {
        if rules_in(growing.ruleset.table(kind).expect("the table")) > 40 {
            growing = begin(family, kind, &options);
        }
        let table = growing.ruleset.table(kind).expect("the table");
        // Now and then in a chain that may or may not be reached.
        let name = if random.next().is_multiple_of(4) { USER[usize::from(random.next()) % 3] } else { chain };
        let at = table.chains().position(|of| &*of.name.0 == name).unwrap_or_default() as u16;
        let others: Vec<Rule> = pool.iter().filter(|(of, _)| of == chain).map(|(_, rule)| rule.clone()).collect();
        let own = Draft { what: [0, 5, 7, 11][usize::from(random.next() % 4)], chain: at, place, rules: vec![0] };
        let (before, patched) = (table.clone(), growing.patched);
        let done = growing.step(edit(&before, &own, std::slice::from_ref(rule))) && growing.patched > patched;
        if done
            && growing.ruleset.table(kind).is_some_and(|table| count(table, name, rule) > count(&before, name, rule))
        {
            seen.extend(names(rule));
        }
        let draft = Draft {
            what: random.next() as u8,
            chain: if random.next().is_multiple_of(2) { at } else { random.next() },
            place: random.next(),
            rules: vec![random.next(), random.next()],
        };
        let table = growing.ruleset.table(kind).expect("the table").clone();
        growing.step(edit(&table, &draft, &others));
    }
    seen
}

#[test]
fn a_change_chain_by_chain_means_what_a_compilation_of_the_whole_means() {
    for family in Family::ALL {
        let mut random = Random(7);
        let (mut seen, mut all) = (BTreeSet::new(), BTreeSet::new());
        for (kind, pool) in natives(family) {
            all.extend(pool.iter().flat_map(|(_, rule)| names(rule)));
            for _ in 0..3 {
                seen.append(&mut edited(family, kind, &pool, &mut random));
            }
        }
        let missing: Vec<&String> = all.difference(&seen).filter(|name| !SHARED.contains(&name.as_str())).collect();
        assert!(missing.is_empty(), "{family:?}: no patch had {missing:?}");
        let shared: Vec<&str> = SHARED.into_iter().filter(|name| seen.contains(*name)).collect();
        assert!(shared.is_empty(), "{family:?}: patches had {shared:?}");
        assert!(all.len() > 60, "{family:?}: {all:?}");
    }
}
