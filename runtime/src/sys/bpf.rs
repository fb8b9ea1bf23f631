//! `bpf(2)`: the commands that aya lacks or wraps too closely for maps and links found by number.
//!
//! Attributes are `repr(C)` structs of this module, laid out as the anonymous structs of the kernel's `union bpf_attr`; the
//! kernel takes any prefix of the union and reads the rest as zero.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Commands, numbered as `enum bpf_cmd`.
#[derive(Clone, Copy)]
#[repr(i32)]
enum Cmd {
    MapCreate = 0,
    MapLookupElem = 1,
    MapUpdateElem = 2,
    MapDeleteElem = 3,
    MapGetNextKey = 4,
    ObjPin = 6,
    ObjGet = 7,
    ProgTestRun = 10,
    ProgGetFdById = 13,
    MapGetFdById = 14,
    ObjGetInfoByFd = 15,
    ProgQuery = 16,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkDetach = 34,
}

/// `BPF_MAP_TYPE_ARRAY`.
pub const MAP_TYPE_ARRAY: u32 = 2;
/// `BPF_F_MMAPABLE`.
pub const F_MMAPABLE: u32 = 1 << 10;
/// `BPF_F_INNER_MAP`.
pub const F_INNER_MAP: u32 = 1 << 12;
/// `BPF_F_BEFORE`.
const F_BEFORE: u32 = 1 << 3;
/// `BPF_TCX_INGRESS`.
pub const TCX_INGRESS: u32 = 46;
/// `BPF_TCX_EGRESS`.
pub const TCX_EGRESS: u32 = 47;

fn bpf<T: IntoBytes + FromBytes>(cmd: Cmd, attr: &mut T) -> io::Result<i32> {
    let bytes = attr.as_mut_bytes();
    #[expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]
    // SAFETY: the kernel reads and writes `bytes.len()` bytes at `bytes`, which are ours; every attribute that holds a pointer is
    // built in this module from a slice or reference that outlives the call and is as long as the command's sizes say.
    let result = unsafe { libc::syscall(libc::SYS_bpf, cmd as libc::c_long, bytes.as_mut_ptr(), bytes.len()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(result).unwrap_or(i32::MAX)) }
}

fn bpf_fd<T: IntoBytes + FromBytes>(cmd: Cmd, attr: &mut T) -> io::Result<OwnedFd> {
    let fd = bpf(cmd, attr)?;
    #[expect(unsafe_code, reason = "the kernel hands out a raw descriptor")]
    // SAFETY: these commands return a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn pointer<T>(value: *const T) -> u64 {
    value.expose_provenance() as u64
}

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
    let mut map_name = [0; 16];
    let n = name.len().min(15);
    map_name[..n].copy_from_slice(&name.as_bytes()[..n]);
    bpf_fd(
        Cmd::MapCreate,
        &mut MapCreateAttr {
            map_type: MAP_TYPE_ARRAY,
            key_size: 4,
            value_size,
            max_entries,
            map_flags: flags,
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
    let mut attr = ElemAttr {
        map_fd: raw(map),
        pad: 0,
        key: pointer(std::ptr::from_ref(&index)),
        value: values.as_mut_ptr().expose_provenance() as u64,
        flags: 0,
    };
    bpf(Cmd::MapLookupElem, &mut attr)?;
    Ok(values)
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

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Opens a map by its number.
///
/// # Errors
/// ENOENT when it is gone, EPERM without CAP_SYS_ADMIN.
pub fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    bpf_fd(Cmd::MapGetFdById, &mut IdAttr { id, next_id: 0, open_flags: 0 })
}

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct ObjAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Pins an object; the path's directory is on a BPF file system.
///
/// # Errors
/// EEXIST, EPERM, ENOENT as the file system says.
pub fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    bpf(Cmd::ObjPin, &mut ObjAttr { pathname: pointer(path.as_ptr()), bpf_fd: raw(fd), file_flags: 0 }).map(drop)
}

