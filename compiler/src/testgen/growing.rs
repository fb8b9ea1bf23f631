//! An image that is changed chain by chain, beside one of the same ruleset that is compiled as a whole.

use crate::image::{ChainPlace, Image, Line, chain_flag};
use crate::interp::search::iface_class;
use crate::patch::{Base, Before, Directory, Patch, patch};
use crate::verify::verify;
use crate::{CompileError, Options, compile};
use bpftables_abi::image::{
    Chain as Descriptor, FIRST_FREE_LINE, FLAG_IFACE, FLAG_NAT, Header, Rule as Record, rule_flag,
};
use bpftables_abi::ops::{Op, op, target};
use bpftables_ruleset::edit::reference_counts;
use bpftables_ruleset::named::There;
use bpftables_ruleset::{
    Chain, ChainName, Editor, NoCounters, Rule, Ruleset, Slot, Table, TableKind, Target, check, named,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// An image that is changed chain by chain, and the table that is edited.
#[derive(Debug)]
pub struct Growing {
    /// The image.
    pub image: Image,
    /// What it is of.
    pub ruleset: Ruleset,
    /// The table.
    pub table: TableKind,
    /// Steps that were compiled as patches.
    pub patched: usize,
    options: Options,
    places: BTreeMap<ChainName, ChainPlace>,
    next_slot: u32,
}

/// The table before an edit.
struct Old<'a> {
    table: &'a Table,
    places: &'a BTreeMap<ChainName, ChainPlace>,
    before: BTreeMap<ChainName, Before>,
}

impl Directory for Old<'_> {
    fn place(&self, chain: &str) -> Option<ChainPlace> {
        self.places.get(chain).copied()
    }

    fn chain(&self, chain: &str) -> Option<Chain> {
        self.table.chain(chain).cloned()
    }

    fn before(&self, chain: &str) -> Option<&Before> {
        self.before.get(chain)
    }
}

fn places(image: &Image, ruleset: &Ruleset, table: TableKind) -> BTreeMap<ChainName, ChainPlace> {
    assert_eq!(image.chains.len(), ruleset.tables.iter().flat_map(Table::chains).count());
    let all = ruleset.tables.iter().flat_map(|table| table.chains().map(|chain| (table.kind, chain)));
    let of_table = all.zip(&image.chains).filter(|((kind, _), _)| *kind == table);
    of_table.map(|((_, chain), place)| (chain.name.clone(), *place)).collect()
}

/// Whether the kernel would have a table, whose estimators may be there already.
fn allowed(table: &Table, image: &Image) -> bool {
    let known = |e: &crate::Estimator| Some((e.name.clone(), e.times?));
    let estimators = image.estimators.iter().filter_map(known).collect();
    let limit = |table: &crate::HashlimitTable| (table.maker.name.clone(), table.maker.rate_match);
    let mut there = There { estimators, limits: image.hashlimits.iter().map(limit).collect() };
    check(table).is_ok() && named::check(table, &mut there).is_ok()
}

