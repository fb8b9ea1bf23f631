//! Maps.

use super::{Cmd, IdAttr, bpf, bpf_fd, object::object_info, pointer, raw};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `BPF_MAP_TYPE_ARRAY`.
pub const MAP_TYPE_ARRAY: u32 = 2;
/// `BPF_MAP_TYPE_HASH`.
const MAP_TYPE_HASH: u32 = 1;
/// `BPF_F_NO_PREALLOC`.
const F_NO_PREALLOC: u32 = 1;
/// `BPF_F_MMAPABLE`.
pub const F_MMAPABLE: u32 = 1 << 10;
/// `BPF_F_INNER_MAP`.
pub const F_INNER_MAP: u32 = 1 << 12;

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct MapCreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
    map_ifindex: u32,
}

/// Makes an ARRAY map. `name` is cut to 15 bytes.
///
/// # Errors
/// What the kernel says: EPERM without CAP_BPF, ENOMEM, E2BIG.
pub fn create_array(name: &str, value_size: u32, max_entries: u32, flags: u32) -> io::Result<OwnedFd> {
    create(name, MAP_TYPE_ARRAY, (4, value_size), max_entries, flags)
}

/// Makes a HASH map whose entries are allocated when they come. `name` is cut to 15 bytes.
///
/// # Errors
/// What the kernel says: EPERM without CAP_BPF, ENOMEM, E2BIG.
pub fn create_hash(name: &str, key_size: u32, value_size: u32, max_entries: u32) -> io::Result<OwnedFd> {
    create(name, MAP_TYPE_HASH, (key_size, value_size), max_entries, F_NO_PREALLOC)
}

fn create(
    name: &str,
    map_type: u32,
    (key_size, value_size): (u32, u32),
    max_entries: u32,
    map_flags: u32,
) -> io::Result<OwnedFd> {
    let mut map_name = [0; 16];
    let n = name.len().min(15);
    map_name[..n].copy_from_slice(&name.as_bytes()[..n]);
    bpf_fd(
        Cmd::MapCreate,
        &mut MapCreateAttr {
            map_type,
            key_size,
            value_size,
            max_entries,
            map_flags,
            inner_map_fd: 0,
            numa_node: 0,
            map_name,
            map_ifindex: 0,
        },
    )
}

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct ElemAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// What a map's keys and values are as memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MapInfo {
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// Number in this kernel.
    pub id: u32,
    /// Bytes.
    pub key_size: u32,
    /// Bytes.
    pub value_size: u32,
    /// Entries.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub map_flags: u32,
    /// NUL padded.
    pub name: [u8; 16],
}

fn expect_sizes(map: BorrowedFd<'_>, key: Option<usize>, value: Option<usize>) -> io::Result<MapInfo> {
    let info = map_info(map)?;
    let per_cpu = matches!(info.map_type, 5 | 6 | 10);
    let wrong = |what, size: u32, expected| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("map has {what} of {size} bytes, expected {expected}"))
    };
    if let Some(expected) = key.filter(|k| *k != info.key_size as usize) {
        return Err(wrong("keys", info.key_size, expected));
    }
    let size = if per_cpu {
        (info.value_size as usize).next_multiple_of(8) * possible_cpus()?
    } else {
        info.value_size as usize
    };
    if let Some(expected) = value.filter(|v| *v != size) {
        return Err(wrong("values", info.value_size, expected));
    }
    Ok(info)
}

/// A typed handle to a map: its key and value sizes were checked once, so that no call can overrun.
#[derive(Debug)]
pub struct Map<K, V: ?Sized> {
    fd: OwnedFd,
    info: MapInfo,
    sizes: std::marker::PhantomData<fn(K) -> Box<V>>,
}

