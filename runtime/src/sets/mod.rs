//! `-m set` and `-j SET`: what the programs have to know to search the kernel's sets (`ebpf/c/ops_set.h`), and which rules can't be run.
//!
//! Sets are found by name and index, as the kernel gives them to everybody, by a program that is run here: it looks under which of a
//! namespace's numbers such a set is. The offsets come from the kernel's types. All of it is done again only when something is not known.

pub(crate) mod changes;
mod layout;
mod types;

use crate::error::{Doing, EngineError, Result};
use crate::install::Installed;
use crate::nfnetlink::{Requests, attribute};
use crate::sys::bpf::{self, Map};
use crate::sys::ipset::{self, Found};
use bpftables_abi::image::FLAG_MAC;
use bpftables_abi::maps;
use bpftables_abi::sets::{COMMENTS, COUNTERS, SetConf, SetProbe, TYPES};
use bpftables_compiler::{CompileError, RulePlace};
use bpftables_ruleset::matches::{Match, Set};
use bpftables_ruleset::{Family, Rule, Ruleset, TableKind, Target};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use zerocopy::FromZeros;

const LIST: &str = "list:set";
/// Types of one kind of elements, which a swap may exchange.
const PAIRS: [(&str, &str); 3] =
    [("bitmap:ip", "hash:ip"), ("bitmap:ip,mac", "hash:ip,mac"), ("hash:ip,port,net", "hash:net,port,net")];
/// Types whose elements `-j SET` may change: an element is exactly what a packet has.
const CHANGED: [&str; 8] = [
    "bitmap:ip",
    "bitmap:port",
    "hash:ip",
    "hash:mac",
    "hash:ip,mac",
    "hash:ip,mark",
    "hash:ip,port",
    "hash:ip,port,ip",
];
/// Those to which it may add: a packet's address with the longest prefix that the set has.
const ADDED: [&str; 3] = ["hash:net", "hash:net,port", "hash:ip,port,net"];
/// `NFNL_SUBSYS_IPSET`, `IPSET_CMD_TYPE`, and what they are asked with.
const SUBSYSTEM: u8 = 6;
const CMD_TYPE: u8 = 13;
const PROTOCOL: u8 = 6;
const ATTRIBUTES: [u16; 3] = [1, 3, 5];

/// A set that rules name, and what they say of its counters. A ruleset whose rules are not looked at again is known by these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Named {
    name: Box<str>,
    keep_counters: bool,
    keep_subcounters: bool,
    change: Change,
}

/// What a rule does to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Change {
    /// `-m set`.
    None,
    /// `--add-set`.
    Add,
    /// `--add-set` with `--exist`.
    Renew,
    /// `--del-set`.
    Delete,
    /// `--map-set`, which changes the packet.
    Map,
}

impl Named {
    fn of(set: &Set) -> Self {
        let (keep_counters, keep_subcounters) = (set.keep_counters, set.keep_subcounters);
        Self { name: set.name.clone(), keep_counters, keep_subcounters, change: Change::None }
    }

    fn changed(name: &str, change: Change) -> Self {
        let keep = change != Change::Map;
        Self { name: name.into(), keep_counters: keep, keep_subcounters: keep, change }
    }
}

/// All that the rules name.
pub(crate) fn named(ruleset: &Ruleset) -> Vec<Named> {
    uses(ruleset).into_iter().map(|one| one.named).collect::<BTreeSet<_>>().into_iter().collect()
}

/// A rule and a set of its.
struct Use<'a> {
    table: TableKind,
    chain: &'a str,
    index: usize,
    rule: &'a Rule,
    named: Named,
}

impl Use<'_> {
    fn refuse(&self, reason: String) -> EngineError {
        let place = RulePlace::new(self.table, self.chain, self.index, self.rule);
        CompileError::Unsupported { place, reason: reason.into() }.into()
    }
}