impl Growing {
    /// Compiles a ruleset as a whole.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn new(ruleset: Ruleset, table: TableKind, options: Options) -> Result<Self, CompileError> {
        let image = compile(&ruleset, &options)?;
        let places = places(&image, &ruleset, table);
        Ok(Self { image, ruleset, table, places, options, next_slot: 100_000, patched: 0 })
    }

    /// Takes over what an edit made of the table; refused edits change nothing. False: refused.
    ///
    /// # Panics
    /// When what is made chain by chain is not what is compiled as a whole.
    pub fn step(&mut self, mut edited: Table) -> bool {
        for chain in edited.builtin.iter_mut().chain(edited.user.values_mut()) {
            for rule in chain.rules.iter_mut().filter(|rule| rule.slot == Slot::UNASSIGNED) {
                rule.slot = Slot(self.next_slot);
                self.next_slot += 1;
            }
        }
        let mut whole = self.ruleset.clone();
        *whole.table_mut(self.table) = edited.clone();
        let fresh = compile(&whole, &self.options);
        let Some(table) = self.ruleset.table(self.table) else { panic!("the table vanished") };
        // Generated rules may stand where the kernel would not have them.
        let allowed = fresh.is_ok() && (allowed(&edited, &self.image) || !allowed(table, &self.image));
        let same = |chain: &Chain| {
            let slots = |chain: &Chain| chain.rules.iter().map(|rule| rule.slot).collect::<Vec<_>>();
            table.chain(&chain.name.0).is_some_and(|old| slots(old) == slots(chain) && old.policy == chain.policy)
        };
        let touched: Vec<&Chain> = edited.chains().filter(|chain| !same(chain)).collect();
        let removed = table.chains().filter(|chain| edited.chain(&chain.name.0).is_none());
        let removed: Vec<&str> = removed.map(|chain| &*chain.name.0).collect();
        let before = touched.iter().filter_map(|chain| table.chain(&chain.name.0));
        let before = before.map(|old| (old.name.clone(), Before::of(old))).collect();
        let old = Old { table, places: &self.places, before };
        let lines = &self.image.lines;
        let base = Base {
            family: whole.family,
            table: self.table,
            header: self.image.header(),
            ifaces: &self.image.ifaces,
            options: &self.options,
            end: lines.len() as u32,
            line: &|at| lines[at as usize],
            directory: &old,
        };
        let Ok(patch) = patch(&base, &touched, &removed) else {
            let Ok(fresh) = fresh else { return false };
            if allowed {
                self.places = places(&fresh, &whole, self.table);
                (self.image, self.ruleset) = (fresh, whole);
            }
            return allowed;
        };
        assert!(allowed, "a patch of what is refused");
        self.apply(patch);
        self.patched += 1;
        self.ruleset = whole;
        self.places.retain(|name, _| edited.chain(&name.0).is_some());
        let refs = reference_counts(&edited);
        for (name, place) in &mut self.places {
            place.refs = refs.get(name).copied().unwrap_or(0);
        }
        match fresh {
            Ok(fresh) => self.agrees_with(&fresh),
            Err(error) => panic!("{error}"),
        }
        true
    }

    fn apply(&mut self, patch: Patch) {
        self.image.lines.resize(patch.end as usize, Line::ZERO);
        for (first, lines) in patch.blocks {
            self.image.lines[first as usize..][..lines.len()].copy_from_slice(&lines);
        }
        let header = self.image.header();
        let flags = patch.places.iter().fold(header.flags, |flags, (_, place)| flags | place.flags) & !chain_flag::ALL;
        self.image.set_header(&Header { lines: self.image.lines.len() as u32, flags, ..header });
        self.image.states.retain(|state| !patch.gone.contains(&state.slot));
        self.image.states.extend(patch.states);
        self.places.extend(patch.places);
    }

    /// The image is one, and says what `fresh` says.
    fn agrees_with(&self, fresh: &Image) {
        let their = places(fresh, &self.ruleset, self.table);
        for (name, place) in &self.places {
            let fresh = their[name];
            assert_eq!((place.flags, place.refs), (fresh.flags, fresh.refs), "{name}");
            assert_eq!(place.hooks & fresh.hooks, fresh.hooks, "{name}");
            assert!(place.level >= fresh.level && (place.line != 0 || fresh.line == 0), "{name}");
        }
        if let Err(defect) = verify(&self.image) {
            panic!("{defect}");
        }
        // What is looked at for all chains at once.
        let shared = |image: &Image| (image.recent.clone(), image.hashlimits.clone(), image.estimators.clone());
        assert_eq!(shared(&self.image), shared(fresh));
        let states = |image: &Image| -> BTreeSet<_> {
            image.states.iter().map(|state| (state.slot, state.ordinal, state.kind.code())).collect()
        };
        // Those of chains that no hook reaches any more may stay.
        assert!(states(fresh).is_subset(&states(&self.image)));
        // What the header says of other tables' rules does not change.
        let others = |image: &Image| image.header().flags & (FLAG_NAT | FLAG_IFACE);
        assert_eq!(others(&self.image) & FLAG_NAT, others(fresh) & FLAG_NAT);
        let kept = others(&self.image) & FLAG_IFACE;
        assert_eq!(kept & others(fresh), others(fresh) & FLAG_IFACE);
        let flags = self.places.values().fold(0, |flags, place| flags | place.flags) & !chain_flag::ALL;
        assert_eq!(flags & !fresh.header().flags, 0, "a flag that the whole does not have");

        let (ours, theirs) = (Side::new(&self.image, &self.places), Side::new(fresh, &their));
        for (name, place) in &their {
            let (a, b) = (ours.chain(self.places[name].line), theirs.chain(place.line));
            if place.line == 0 {
                continue;
            }
            assert_eq!((a.0.policy, a.0.policy_slot), (b.0.policy, b.0.policy_slot), "{name}");
            assert_eq!(a.1.len(), b.1.len(), "{name}");
            for (index, (a, b)) in a.1.iter().zip(&b.1).enumerate() {
                assert!(same_rule((&ours, a), (&theirs, b)), "{name}, rule {}: {a:?}, {b:?}", index + 1);
            }
        }
    }
}

