//! The hash tables of IPv6 prefixes: as [`crate::cuckoo`], with whole keys of 128 bits and a length, three ways a bucket ([`Bucket6`]).

use crate::error::CompileError;
use crate::image::Line;
use bpftables_abi::image::{Bucket6, Key6, hash, prefix6_hash};

/// Ways in a bucket.
const WAYS: usize = 3;
/// Displacements after which another seed is tried.
const MAX_KICKS: u32 = 500;
/// Seeds tried before the table is doubled.
const SEEDS: u64 = 8;

/// A prefix: host order, masked; length 1 to 128.
pub(crate) type Prefix = (u128, u8);

/// The key of a prefix.
pub(crate) const fn key(addr: u128) -> Key6 {
    Key6 { hi: (addr >> 64) as u64, lo: addr as u64 }
}

/// Builds a table of `entries`, whose prefixes differ and whose values are not 0: its buckets, mask and seed.
pub(crate) fn build(entries: &[(Prefix, u32)]) -> Result<(Vec<Line>, u32, u64), CompileError> {
    let mut size = (entries.len() * 10).div_ceil(WAYS * 8).max(1).next_power_of_two();
    loop {
        for seed in 1..=SEEDS {
            let seed = hash(seed, 0x243f_6a88_85a3_08d3);
            if let Some(buckets) = fill(entries, size, seed) {
                let buckets = buckets.into_iter().map(|bucket| Line(zerocopy::transmute!(bucket))).collect();
                return Ok((buckets, (size - 1) as u32, seed));
            }
        }
        size *= 2;
        if size > entries.len().max(1) * 64 {
            return Err(CompileError::Internal("a table of prefixes can't be filled (equal ones?)".into()));
        }
    }
}

fn fill(entries: &[(Prefix, u32)], size: usize, seed: u64) -> Option<Vec<Bucket6>> {
    let empty = Bucket6 { keys: [Key6 { hi: 0, lo: 0 }; WAYS], values: [0; WAYS], lens: [0; WAYS], pad: 0 };
    let mut buckets = vec![empty; size];
    let mask = (size - 1) as u64;
    let mut walk = seed;
    for &((addr, mut len), mut value) in entries {
        let mut entry = key(addr);
        let mut kicks = 0;
        'place: loop {
            let h = prefix6_hash(entry, len, seed);
            let both = [(h & mask) as usize, ((h >> 32) & mask) as usize];
            for home in both {
                let bucket = &mut buckets[home];
                if let Some(way) = bucket.lens.iter().position(|l| *l == 0) {
                    (bucket.keys[way], bucket.lens[way], bucket.values[way]) = (entry, len, value);
                    break 'place;
                }
            }
            kicks += 1;
            if kicks > MAX_KICKS {
                return None;
            }
            walk = walk.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (home, way) = (both[(walk >> 63) as usize], (walk >> 33) as usize % WAYS);
            let bucket = &mut buckets[home];
            std::mem::swap(&mut bucket.keys[way], &mut entry);
            std::mem::swap(&mut bucket.lens[way], &mut len);
            std::mem::swap(&mut bucket.values[way], &mut value);
        }
    }
    Some(buckets)
}

/// Looks a prefix up as the programs do; 0 if it is not there.
pub(crate) fn lookup(lines: &[Line], table: u32, mask: u32, seed: u64, (addr, len): Prefix) -> u32 {
    let wanted = key(addr);
    let h = prefix6_hash(wanted, len, seed);
    for home in [h as u32 & mask, (h >> 32) as u32 & mask] {
        let Some(line) = lines.get((table + home) as usize) else { continue };
        let bucket: Bucket6 = zerocopy::transmute!(line.0);
        for way in 0..WAYS {
            if bucket.lens[way] == len && bucket.keys[way] == wanted {
                return bucket.values[way];
            }
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_is_found_and_no_other_of_its_bits() {
        for n in [0u128, 1, 5, 6, 37, 1000, 20_000] {
            let entries: Vec<(Prefix, u32)> = (0..n)
                .map(|i| {
                    let len = (i % 128 + 1) as u8;
                    let addr = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
                    ((addr & (u128::MAX << (128 - u32::from(len))), len), i as u32 + 1)
                })
                .collect();
            let mut unique = entries.clone();
            unique.sort_unstable();
            unique.dedup_by_key(|e| e.0);
            let (lines, mask, seed) = build(&unique).unwrap();
            for (prefix, value) in &unique {
                assert_eq!(lookup(&lines, 0, mask, seed, *prefix), *value);
            }
            assert_eq!(lookup(&lines, 0, mask, seed, (0xdead_beef, 128)), 0);
        }
    }
}
