//! The lists of `-m recent` that a ruleset names, reached from a hook or not: a list lives while a rule names it.

use crate::error::{CompileError, RulePlace};
use crate::image::RecentList;
use bpftables_ruleset::Ruleset;
use bpftables_ruleset::matches::Match;
use bpftables_ruleset::matches::recent::list_masks;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Lists that the programs can hold.
const MAX_LISTS: usize = 256;
/// Chunks of stamps that they can hold, and stamps in one.
const MAX_CHUNKS: usize = 32768;
/// See [`MAX_CHUNKS`].
const CHUNK: usize = 32;
/// Addresses in a list (`ip_list_tot`).
const ADDRS: usize = 100;
/// Largest `--hitcount`.
const MAX_HITS: u32 = 255;
/// Stamps of a list without `--hitcount`: `ip_pkt_list_tot` (20) rounded up.
const DEFAULT_STAMPS: u16 = 32;

/// A number for a name: a fold of it, equal in each image. The next free one if two names of a ruleset fold to one.
pub(crate) fn number(name: &str, taken: &mut BTreeSet<u32>) -> u32 {
    let fold = name.bytes().fold(0u64, |h, byte| bpftables_abi::image::hash(h, u64::from(byte) + 1));
    let mut id = fold as u32;
    while !taken.insert(id) {
        id = id.wrapping_add(1);
    }
    id
}

/// Lists by name, and their masks.
#[derive(Debug, Default)]
pub(crate) struct Lists(BTreeMap<Box<str>, RecentList>, BTreeMap<Box<str>, IpAddr>);

impl Lists {
    pub(crate) fn new(ruleset: &Ruleset) -> Result<Self, CompileError> {
        let mut stamps: BTreeMap<&str, u16> = BTreeMap::new();
        for table in &ruleset.tables {
            for chain in table.chains() {
                for (index, rule) in chain.rules.iter().enumerate() {
                    for m in &rule.matches {
                        let Match::Recent(r) = m else { continue };
                        if r.hitcount > MAX_HITS {
                            let place = Some(RulePlace::new(table.kind, &chain.name.0, index, rule));
                            let (max, got) = (u64::from(MAX_HITS), u64::from(r.hitcount));
                            return Err(CompileError::Limit { place, what: "--hitcount", max, got });
                        }
                        let asked =
                            if r.hitcount == 0 { DEFAULT_STAMPS } else { (r.hitcount as u16).next_power_of_two() };
                        let known = stamps.entry(&r.name).or_insert(asked);
                        *known = asked.max(*known);
                    }
                }
            }
        }
        let over = |what, max: usize, got: usize| {
            if got <= max {
                return Ok(());
            }
            Err(CompileError::Limit { place: None, what, max: max as u64, got: got as u64 })
        };
        over("lists of -m recent", MAX_LISTS, stamps.len())?;
        let chunks = stamps.values().map(|s| ADDRS * usize::from(*s).div_ceil(CHUNK)).sum();
        over("time stamps of -m recent, by 32", MAX_CHUNKS, chunks)?;
        let mut taken = BTreeSet::new();
        let mut lists = BTreeMap::new();
        for (name, stamps) in stamps {
            let id = number(name, &mut taken);
            lists.insert(name.into(), RecentList { name: name.into(), id, stamps });
        }
        Ok(Self(lists, list_masks(ruleset)))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&RecentList> {
        self.0.get(name)
    }

    /// The mask of every rule that names the list.
    pub(crate) fn mask(&self, name: &str) -> Option<IpAddr> {
        self.1.get(name).copied()
    }

    pub(crate) fn into_vec(self) -> Vec<RecentList> {
        self.0.into_values().collect()
    }
}