fn uses(ruleset: &Ruleset) -> Vec<Use<'_>> {
    let mut all = Vec::new();
    for table in &ruleset.tables {
        for chain in table.chains() {
            for (index, rule) in chain.rules.iter().enumerate() {
                let matched = rule.matches.iter().filter_map(|m| match m {
                    Match::Set(set) => Some(Named::of(set)),
                    _ => None,
                });
                let changed = match &rule.target {
                    Target::Set(change) => {
                        let adding = if change.exist { Change::Renew } else { Change::Add };
                        vec![
                            (change.add.as_ref(), adding),
                            (change.del.as_ref(), Change::Delete),
                            (change.map.as_ref(), Change::Map),
                        ]
                    }
                    _ => Vec::new(),
                };
                let changed = changed.into_iter().filter_map(|(set, change)| Some(Named::changed(&set?.name, change)));
                let chain = &*chain.name.0;
                all.extend(matched.chain(changed).map(|named| Use { table: table.kind, chain, index, rule, named }));
            }
        }
    }
    all
}

/// A set as the kernel has it.
#[derive(Clone, Debug)]
struct Known {
    kind: String,
    counts: bool,
    comments: bool,
    /// Of a list: its sets.
    members: Vec<Known>,
}

impl Known {
    /// Whether rules may change it, or why not.
    fn changeable(&self, name: &str, change: Change) -> std::result::Result<(), Unfound> {
        let list = self.kind == LIST;
        let all = if list { &*self.members } else { std::slice::from_ref(self) };
        let set = if list { format!("a set of {name}") } else { format!("set {name}") };
        for one in all {
            let adds = change != Change::Delete;
            let exactly = CHANGED.contains(&&*one.kind) || adds && !list && ADDED.contains(&&*one.kind);
            if !exactly {
                let (kind, what) = (&one.kind, if adds { "--add-set" } else { "--del-set" });
                return Err(Unfound::Reason(format!(
                    "{set} is of type {kind}, which {what} can't change exactly here"
                )));
            }
            if adds && one.counts {
                return Err(Unfound::Reason(format!(
                    "{set} counts what matches its elements, beginning with the packet that adds one, and no program can write into it"
                )));
            }
            if change == Change::Renew && one.comments {
                return Err(Unfound::Reason(format!(
                    "{set} has comments, which an element that is added again would lose; leave --exist out"
                )));
            }
        }
        Ok(())
    }

    fn kinds(&self) -> impl Iterator<Item = &str> {
        [self.kind.as_str()].into_iter().chain(self.members.iter().map(|member| member.kind.as_str()))
    }
}

/// Sees to it that the programs find the sets of a ruleset. Flags that its image must have.
///
/// # Errors
/// A rule that can't be run exactly, by name.
pub(crate) fn prepare(installed: &Installed, ruleset: &Ruleset) -> Result<u32> {
    let uses = uses(ruleset);
    if uses.is_empty() {
        return Ok(0);
    }
    let mut search = Search { finder: Finder::open(installed)?, known: BTreeMap::new() };
    uses.iter().try_fold(0, |flags, one| match search.flags(&one.named) {
        Ok(more) => Ok(flags | more),
        Err(Unfound::Reason(reason)) => Err(one.refuse(reason)),
        Err(Unfound::Engine(error)) => Err(error),
    })
}

/// As [`prepare`], of a ruleset whose sets are known. None: it takes the rules to say what is wrong.
pub(crate) fn prepare_named(installed: &Installed, named: &[Named]) -> Result<Option<u32>> {
    if named.is_empty() {
        return Ok(Some(0));
    }
    let mut search = Search { finder: Finder::open(installed)?, known: BTreeMap::new() };
    let mut flags = 0;
    for one in named {
        match search.flags(one) {
            Ok(more) => flags |= more,
            Err(Unfound::Reason(_)) => return Ok(None),
            Err(Unfound::Engine(error)) => return Err(error),
        }
    }
    Ok(Some(flags))
}

