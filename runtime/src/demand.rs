//! Maps that are made when rules first ask for them, so that those that do not ask pay nothing: the buckets of `-m hashlimit`, and what
//! connections carried; and the lists of `-m connlimit`.

use crate::error::{Doing, Result};
use crate::install::Installed;
use crate::sys::bpf::{self, Map};
use crate::sys::ns;
use bpftables_abi::conn::Acct;
use bpftables_abi::maps;
use bpftables_abi::ops::{HASHLIMIT_BYTES, HASHLIMIT_RATE_MATCH, HashlimitTable as Entry};
use bpftables_compiler::{Estimator, HashlimitTable};
use bpftables_ruleset::Family;
use bpftables_ruleset::eval::{hashlimit_begin, hashlimit_ticks};
use bpftables_ruleset::matches::Hashlimit;
use bpftables_ruleset::matches::hashlimit::MAX_ENTRIES;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};

/// Nanoseconds of a tick.
const TICK: u64 = 4_000_000;

/// Removes the tables of `-m hashlimit` that no rule of the live image names: packets of the image before it have passed. So a table that is
/// named again begins empty, as legacy's does, which go with their last rule.
pub(crate) fn forget_hashlimits(installed: &Installed, named: &[u32]) -> Result<()> {
    let doing = || "remove the tables of -m hashlimit that no rule names".to_owned();
    let tables = installed.keys::<u32>(maps::HASHLIMIT_TABLES)?;
    let gone: Vec<u32> = tables.keys().doing(doing)?.into_iter().filter(|table| !named.contains(table)).collect();
    if gone.is_empty() {
        return Ok(());
    }
    let buckets = installed.keys::<u32>(maps::HASHLIMITS)?;
    for table in gone {
        buckets.remove(&table).doing(doing)?;
        tables.remove(&table).doing(doing)?;
    }
    Ok(())
}

