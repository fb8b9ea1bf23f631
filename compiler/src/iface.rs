//! Interface classes: a pattern becomes a range of small numbers.
//!
//! Patterns sorted by name, a prefix before the equal exact name, are a preorder of the trie of names. So the patterns that extend a prefix
//! pattern are numbered right behind it, and a device, whose class is that of its longest matching pattern, matches a
//! pattern exactly if its class lies in the pattern's range.

use crate::cuckoo;
use crate::error::CompileError;
use crate::ir::Ir;
use crate::lines::Lines;
use bpftables_abi::image::{Header, IFACE_EXACT, iface_key};
use bpftables_ruleset::IfacePattern;
use bpftables_ruleset::matches::Match;
use std::collections::BTreeMap;

/// Longest name of a device (`IFNAMSIZ` - 1).
const MAX_NAME: usize = 15;

/// Patterns of an image and their classes.
#[derive(Debug, Default)]
pub(crate) struct Ifaces<'a> {
    /// (name, exact) → (first class, last class).
    classes: BTreeMap<(&'a [u8], bool), (u16, u16)>,
}

/// Whether `pattern` compares anything: `+` does not.
pub(crate) fn asks(pattern: &IfacePattern) -> bool {
    !(pattern.wildcard && pattern.name.is_empty())
}

/// A port's name and whether it is meant as it stands; none where any will do.
fn port(name: &str) -> Option<(&[u8], bool)> {
    let (name, exact) = name.strip_suffix('+').map_or((name, true), |prefix| (prefix, false));
    (!name.is_empty()).then_some((name.as_bytes(), exact))
}

/// The names that `-m physdev` compares.
fn ports(matches: &[Match]) -> impl Iterator<Item = (&[u8], bool)> {
    let physdevs = matches.iter().filter_map(|m| if let Match::Physdev(physdev) = m { Some(physdev) } else { None });
    physdevs.flat_map(|p| [&p.input, &p.output]).flatten().filter_map(|(name, _)| port(name))
}

impl<'a> Ifaces<'a> {
    pub(crate) fn new(ir: &Ir<'a>) -> Result<Self, CompileError> {
        let mut classes = BTreeMap::new();
        for chain in &ir.chains {
            for (index, rule) in chain.chain.rules.iter().enumerate() {
                let asked = [&rule.ip.iif, &rule.ip.oif].into_iter().flatten().filter(|p| asks(p));
                let asked = asked.map(|pattern| (pattern.name.as_bytes(), !pattern.wildcard));
                for (name, exact) in asked.chain(ports(&rule.matches)) {
                    if name.len() > MAX_NAME {
                        let (max, got) = (MAX_NAME as u64, name.len() as u64);
                        let place = Some(chain.place(index));
                        return Err(CompileError::Limit { place, what: "bytes of an interface name", max, got });
                    }
                    classes.insert((name, exact), (0, 0));
                }
            }
        }
        Self::number(classes)
    }

    /// Of the patterns of an image, as [`Self::list`] gave them.
    pub(crate) fn of_list(list: &'a [(Box<str>, bool)]) -> Result<Self, CompileError> {
        Self::number(list.iter().map(|(name, exact)| ((name.as_bytes(), *exact), (0, 0))).collect())
    }

    /// The patterns in the order of their classes.
    pub(crate) fn list(&self) -> Vec<(Box<str>, bool)> {
        self.classes.keys().map(|(name, exact)| (String::from_utf8_lossy(name).into(), *exact)).collect()
    }

    fn number(mut classes: BTreeMap<(&'a [u8], bool), (u16, u16)>) -> Result<Self, CompileError> {
        let count = classes.len();
        if count >= usize::from(u16::MAX) {
            let (max, got) = (u64::from(u16::MAX) - 1, count as u64);
            return Err(CompileError::Limit { place: None, what: "interface patterns", max, got });
        }
        let names: Vec<(&[u8], bool)> = classes.keys().copied().collect();
        for (index, (key, range)) in classes.iter_mut().enumerate() {
            let lo = index as u16 + 1;
            let below = |other: &&(&[u8], bool)| !key.1 && other.0.starts_with(key.0);
            *range = (lo, lo + names[index + 1..].iter().take_while(below).count() as u16);
        }
        Ok(Self { classes })
    }

    /// Number of classes; class 0 (no pattern matches) is not counted.
    pub(crate) fn count(&self) -> u16 {
        self.classes.len() as u16
    }

    /// The classes that match a pattern which [`asks`].
    pub(crate) fn range(&self, pattern: &IfacePattern) -> Option<(u16, u16)> {
        self.classes.get(&(pattern.name.as_bytes(), !pattern.wildcard)).copied()
    }

    /// The classes of ports of this name.
    pub(crate) fn port_range(&self, name: &str) -> Option<(u16, u16)> {
        port(name).map_or(Some((0, u16::MAX)), |key| self.classes.get(&key).copied())
    }

    /// Stores the table and says so in the header.
    pub(crate) fn store(&self, lines: &mut Lines, header: &mut Header) -> Result<(), CompileError> {
        if self.classes.is_empty() {
            return Ok(());
        }
        let mut entries = Vec::with_capacity(self.classes.len());
        for (&(name, exact), &(lo, _)) in &self.classes {
            let mut padded = [0; 16];
            padded[..name.len()].copy_from_slice(name);
            let len = if exact { IFACE_EXACT } else { name.len() as u8 };
            if !exact {
                header.iface_lens |= 1 << len;
            }
            entries.push((iface_key(padded, len), u32::from(lo) + 1));
        }
        let mut keys: Vec<u64> = entries.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(CompileError::Internal("two interface patterns have one key".into()));
        }
        let table = cuckoo::build(&entries)?;
        header.iface_table = lines.push(&table.buckets);
        header.iface_mask = table.mask;
        header.iface_seed = table.seed;
        header.iface_classes = u32::from(self.count());
        header.flags |= bpftables_abi::image::FLAG_IFACE;
        Ok(())
    }
}