/// Sets that were looked for, by name.
struct Search {
    finder: Finder,
    known: BTreeMap<Box<str>, Option<Known>>,
}

impl Search {
    /// Flags that an image must have whose rules name a set; or why they can't be run.
    fn flags(&mut self, one: &Named) -> std::result::Result<u32, Unfound> {
        let name = &*one.name;
        if !self.known.contains_key(name) {
            let found = self.finder.find(name)?;
            self.known.insert(name.into(), found);
        }
        // One that is gone has nothing until it is made again.
        let Some(Some(set)) = self.known.get(name) else { return Ok(0) };
        if one.change == Change::Map && set.counts {
            return Err(Unfound::Reason(format!(
                "set {name} counts what matches its elements, and no program can write into it"
            )));
        }
        if one.change == Change::Map && set.kind == LIST {
            return Err(Unfound::Reason(format!("set {name} is a list, whose marks --map-set can't tell")));
        }
        if set.counts && !one.keep_counters {
            return Err(Unfound::Reason(format!(
                "set {name} counts what matches its elements, and no program can write into it; say ! --update-counters"
            )));
        }
        if matches!(one.change, Change::Add | Change::Renew | Change::Delete) {
            set.changeable(name, one.change)?;
        }
        let subcounters = set.members.iter().any(|member| member.counts);
        if subcounters && !one.keep_counters && !one.keep_subcounters {
            return Err(Unfound::Reason(format!(
                "sets of {name} count what matches their elements, and no program can write into them; say ! --update-subcounters"
            )));
        }
        Ok(if set.kinds().any(|kind| kind.ends_with("mac")) { FLAG_MAC } else { 0 })
    }
}

enum Unfound {
    Reason(String),
    Engine(EngineError),
}