/// Opens a pinned object.
///
/// # Errors
/// ENOENT, EPERM as the file system says.
pub fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    bpf_fd(Cmd::ObjGet, &mut ObjAttr { pathname: pointer(path.as_ptr()), bpf_fd: 0, file_flags: 0 })
}

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

fn object_info<T: FromBytes + IntoBytes>(fd: BorrowedFd<'_>) -> io::Result<T> {
    let mut info = T::new_zeroed();
    let bytes = info.as_mut_bytes();
    let mut attr = InfoAttr {
        bpf_fd: raw(fd),
        info_len: u32::try_from(bytes.len()).unwrap_or(0),
        info: bytes.as_mut_ptr().expose_provenance() as u64,
    };
    bpf(Cmd::ObjGetInfoByFd, &mut attr)?;
    Ok(info)
}

/// What the kernel says of a map.
///
/// # Errors
/// What the kernel says.
pub fn map_info(fd: BorrowedFd<'_>) -> io::Result<MapInfo> {
    object_info(fd)
}

/// What the kernel says of a tcx link (`struct bpf_link_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TcxLinkInfo {
    /// 11: tcx.
    pub link_type: u32,
    /// Number of the link.
    pub id: u32,
    /// Number of its program.
    pub prog_id: u32,
    pad: u32,
    /// The device; 0 when it is gone.
    pub ifindex: u32,
    /// [`TCX_INGRESS`] or [`TCX_EGRESS`].
    pub attach_type: u32,
}

/// `BPF_LINK_TYPE_TCX`.
pub const LINK_TYPE_TCX: u32 = 11;

/// What the kernel says of a link.
///
/// # Errors
/// What the kernel says.
pub fn link_info(fd: BorrowedFd<'_>) -> io::Result<TcxLinkInfo> {
    object_info(fd)
}

/// The beginning of `struct bpf_prog_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProgInfo {
    /// `enum bpf_prog_type`.
    pub prog_type: u32,
    /// Number of the program.
    pub id: u32,
    /// A hash of its instructions.
    pub tag: [u8; 8],
    lens: [u32; 2],
    insns: [u64; 2],
    load_time: u64,
    uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    /// NUL padded; cut to 15 bytes.
    pub name: [u8; 16],
}

/// The name of a program by its number, as the kernel keeps it: at most 15 bytes.
///
/// # Errors
/// ENOENT when it is gone.
pub fn prog_name(id: u32) -> io::Result<String> {
    let program = bpf_fd(Cmd::ProgGetFdById, &mut IdAttr { id, next_id: 0, open_flags: 0 })?;
    let name = prog_info(program.as_fd())?.name;
    let len = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    Ok(String::from_utf8_lossy(&name[..len]).into_owned())
}

/// Whether a program of that name is at a device's tcx hook.
///
/// # Errors
/// As [`query_tcx`].
pub fn runs_at_tcx(ifindex: u32, attach_type: u32, name: &str) -> io::Result<bool> {
    let ids = query_tcx(ifindex, attach_type)?;
    // Programs that go meanwhile are none of ours any more.
    Ok(ids.into_iter().any(|id| prog_name(id).is_ok_and(|found| found == name[..name.len().min(15)])))
}

/// What the kernel says of a program.
///
/// # Errors
/// What the kernel says.
pub fn prog_info(fd: BorrowedFd<'_>) -> io::Result<ProgInfo> {
    object_info(fd)
}

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct LinkCreateAttr {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative_fd: u32,
    pad: u32,
    expected_revision: u64,
}