/// Makes the tables of `-m hashlimit` that the live image does not have. Those that it has stay as they were made, whatever the rules of
/// the next image say, as in legacy.
pub(crate) fn make_hashlimits(installed: &Installed, wanted: &[HashlimitTable], there: &[u32]) -> Result<()> {
    let missing: Vec<&HashlimitTable> = wanted.iter().filter(|table| !there.contains(&table.id)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let now = ns::monotonic_ns().doing(|| "read the clock".to_owned())? / TICK;
    let (buckets, tables): (Map<u32, u32>, Map<u32, Entry>) =
        (installed.map(maps::HASHLIMITS)?, installed.map(maps::HASHLIMIT_TABLES)?);
    for HashlimitTable { id, maker } in missing {
        let doing = || format!("make the table {} of -m hashlimit", maker.name);
        let key = if installed.family == Family::V4 { 12 } else { 36 };
        let map = bpf::create_hash("bt_hashlimit", key, maps::HASHLIMIT_ENTRY, entries(maker)).doing(doing)?;
        buckets.set(id, &(map.as_fd().as_raw_fd() as u32)).doing(doing)?;
        tables.set(id, &entry(maker, now)).doing(doing)?;
    }
    Ok(())
}

/// Removes the rate estimators that no rule of the live image names, as [`forget_hashlimits`] does tables.
pub(crate) fn forget_estimators(installed: &Installed, named: &[u32]) -> Result<()> {
    let doing = || "remove the rate estimators that no rule names".to_owned();
    let all = installed.keys::<u32>(maps::RATEESTS)?;
    let gone: Vec<u32> = all.keys().doing(doing)?.into_iter().filter(|id| !named.contains(id)).collect();
    gone.iter().try_for_each(|id| all.remove(id).map(drop)).doing(doing)
}

/// Makes the rate estimators that the live image does not have. Those that it has go on.
pub(crate) fn make_estimators(installed: &Installed, wanted: &[Estimator], there: &[u32]) -> Result<()> {
    let missing: Vec<&Estimator> = wanted.iter().filter(|estimator| !there.contains(&estimator.id)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let now = ns::monotonic_ns().doing(|| "read the clock".to_owned())? / TICK;
    let all: Map<u32, maps::Rateest> = installed.map(maps::RATEESTS)?;
    for estimator in missing {
        let Some((log, ewma)) = estimator.times else { continue };
        let next = now + (maps::RATEEST_QUARTER << log);
        let made = maps::Rateest { log, ewma, next, ..maps::Rateest::default() };
        all.set(&estimator.id, &made).doing(|| format!("make the rate estimator {}", estimator.name))?;
    }
    Ok(())
}

/// A table as the programs have it.
fn entry(maker: &Hashlimit, now: u64) -> Entry {
    let mask = |len: u8| {
        let bits = u128::MAX.checked_shl(u32::from(maker.width - len.min(maker.width))).unwrap_or(0);
        let bits = bits << (128 - u32::from(maker.width));
        [96, 64, 32, 0].map(|shift| ((bits >> shift) as u32).to_be())
    };
    let on = |asked: bool, bit: u32| if asked { bit } else { 0 };
    Entry {
        rate: hashlimit_begin(maker),
        smask: mask(maker.source_mask),
        dmask: mask(maker.destination_mask),
        born: now,
        swept: 0,
        expire: hashlimit_ticks(maker.expire),
        gc: hashlimit_ticks(maker.gc_interval).max(1),
        mode: u32::from(maker.mode) | on(maker.bytes, HASHLIMIT_BYTES) | on(maker.rate_match, HASHLIMIT_RATE_MATCH),
        pad: 0,
    }
}

/// Buckets at most: eight for each of the kernel's lists, which are as many as the memory allows if none are asked for.
fn entries(maker: &Hashlimit) -> u32 {
    let size = if maker.size == 0 { lists(memory()) } else { maker.size };
    if maker.max == 0 { (size * 8).min(MAX_ENTRIES * 8) } else { maker.max.max(size) }
}

/// Lists of a table on a machine with so many bytes.
fn lists(memory: u64) -> u32 {
    const GIB: u64 = 1 << 30;
    if memory > GIB { 8192 } else { ((memory / 16384 / 8) as u32).max(16) }
}

/// Bytes of this machine's memory; none that can be read: more than a gigabyte.
fn memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    total.map_or(u64::MAX, |kilobytes: u64| kilobytes << 10)
}

/// Makes the lists of `-m connlimit`, unless they are there.
pub(crate) fn make_limits(installed: &Installed) -> Result<()> {
    let doing = || "make the lists of -m connlimit".to_owned();
    let outer: Map<u32, u32> = installed.map(maps::LIMIT_GROUPS)?;
    if outer.get(&0).doing(doing)?.is_some() {
        return Ok(());
    }
    let conns = bpf::map_info(installed.raw_map(maps::CONNS)?.as_fd()).doing(doing)?.max_entries;
    let key = if installed.family == Family::V4 { 12 } else { 24 };
    let groups = bpf::create_hash("bt_limit_group", key, maps::LIMIT_GROUP, conns).doing(doing)?;
    let (key, value) = maps::LIMIT_NODE;
    // A connection may be in several lists.
    let nodes = bpf::create_hash("bt_limit_node", key, value, conns.saturating_mul(2)).doing(doing)?;
    let inner: Map<u32, u32> = installed.map(maps::LIMIT_NODES)?;
    inner.set(&0, &(nodes.as_fd().as_raw_fd() as u32)).doing(doing)?;
    outer.set(&0, &(groups.as_fd().as_raw_fd() as u32)).doing(doing)
}

/// Makes the counts of connections, unless they are there.
pub(crate) fn make_accts(installed: &Installed) -> Result<()> {
    let doing = || "make the counts of connections".to_owned();
    let outer: Map<u32, u32> = installed.map(maps::ACCTS)?;
    if outer.get(&0).doing(doing)?.is_some() {
        return Ok(());
    }
    let conns = bpf::map_info(installed.raw_map(maps::CONNS)?.as_fd()).doing(doing)?.max_entries;
    let map = bpf::create_array("bt_acct", size_of::<Acct>() as u32, conns, bpf::F_INNER_MAP).doing(doing)?;
    outer.set(&0, &(map.as_fd().as_raw_fd() as u32)).doing(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_as_large_as_the_kernels() {
        assert_eq!((lists(u64::MAX), lists(1 << 30), lists(1 << 20)), (8192, 8192, 16));
        assert_eq!(lists(256 << 20), 2048);
    }
}
