//! Builds the image's hash tables: two buckets a key, five ways a bucket ([`Bucket`]).

use crate::error::CompileError;
use crate::image::Line;
use bpftables_abi::image::{Bucket, hash};

/// Ways in a bucket.
const WAYS: usize = 5;
/// Displacements after which another seed is tried.
const MAX_KICKS: u32 = 500;
/// Seeds tried before the table is doubled.
const SEEDS: u64 = 8;

/// A finished table.
#[derive(Debug)]
pub(crate) struct Cuckoo {
    pub(crate) buckets: Vec<Line>,
    pub(crate) mask: u32,
    pub(crate) seed: u64,
}

/// Builds a table of `entries`, whose keys differ and whose values are not 0.
pub(crate) fn build(entries: &[(u64, u32)]) -> Result<Cuckoo, CompileError> {
    let mut size = (entries.len() * 10).div_ceil(WAYS * 9).max(1).next_power_of_two();
    loop {
        for seed in 1..=SEEDS {
            let seed = hash(seed, 0x243f_6a88_85a3_08d3);
            if let Some(buckets) = fill(entries, size, seed) {
                let buckets = buckets.into_iter().map(|bucket| Line(zerocopy::transmute!(bucket))).collect();
                return Ok(Cuckoo { buckets, mask: (size - 1) as u32, seed });
            }
        }
        size *= 2;
        if size > entries.len().max(1) * 64 {
            return Err(CompileError::Internal("a hash table can't be filled (equal keys?)".into()));
        }
    }
}

fn fill(entries: &[(u64, u32)], size: usize, seed: u64) -> Option<Vec<Bucket>> {
    let empty = Bucket { keys: [0; WAYS], values: [0; WAYS], pad: 0 };
    let mut buckets = vec![empty; size];
    let mask = (size - 1) as u64;
    let homes = |key: u64| {
        let h = hash(key, seed);
        [(h & mask) as usize, ((h >> 32) & mask) as usize]
    };
    let mut walk = seed;
    for &(mut key, mut value) in entries {
        let mut kicks = 0;
        'place: loop {
            let both = homes(key);
            for home in both {
                if let Some(way) = buckets[home].values.iter().position(|v| *v == 0) {
                    buckets[home].keys[way] = key;
                    buckets[home].values[way] = value;
                    break 'place;
                }
            }
            kicks += 1;
            if kicks > MAX_KICKS {
                return None;
            }
            walk = walk.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (home, way) = (both[(walk >> 63) as usize], (walk >> 33) as usize % WAYS);
            std::mem::swap(&mut buckets[home].keys[way], &mut key);
            std::mem::swap(&mut buckets[home].values[way], &mut value);
        }
    }
    Some(buckets)
}

/// Looks `key` up as the programs do; 0 if it is not there.
pub(crate) fn lookup(lines: &[Line], table: u32, mask: u32, seed: u64, key: u64) -> u32 {
    let h = hash(key, seed);
    for home in [h as u32 & mask, (h >> 32) as u32 & mask] {
        let Some(line) = lines.get((table + home) as usize) else { continue };
        let bucket: Bucket = zerocopy::transmute!(line.0);
        for (k, v) in bucket.keys.iter().zip(bucket.values) {
            if v != 0 && *k == key {
                return v;
            }
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_and_no_other() {
        for n in [0usize, 1, 5, 6, 37, 1000, 20_000] {
            let entries: Vec<(u64, u32)> =
                (0..n).map(|i| ((i as u64).wrapping_mul(0x1_0000_0001_0003), i as u32 + 1)).collect();
            let table = build(&entries).unwrap();
            for (key, value) in &entries {
                assert_eq!(lookup(&table.buckets, 0, table.mask, table.seed, *key), *value);
            }
            assert_eq!(lookup(&table.buckets, 0, table.mask, table.seed, 0xdead_beef_0000_0001), 0);
            assert!(table.buckets.len() <= (n / 2).max(1) * 2, "{n} keys took {} buckets", table.buckets.len());
        }
    }

    #[test]
    fn equal_keys_that_overflow_are_a_typed_error() {
        let entries = vec![(7u64, 1u32); 11];
        assert!(matches!(build(&entries), Err(CompileError::Internal(_))));
    }
}