/// Attaches a classifier to a device of the current network namespace, before all others that are there.
///
/// # Errors
/// ENODEV when the device is gone, EINVAL on a kernel without tcx (before 6.6).
pub fn attach_tcx_first(prog: BorrowedFd<'_>, ifindex: u32, attach_type: u32) -> io::Result<OwnedFd> {
    bpf_fd(
        Cmd::LinkCreate,
        &mut LinkCreateAttr {
            prog_fd: raw(prog),
            target_ifindex: ifindex,
            attach_type,
            flags: F_BEFORE,
            relative_fd: 0,
            pad: 0,
            expected_revision: 0,
        },
    )
}

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct LinkUpdateAttr {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// Puts another program in a link, at once for the next packet.
///
/// # Errors
/// What the kernel says; ENOLINK when the device is gone.
pub fn update_link(link: BorrowedFd<'_>, prog: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdateAttr { link_fd: raw(link), new_prog_fd: raw(prog), flags: 0, old_prog_fd: 0 };
    bpf(Cmd::LinkUpdate, &mut attr).map(drop)
}

/// Takes a link off its device, at once: unpinning alone detaches some time later. Fine if its device is gone.
///
/// # Errors
/// What the kernel says.
pub fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    match bpf(Cmd::LinkDetach, &mut IdAttr { id: raw(link), next_id: 0, open_flags: 0 }) {
        Err(e) if e.raw_os_error() != Some(libc::ENOLINK) => Err(e),
        _ => Ok(()),
    }
}

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct QueryAttr {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// Numbers of the programs at a device's tcx hook, in the order in which they run.
///
/// # Errors
/// ENODEV when the device is gone, EINVAL on a kernel without tcx.
pub fn query_tcx(ifindex: u32, attach_type: u32) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; 64];
    let mut attr = QueryAttr {
        target_ifindex: ifindex,
        attach_type,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr().expose_provenance() as u64,
        prog_cnt: 64,
        pad: 0,
        prog_attach_flags: 0,
        link_ids: 0,
        link_attach_flags: 0,
        revision: 0,
    };
    match bpf(Cmd::ProgQuery, &mut attr) {
        Ok(_) => {}
        // Nothing was ever attached there.
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    }
    ids.truncate(attr.prog_cnt as usize);
    Ok(ids)
}

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct TestRunAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// What a test run gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// What the program returned.
    pub retval: i32,
    /// The packet afterwards.
    pub data: Vec<u8>,
    /// Nanoseconds of one run, on average.
    pub duration: u32,
}

/// Runs a classifier on a packet without any device sending it. `ctx`: a `struct __sk_buff` whose writable fields are taken, and
/// which holds them afterwards; may be empty.
///
/// # Errors
/// What the kernel says; ENOSPC when the packet grew beyond its size and 512 bytes.
pub fn test_run(prog: BorrowedFd<'_>, data: &[u8], ctx: &mut [u8], repeat: u32) -> io::Result<TestRun> {
    let mut out = vec![0_u8; data.len() + 512];
    let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let context = if ctx.is_empty() { 0 } else { ctx.as_mut_ptr().expose_provenance() as u64 };
    let mut attr = TestRunAttr {
        prog_fd: raw(prog),
        retval: 0,
        data_size_in: size(data.len()),
        data_size_out: size(out.len()),
        data_in: pointer(data.as_ptr()),
        data_out: out.as_mut_ptr().expose_provenance() as u64,
        repeat,
        duration: 0,
        ctx_size_in: size(ctx.len()),
        ctx_size_out: size(ctx.len()),
        ctx_in: context,
        ctx_out: context,
        flags: 0,
        cpu: 0,
        batch_size: 0,
        pad: 0,
    };
    bpf(Cmd::ProgTestRun, &mut attr)?;
    out.truncate(attr.data_size_out as usize);
    Ok(TestRun { retval: attr.retval.cast_signed(), data: out, duration: attr.duration })
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
        assert_eq!(std::mem::offset_of!(ProgInfo, name), 64);
        assert_eq!(std::mem::offset_of!(TestRunAttr, repeat), 32);
        assert_eq!(std::mem::offset_of!(TestRunAttr, ctx_in), 48);
        assert_eq!(std::mem::offset_of!(LinkCreateAttr, expected_revision), 24);
        assert_eq!(std::mem::offset_of!(QueryAttr, prog_attach_flags), 32);
    }

    #[test]
    fn possible_cpus_is_at_least_one() {
        assert!(possible_cpus().unwrap() >= 1);
    }
}