impl From<EngineError> for Unfound {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// The program that finds sets, and what it is told.
struct Finder {
    family: Family,
    program: std::os::fd::OwnedFd,
    conf: SetConf,
    confs: Map<u32, SetConf>,
    questions: Map<u32, SetProbe>,
}

fn padded(name: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    let len = name.len().min(bytes.len() - 1);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    bytes
}

fn text(bytes: &[u8]) -> String {
    let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

impl Finder {
    fn open(installed: &Installed) -> Result<Self> {
        let name = maps::SET_PROBES[usize::from(installed.family == Family::V6)];
        let first = !installed.has_program(name);
        if first {
            installed.load_more(&[name])?;
        }
        let program = installed.program(name)?;
        let program = program.ok_or_else(|| EngineError::Internal(format!("program {name} is not pinned")))?;
        let confs = installed.map(maps::SETS)?;
        let conf = confs.get(&0).doing(|| "look where the kernel's sets are".to_owned())?;
        // What another build wrote there is read anew.
        let conf = conf.filter(|_| !first).unwrap_or_else(SetConf::new_zeroed);
        Ok(Self { family: installed.family, program, conf, confs, questions: installed.map(maps::SET_PROBE)? })
    }

    /// Writes what is known now.
    fn tell(&self) -> Result<()> {
        self.confs.set(&0, &self.conf).doing(|| "say where the kernel's sets are".to_owned())
    }

    fn ask(&self, question: &SetProbe) -> Result<SetProbe> {
        let doing = || "look for the kernel's sets".to_owned();
        self.questions.set(&0, question).doing(doing)?;
        bpf::test_run(self.program.as_fd(), &[0; 64], &mut [], 1).doing(doing)?;
        self.questions.get(&0).doing(doing)?.ok_or_else(|| EngineError::Internal("a map without an element".to_owned()))
    }

    fn knows(&self, kind: &str) -> bool {
        if kind == LIST {
            return self.conf.list_members != 0;
        }
        let at = TYPES.iter().position(|(name, _)| *name == kind);
        at.is_some_and(|at| self.conf.types[at].known == 1)
    }

    /// Reads the kernel's types anew.
    fn learn(&mut self) -> Result<()> {
        if let Some(conf) = layout::read(self.family) {
            self.conf = SetConf { net_id: self.conf.net_id, ..conf };
            self.tell()?;
        }
        Ok(())
    }

    /// Has the kernel load what is not known of these types, as the command that makes such a set does.
    fn load<'a>(&mut self, kinds: impl Iterator<Item = &'a str>) -> Result<()> {
        let missing: Vec<&str> = kinds.filter(|kind| !self.knows(kind)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        if let Ok(mut requests) = Requests::open() {
            let family = if self.family == Family::V6 { 10 } else { 2 };
            for kind in missing {
                let [protocol, name, of] = ATTRIBUTES;
                let name = attribute(name, &[kind.as_bytes(), &[0]].concat());
                let asked = [attribute(protocol, &[PROTOCOL]), name, attribute(of, &[family])].concat();
                // There may be none; what matters is what is there afterwards.
                let _ = requests.send(SUBSYSTEM, CMD_TYPE, family, 0, &asked);
            }
        }
        self.learn()
    }

    /// The set of a name; none: there is none now.
    fn find(&mut self, name: &str) -> std::result::Result<Option<Known>, Unfound> {
        let index = match ipset::find(name) {
            Ok(Found::Set { index, .. }) => index,
            _ => return Ok(None),
        };
        let fresh = self.conf.type_name == 0;
        if fresh {
            self.learn()?;
        }
        let unseen = || Unfound::Reason(format!("set {name} is not where this kernel's types say that sets are"));
        if self.conf.type_name == 0 {
            return Err(unseen());
        }
        let mut question = SetProbe::new_zeroed();
        (question.name, question.index) = (padded(name), index.into());
        question.net_id = self.conf.net_id;
        let mut answer = self.ask(&question)?;
        if answer.found == 0 && question.net_id != 0 {
            // The module was loaded anew.
            question.net_id = 0;
            answer = self.ask(&question)?;
        }
        if answer.found != 1 {
            return Err(unseen());
        }
        if self.conf.net_id != answer.net_id {
            self.conf.net_id = answer.net_id;
            self.tell()?;
        }
        question.net_id = answer.net_id;
        let mut set = self.known(&answer)?;
        if set.kind == LIST {
            if fresh {
                // Whatever set may be put into it.
                self.load(TYPES.iter().map(|(name, _)| *name))?;
            }
            for member in 1.. {
                let answer = self.ask(&SetProbe { member, ..question })?;
                if answer.found == 0 {
                    break;
                }
                let member = self.known(&answer)?;
                set.members.push(member);
            }
        } else if fresh {
            let other = |(a, b): (&'static str, &'static str)| match &*set.kind {
                kind if kind == a => Some(b),
                kind if kind == b => Some(a),
                _ => None,
            };
            self.load(PAIRS.into_iter().filter_map(other))?;
        }
        Ok(Some(set))
    }

    /// What an answer says, if the programs can search such a set.
    fn known(&mut self, answer: &SetProbe) -> std::result::Result<Known, Unfound> {
        let kind = text(&answer.type_);
        if !self.knows(&kind) {
            self.learn()?;
        }
        // A set of the other family is never searched.
        let own = if self.family == Family::V6 { 10 } else { 2 };
        if !self.knows(&kind) && (answer.family == 0 || answer.family == own) {
            let name = text(&answer.name);
            return Err(Unfound::Reason(format!("set {name} is of type {kind}, which no program can search here")));
        }
        let has = |extension: u8| answer.extensions & extension != 0;
        Ok(Known { kind, counts: has(COUNTERS), comments: has(COMMENTS), members: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernels_sets_are_described() {
        let conf = layout::read(Family::V4).expect("a kernel with ipset");
        let hash_net = conf.types[TYPES.iter().position(|(name, _)| *name == "hash:net").unwrap()];
        assert_eq!((hash_net.known, hash_net.words, hash_net.nlen, hash_net.stride), (1, 2, 32, 8));
    }
}