/// One of two images that are compared.
struct Side<'a> {
    image: &'a Image,
    names: BTreeMap<u32, &'a str>,
}

impl<'a> Side<'a> {
    fn new(image: &'a Image, places: &'a BTreeMap<ChainName, ChainPlace>) -> Self {
        Self { image, names: places.iter().map(|(name, place)| (place.line, &*name.0)).collect() }
    }

    fn line(&self, at: u32) -> Option<&Line> {
        self.image.lines.get(at as usize).filter(|_| at >= FIRST_FREE_LINE)
    }

    /// A chain's first descriptor, and the records of all that are its rules.
    fn chain(&self, line: u32) -> (Descriptor, Vec<Record>) {
        let mut records = Vec::new();
        let descriptor = |at: u32| -> Descriptor { zerocopy::transmute!(self.image.lines[at as usize].0) };
        let mut at = line;
        while at != 0 {
            let of = descriptor(at);
            let all = (0..of.nrules)
                .map(|index| -> Record { zerocopy::transmute!(self.image.lines[(of.rules + index) as usize].0) });
            records.extend(all.filter(|record| record.slot != Slot::UNASSIGNED.0));
            at = of.next;
        }
        (descriptor(line), records)
    }

    fn op(&self, record: &Record, index: u8) -> Op {
        let bytes = &self.image.lines[(record.ops + u32::from(index) / 4) as usize].0[usize::from(index) % 4 * 16..];
        let mut op = [0; 16];
        op.copy_from_slice(&bytes[..16]);
        zerocopy::transmute!(op)
    }

    /// Which of some devices are in a range of classes.
    fn devices(&self, lo: u16, hi: u16, names: &[String]) -> Vec<bool> {
        names.iter().map(|name| (lo..=hi).contains(&iface_class(self.image, Some(name)))).collect()
    }
}

/// Whether two numbers are the same, or those of lines that say the same.
fn same_word((a, x): (&Side<'_>, u32), (b, y): (&Side<'_>, u32)) -> bool {
    x == y || a.line(x).zip(b.line(y)).is_some_and(|(x, y)| x == y)
}

/// Whether two lines say the same, or name lines that do.
fn same_words((a, x): (&Side<'_>, u32), (b, y): (&Side<'_>, u32)) -> bool {
    let (Some(x), Some(y)) = (a.line(x), b.line(y)) else { return false };
    (0..16).all(|word| same_word((a, x.word(word)), (b, y.word(word))))
}

fn same_devices((a, x): (&Side<'_>, (u16, u16)), (b, y): (&Side<'_>, (u16, u16))) -> bool {
    let patterns = || b.image.ifaces.iter().map(|(name, _)| &**name);
    let longer = patterns().map(|name| format!("{name}7")).filter(|name| name.len() < 16);
    let names: Vec<String> = patterns().map(str::to_owned).chain(longer).chain(["none".to_owned()]).collect();
    a.devices(x.0, x.1, &names) == b.devices(y.0, y.1, &names)
}