impl<K: IntoBytes + FromBytes + Immutable, V: IntoBytes + FromBytes + Immutable> Map<K, V> {
    /// Takes a map whose keys are `K` and whose values are `V`.
    ///
    /// # Errors
    /// `InvalidInput` where sizes differ.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let info = expect_sizes(fd.as_fd(), Some(size_of::<K>()), Some(size_of::<V>()))?;
        Ok(Self { fd, info, sizes: std::marker::PhantomData })
    }

    /// What the kernel says of the map.
    #[must_use]
    pub fn info(&self) -> &MapInfo {
        &self.info
    }

    /// The value of a key; none if it is not there.
    ///
    /// # Errors
    /// What the kernel says, but for ENOENT.
    pub fn get(&self, key: &K) -> io::Result<Option<V>> {
        let mut value = V::new_zeroed();
        let mut attr = ElemAttr {
            map_fd: raw(self.fd.as_fd()),
            pad: 0,
            key: pointer(std::ptr::from_ref(key)),
            value: std::ptr::from_mut(&mut value).expose_provenance() as u64,
            flags: 0,
        };
        found(bpf(Cmd::MapLookupElem, &mut attr)).map(|there| there.then_some(value))
    }

    /// Sets a key's value.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set(&self, key: &K, value: &V) -> io::Result<()> {
        let mut attr = ElemAttr {
            map_fd: raw(self.fd.as_fd()),
            pad: 0,
            key: pointer(std::ptr::from_ref(key)),
            value: pointer(std::ptr::from_ref(value)),
            flags: 0,
        };
        bpf(Cmd::MapUpdateElem, &mut attr).map(drop)
    }

    /// Sets many keys; the kernel waits for readers once, at the end, where the map's kind makes it wait.
    ///
    /// # Errors
    /// What the kernel says; some keys may be set then.
    pub fn set_many(&self, keys: &[K], values: &[V]) -> io::Result<()> {
        assert_eq!(keys.len(), values.len(), "as many values as keys");
        let Ok(count) = u32::try_from(keys.len()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many keys"));
        };
        let mut attr = BatchAttr {
            in_batch: 0,
            out_batch: 0,
            keys: pointer(keys.as_ptr()),
            values: pointer(values.as_ptr()),
            count,
            map_fd: raw(self.fd.as_fd()),
            elem_flags: 0,
            flags: 0,
        };
        bpf(Cmd::MapUpdateBatch, &mut attr).map(drop)
    }
}

impl<K: IntoBytes + FromBytes + Immutable> Map<K, [u8]> {
    /// Takes a map whose keys are `K`, and whose values are nobody's business.
    ///
    /// # Errors
    /// `InvalidInput` where sizes differ.
    pub fn of_keys(fd: OwnedFd) -> io::Result<Self> {
        let info = expect_sizes(fd.as_fd(), Some(size_of::<K>()), None)?;
        Ok(Self { fd, info, sizes: std::marker::PhantomData })
    }
}

impl<K: IntoBytes + FromBytes + Immutable, V: ?Sized> Map<K, V> {
    /// Removes a key; whether it was there.
    ///
    /// # Errors
    /// What the kernel says, but for ENOENT.
    pub fn remove(&self, key: &K) -> io::Result<bool> {
        let mut attr = ElemAttr {
            map_fd: raw(self.fd.as_fd()),
            pad: 0,
            key: pointer(std::ptr::from_ref(key)),
            value: 0,
            flags: 0,
        };
        found(bpf(Cmd::MapDeleteElem, &mut attr))
    }

    /// The key after `key` (the first for none) in the map's own order.
    ///
    /// # Errors
    /// What the kernel says, but for the end.
    pub fn next_key(&self, key: Option<&K>) -> io::Result<Option<K>> {
        let mut next = K::new_zeroed();
        let mut attr = ElemAttr {
            map_fd: raw(self.fd.as_fd()),
            pad: 0,
            key: key.map_or(0, |k| pointer(std::ptr::from_ref(k))),
            value: std::ptr::from_mut(&mut next).expose_provenance() as u64,
            flags: 0,
        };
        found(bpf(Cmd::MapGetNextKey, &mut attr)).map(|there| there.then_some(next))
    }

    /// All keys. Keys that come or go meanwhile may be missed or seen twice.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn keys(&self) -> io::Result<Vec<K>> {
        let mut keys: Vec<K> = Vec::new();
        while let Some(key) = self.next_key(keys.last())? {
            keys.push(key);
            if keys.len() > self.info.max_entries as usize * 2 {
                break;
            }
        }
        Ok(keys)
    }
}

