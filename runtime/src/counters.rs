//! Counters in the kernel, as user space sees them: chunks mapped into memory, each CPU's part summed.

use crate::error::{Doing, EngineError, Result};
use crate::slots::SlotSet;
use crate::sys::bpf::{self, Map};
use crate::sys::mmap::Mapping;
use bpftables_abi::maps::{COUNTER_CHUNK, Counter};
use bpftables_ruleset::{CounterView, Counters, Slot};
use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::AsFd;

/// Counters of the kernel, live: two looks at the same slot may differ.
#[derive(Debug, Default)]
pub struct KernelCounters {
    chunks: Vec<Option<Mapping>>,
    cpus: usize,
}

impl KernelCounters {
    /// Maps the chunks that hold slots below `end`.
    pub(crate) fn open(outer: &Map<u32, u32>, end: u32) -> Result<Self> {
        let cpus = bpf::possible_cpus().doing(|| "count the CPUs".to_owned())?;
        let chunks = (0..end.div_ceil(COUNTER_CHUNK)).map(|chunk| Self::chunk(outer, chunk, cpus));
        Ok(Self { chunks: chunks.collect::<Result<_>>()?, cpus })
    }

    /// Maps all chunks.
    pub(crate) fn open_all(outer: &Map<u32, u32>) -> Result<Self> {
        let cpus = bpf::possible_cpus().doing(|| "count the CPUs".to_owned())?;
        let mut chunks = Vec::new();
        for chunk in 0..outer.info().max_entries {
            match Self::chunk(outer, chunk, cpus)? {
                Some(mapping) => chunks.push(Some(mapping)),
                // Chunks are made in order.
                None => break,
            }
        }
        Ok(Self { chunks, cpus })
    }

    fn chunk(outer: &Map<u32, u32>, chunk: u32, cpus: usize) -> Result<Option<Mapping>> {
        let doing = || format!("map counters {}", chunk * COUNTER_CHUNK);
        let Some(id) = outer.get(&chunk).doing(doing)? else { return Ok(None) };
        let map = bpf::map_by_id(id).doing(doing)?;
        Mapping::new(map.as_fd(), chunk_bytes(cpus), false).doing(doing).map(Some)
    }
}

fn chunk_bytes(cpus: usize) -> usize {
    cpus * COUNTER_CHUNK as usize * size_of::<Counter>()
}

impl CounterView for KernelCounters {
    fn get(&self, slot: Slot) -> Counters {
        let Some(Some(chunk)) = self.chunks.get((slot.0 / COUNTER_CHUNK) as usize) else { return Counters::default() };
        sum(chunk, slot, self.cpus)
    }
}

/// Counters of the kernel, live, of which only those are mapped that are asked for.
#[derive(Debug)]
pub(crate) struct FewCounters<M> {
    outer: M,
    cpus: usize,
    chunks: RefCell<BTreeMap<u32, Option<Mapping>>>,
    failed: RefCell<Option<EngineError>>,
}

impl<M: Borrow<Map<u32, u32>>> FewCounters<M> {
    pub(crate) fn new(outer: M) -> Result<Self> {
        let cpus = bpf::possible_cpus().doing(|| "count the CPUs".to_owned())?;
        Ok(Self { outer, cpus, chunks: RefCell::default(), failed: RefCell::default() })
    }

    /// Why some could not be read; what was given for those does not count.
    pub(crate) fn failure(&self) -> Option<EngineError> {
        self.failed.take()
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.failed.borrow().is_none()
    }
}

impl<M: Borrow<Map<u32, u32>>> CounterView for FewCounters<M> {
    fn get(&self, slot: Slot) -> Counters {
        let number = slot.0 / COUNTER_CHUNK;
        if slot == Slot::UNASSIGNED || number >= self.outer.borrow().info().max_entries {
            return Counters::default();
        }
        let mut chunks = self.chunks.borrow_mut();
        let chunk = chunks.entry(number).or_insert_with(|| {
            KernelCounters::chunk(self.outer.borrow(), number, self.cpus).unwrap_or_else(|error| {
                *self.failed.borrow_mut() = Some(error);
                None
            })
        });
        chunk.as_ref().map_or_else(Counters::default, |chunk| sum(chunk, slot, self.cpus))
    }
}

/// What all CPUs have counted in a slot.
fn sum(chunk: &Mapping, slot: Slot, cpus: usize) -> Counters {
    let entry = (slot.0 % COUNTER_CHUNK) as usize;
    (0..cpus).fold(Counters::default(), |sum, cpu| {
        let at = (cpu * COUNTER_CHUNK as usize + entry) * size_of::<Counter>();
        sum.plus(Counters { packets: chunk.load_u64(at), bytes: chunk.load_u64(at + 8) })
    })
}

/// What the kernel had counted when it was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountersThen(Vec<Counters>);

impl CountersThen {
    /// Reads the counters of slots.
    pub(crate) fn read(kernel: &KernelCounters, slots: &SlotSet) -> Self {
        let ranges = slots.ranges();
        let end = ranges.last().map_or(0, |(first, count)| first + count);
        let mut counts = vec![Counters::default(); end as usize];
        for (first, count) in ranges {
            for slot in first..first + count {
                counts[slot as usize] = kernel.get(Slot(slot));
            }
        }
        Self(counts)
    }
}

impl CounterView for CountersThen {
    fn get(&self, slot: Slot) -> Counters {
        self.0.get(slot.0 as usize).copied().unwrap_or_default()
    }
}

/// Makes the chunks below slot `end` that are not there yet.
pub(crate) fn ensure(outer: &Map<u32, u32>, end: u32) -> Result<()> {
    let doing = || "make counters".to_owned();
    let cpus = bpf::possible_cpus().doing(doing)?;
    let entries = u32::try_from(cpus).unwrap_or(u32::MAX).saturating_mul(COUNTER_CHUNK);
    let (mut keys, mut fds, mut maps) = (Vec::new(), Vec::new(), Vec::new());
    // Chunks are made in order, so the first one that is there ends the search.
    for chunk in (0..end.div_ceil(COUNTER_CHUNK)).rev() {
        if outer.get(&chunk).doing(doing)?.is_some() {
            break;
        }
        let flags = bpf::F_MMAPABLE | bpf::F_INNER_MAP;
        let map = bpf::create_array("bt_counts", size_of::<Counter>() as u32, entries, flags).doing(doing)?;
        keys.push(chunk);
        fds.push(std::os::fd::AsRawFd::as_raw_fd(&map).cast_unsigned());
        maps.push(map);
    }
    // In order of chunks, so that a part of them is a prefix.
    keys.reverse();
    fds.reverse();
    if keys.is_empty() { Ok(()) } else { outer.set_many(&keys, &fds).doing(doing) }
}