fn same_rule((a, x): (&Side<'_>, &Record), (b, y): (&Side<'_>, &Record)) -> bool {
    // These are compared by what they mean; the number is TRACE's.
    let bare = |record: &Record| Record {
        saddr: 0,
        daddr: 0,
        iif_lo: 0,
        iif_hi: 0,
        oif_lo: 0,
        oif_hi: 0,
        ops: 0,
        arg: 0,
        number: 0,
        ..*record
    };
    let goes = matches!(x.target, target::JUMP | target::GOTO);
    let arg = match x.target {
        _ if goes => a.names.get(&x.arg) == b.names.get(&y.arg),
        target::SET => same_words((a, x.arg), (b, y.arg)),
        _ => same_word((a, x.arg), (b, y.arg)),
    };
    let ops = (0..x.nops.min(y.nops)).all(|index| same_op((a, a.op(x, index)), (b, b.op(y, index))));
    bare(x) == bare(y)
        && same_word((a, x.saddr), (b, y.saddr))
        && same_word((a, x.daddr), (b, y.daddr))
        && (x.flags & rule_flag::IIF == 0 || same_devices((a, (x.iif_lo, x.iif_hi)), (b, (y.iif_lo, y.iif_hi))))
        && (x.flags & rule_flag::OIF == 0 || same_devices((a, (x.oif_lo, x.oif_hi)), (b, (y.oif_lo, y.oif_hi))))
        && arg
        && ops
}

fn same_op((a, x): (&Side<'_>, Op), (b, y): (&Side<'_>, Op)) -> bool {
    let range = |classes: u32| (classes as u16, (classes >> 16) as u16);
    let words = if x.op == op::PHYSDEV {
        let ports = [(1, x.b, y.b), (2, x.c, y.c)].into_iter().filter(|(bit, ..)| x.a & bit != 0);
        ports.into_iter().all(|(_, x, y)| same_devices((a, range(x)), (b, range(y)))) && x.d == y.d
    } else {
        [(x.b, y.b), (x.c, y.c), (x.d, y.d)].into_iter().all(|(x, y)| same_word((a, x), (b, y)))
    };
    (x.op, x.flags, x.a) == (y.op, y.flags, y.a) && words
}

/// One edit, to be fitted to the chains that there are.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What is done.
    pub what: u8,
    /// To which chain.
    pub chain: u16,
    /// At which of its rules, and where jumps go.
    pub place: u16,
    /// With which rules.
    pub rules: Vec<u16>,
}

/// Any edit.
pub fn draft() -> impl Strategy<Value = Draft> {
    (any::<u8>(), any::<u16>(), any::<u16>(), vec(any::<u16>(), 1..5)).prop_map(|(what, chain, place, rules)| Draft {
        what,
        chain,
        place,
        rules,
    })
}

/// Does an edit; `pool` gives rules.
#[must_use]
pub fn edit(table: &Table, draft: &Draft, pool: &[Rule]) -> Table {
    let mut edited = table.clone();
    let names: Vec<ChainName> = table.chains().map(|chain| chain.name.clone()).collect();
    let name = &*names[usize::from(draft.chain) % names.len()].0;
    let length = table.chain(name).map_or(0, |chain| chain.rules.len());
    let at = u32::from(draft.place) % (length as u32).max(1) + 1;
    let mut rules = draft.rules.iter().map(|rule| {
        let mut rule = Rule { slot: Slot::UNASSIGNED, ..pool[usize::from(*rule) % pool.len()].clone() };
        if let Target::Jump(to) | Target::Goto(to) = &mut rule.target {
            *to = names[usize::from(draft.place) % names.len()].clone();
        }
        rule
    });
    let mut editor = Editor::new(&mut edited);
    // What cannot be done is not done.
    let _ = match draft.what % 16 {
        0..=4 => rules.try_for_each(|rule| editor.append(name, rule)),
        5 | 6 => rules.try_for_each(|rule| editor.insert(name, 1, rule)),
        7 => rules.try_for_each(|rule| editor.insert(name, at, rule)),
        8..=10 => editor.delete_number(name, at),
        11 => rules.take(1).try_for_each(|rule| editor.replace(name, at, rule)),
        12 => editor.flush(name).and_then(|()| rules.try_for_each(|rule| editor.append(name, rule))),
        13 => editor.new_chain(&format!("N{}", draft.place % 6)),
        14 => editor.flush(name).and_then(|()| editor.delete_chain(name)),
        _ => editor.set_policy(name, if at.is_multiple_of(2) { "DROP" } else { "ACCEPT" }, None, &NoCounters),
    };
    drop(editor);
    edited
}