impl<V: IntoBytes + FromBytes + Immutable + Clone> Map<u32, V> {
    /// Looks at every element of an array, a few thousand by each call.
    ///
    /// # Errors
    /// What the kernel says; EINVAL for a kind of map without batches.
    pub fn each_batch(&self, mut look: impl FnMut(u32, &V)) -> io::Result<()> {
        const BATCH: u32 = 4096;
        let mut keys = vec![0_u32; BATCH as usize];
        let mut values = vec![V::new_zeroed(); BATCH as usize];
        let mut position = 0_u32;
        let mut first = true;
        loop {
            let place = std::ptr::from_mut(&mut position).expose_provenance() as u64;
            let mut attr = BatchAttr {
                in_batch: if first { 0 } else { place },
                out_batch: place,
                keys: keys.as_mut_ptr().expose_provenance() as u64,
                values: values.as_mut_ptr().expose_provenance() as u64,
                count: BATCH,
                map_fd: raw(self.fd.as_fd()),
                elem_flags: 0,
                flags: 0,
            };
            // The end is told by ENOENT, with what was left.
            let more = found(bpf(Cmd::MapLookupBatch, &mut attr))?;
            for (key, value) in keys.iter().zip(&values).take(attr.count as usize) {
                look(*key, value);
            }
            if !more {
                return Ok(());
            }
            first = false;
        }
    }
}

impl<K, V: ?Sized> AsFd for Map<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn found(result: io::Result<i32>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Reads element `index` of a per-CPU array of `u64`: one number for each possible CPU.
///
/// # Errors
/// What the kernel says; `InvalidInput` for another kind of map.
pub fn read_per_cpu_u64(map: BorrowedFd<'_>, index: u32) -> io::Result<Vec<u64>> {
    let mut values = vec![0_u64; possible_cpus()?];
    expect_sizes(map, Some(4), Some(size_of_val(values.as_slice())))?;
    let value = values.as_mut_ptr().expose_provenance() as u64;
    bpf(Cmd::MapLookupElem, &mut element(map, &index, value))?;
    Ok(values)
}

/// Names element `index` of an array, and where its value is.
fn element(map: BorrowedFd<'_>, index: &u32, value: u64) -> ElemAttr {
    ElemAttr { map_fd: raw(map), pad: 0, key: pointer(std::ptr::from_ref(index)), value, flags: 0 }
}

/// Adds to an entry of an array of counters by CPU to which nobody else adds.
///
/// # Errors
/// What the kernel says.
pub fn add_per_cpu_u64(map: BorrowedFd<'_>, index: u32, more: u64) -> io::Result<()> {
    let mut values = read_per_cpu_u64(map, index)?;
    if let Some(first) = values.first_mut() {
        *first = first.wrapping_add(more);
    }
    let value = values.as_ptr().expose_provenance() as u64;
    bpf(Cmd::MapUpdateElem, &mut element(map, &index, value))?;
    Ok(())
}

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Opens a map by its number.
///
/// # Errors
/// ENOENT when it is gone, EPERM without CAP_SYS_ADMIN.
pub fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    bpf_fd(Cmd::MapGetFdById, &mut IdAttr { id, next_id: 0, open_flags: 0 })
}

/// What the kernel says of a map.
///
/// # Errors
/// What the kernel says.
pub fn map_info(fd: BorrowedFd<'_>) -> io::Result<MapInfo> {
    object_info(fd)
}

/// How many CPUs this machine may ever have: per-CPU values are as many.
///
/// # Errors
/// When `/sys/devices/system/cpu/possible` cannot be read.
pub fn possible_cpus() -> io::Result<usize> {
    static CPUS: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    if let Some(cpus) = CPUS.get() {
        return Ok(*cpus);
    }
    let path = "/sys/devices/system/cpu/possible";
    let text = std::fs::read_to_string(path).map_err(|e| io::Error::new(e.kind(), format!("{path}: {e}")))?;
    let last = text.trim().rsplit([',', '-']).next().and_then(|n| n.parse::<usize>().ok());
    let cpus = last.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{path}: {text:?}")))? + 1;
    Ok(*CPUS.get_or_init(|| cpus))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_laid_out_as_the_kernels() {
        assert_eq!(size_of::<MapCreateAttr>(), 48);
        assert_eq!(size_of::<ElemAttr>(), 32);
        assert_eq!(size_of::<BatchAttr>(), 56);
    }

    #[test]
    fn possible_cpus_is_at_least_one() {
        assert!(possible_cpus().unwrap() >= 1);
    }
}
