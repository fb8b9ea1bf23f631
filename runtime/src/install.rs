//! What is pinned for a network namespace: `maps/NAME`, `progs/NAME`, `links/IFINDEX_in|_out`, and `version`, a symbolic link whose
//! target tells layouts, object and the programs' parts.
//!
//! The directory is built under another name and renamed when it is whole, so half of one is never taken for one.

use crate::error::{Doing, EngineError, Result};
use crate::image;
use crate::kfuncs;
use crate::location::{Home, empty_dir, remove_tree};
use crate::record;
use crate::sys::bpf::{self, Map};
use crate::sys::mmap::Mapping;
use crate::sysctl;
use aya::maps::ProgramArray;
use aya::programs::{Program, SchedClassifier};
use aya::{Btf, Ebpf, EbpfLoader};
use bpftables_abi::ABI_VERSION;
use bpftables_abi::conn::tuple_lines;
use bpftables_abi::maps::{self, Control, IcmpConf};
use bpftables_abi::parts;
use bpftables_ebpf::{OBJECT4, OBJECT6, Object};
use bpftables_ruleset::Family;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use zerocopy::{FromBytes, IntoBytes};

/// Map of programs that programs call at their end; program `bt_tail_N` is its entry N.
const TAILS: &str = "bt_tail";
/// What such programs' names begin with.
const TAIL: &str = "bt_tail_";
/// Translated sources that are remembered ([`maps::NAT_SRCS`]): one for each connection, within these.
const LEAST_NAT_SRCS: u32 = 64;
const MOST_NAT_SRCS: u32 = 65536;
/// Name of the symbolic link that tells the version.
pub(crate) const VERSION: &str = "version";

/// A namespace's pins, open.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) dir: PathBuf,
    /// Whose programs these are.
    pub(crate) family: Family,
    /// Hash of the object whose programs are pinned.
    pub(crate) object: String,
    /// Their parts ([`parts`]).
    pub(crate) parts: u32,
    pub(crate) images: Map<u32, u32>,
    pub(crate) counters: Map<u32, u32>,
    control: Mapping,
}

impl Installed {
    /// Opens what is pinned; none if nothing is.
    pub(crate) fn open(home: &Home) -> Result<Option<Self>> {
        let dir = home.dir();
        let version = match fs::read_link(dir.join(VERSION)) {
            Ok(version) => version.to_string_lossy().into_owned(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).doing(|| format!("read {}", home.display())),
        };
        let mut words = version.split('_');
        let abi = words.next().unwrap_or_default();
        if abi != ABI_VERSION.to_string() {
            return Err(EngineError::AbiMismatch { found: abi.to_owned(), expected: ABI_VERSION });
        }
        let object = words.next().unwrap_or_default().to_owned();
        let parts = words.next().and_then(|parts| u32::from_str_radix(parts, 16).ok()).unwrap_or_default();
        if let Some(name) = [maps::CONTROL, maps::IMAGES, maps::COUNTERS]
            .into_iter()
            .find(|name| !is_there(&dir.join("maps").join(name)))
        {
            return Err(incomplete(home, &format!("maps/{name}")));
        }
        let control = open_map(&dir, maps::CONTROL)?;
        let control =
            Mapping::new(control.as_fd(), size_of::<Control>(), true).doing(|| "map bt_control".to_owned())?;
        Ok(Some(Self {
            images: typed(&dir, maps::IMAGES)?,
            counters: typed(&dir, maps::COUNTERS)?,
            dir,
            family: home.family,
            object,
            parts,
            control,
        }))
    }

    /// A pinned map of known sizes.
    pub(crate) fn map<K, V>(&self, name: &str) -> Result<Map<K, V>>
    where
        K: IntoBytes + FromBytes + zerocopy::Immutable,
        V: IntoBytes + FromBytes + zerocopy::Immutable,
    {
        typed(&self.dir, name)
    }

    /// A pinned map.
    pub(crate) fn raw_map(&self, name: &str) -> Result<OwnedFd> {
        open_map(&self.dir, name)
    }

    /// A pinned map of which only the keys are asked.
    pub(crate) fn keys<K>(&self, name: &str) -> Result<Map<K, [u8]>>
    where
        K: IntoBytes + FromBytes + zerocopy::Immutable,
    {
        Map::of_keys(open_map(&self.dir, name)?).doing(|| format!("use map {name}"))
    }

    /// A pinned program; none if no device needed it yet.
    pub(crate) fn program(&self, name: &str) -> Result<Option<OwnedFd>> {
        match bpf::open_pinned(&self.dir.join("progs").join(name)) {
            Ok(program) => Ok(Some(program)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).doing(|| format!("open program {name}")),
        }
    }

    /// Whether a program is loaded already.
    pub(crate) fn has_program(&self, name: &str) -> bool {
        self.dir.join("progs").join(name).exists()
    }

    /// Loads programs that no device needed so far, on the pinned maps.
    pub(crate) fn load_more(&self, programs: &[&str]) -> Result<()> {
        load(self.family, &self.dir, self.capacity()?, &self.pinned_maps()?, programs, self.parts)
    }

    /// Names and paths of the maps.
    pub(crate) fn pinned_maps(&self) -> Result<Vec<(String, PathBuf)>> {
        let doing = || "open the pinned maps".to_owned();
        let name = |entry: fs::DirEntry| (entry.file_name().to_string_lossy().into_owned(), entry.path());
        fs::read_dir(self.dir.join("maps"))
            .and_then(|entries| entries.map(|entry| entry.map(name)).collect())
            .doing(doing)
    }

    /// Where links are pinned.
    pub(crate) fn links(&self) -> PathBuf {
        self.dir.join("links")
    }

    /// The live slot.
    pub(crate) fn slot(&self) -> u32 {
        self.control.load_u32(slot_offset(self.family))
    }

    /// Makes a slot the live one: the commit.
    pub(crate) fn set_slot(&self, slot: u32) {
        self.control.store_u32(slot_offset(self.family), slot);
    }

    /// The connections that the maps were made for: one where the programs do not track.
    pub(crate) fn capacity(&self) -> Result<u32> {
        let conns = self.raw_map(maps::CONNS)?;
        let rooms = bpf::map_info(conns.as_fd()).doing(|| format!("examine map {}", maps::CONNS))?.max_entries;
        Ok(rooms - rooms / 5)
    }

    /// Sets how many connections there may be, up to [`Self::capacity`] where the programs track.
    pub(crate) fn set_max_conns(&self, limit: u32) {
        self.control.store_u32(offset_of!(Control, max_conns), limit);
    }

    /// Tells the programs how large a table of tuples for so many connections is.
    pub(crate) fn set_tuple_mask(&self, connections: u32) {
        self.control.store_u32(offset_of!(Control, tuple_mask), tuple_lines(connections) - 1);
    }

    /// Whether forwarded packets may go past the stack.
    pub(crate) fn set_host_routing(&self, on: bool) {
        self.control.store_u32(offset_of!(Control, host_routing), on.into());
    }

    /// Tells the programs the guard's number; 0: it is off.
    pub(crate) fn set_guard(&self, program: u32) {
        self.control.store_u32(offset_of!(Control, guard), program);
    }

    /// Tells the programs and the guard the programs' numbers, in the order of [`maps::PROGRAMS`]; 0: not loaded.
    pub(crate) fn set_programs(&self, programs: [u32; maps::PROGRAMS.len()]) {
        for (index, id) in programs.into_iter().enumerate() {
            self.control.store_u32(offset_of!(Control, programs) + index * 4, id);
        }
    }

    /// Whether the pinned programs are this binary's.
    pub(crate) fn is_current(&self) -> bool {
        self.object == object(self.family).hash
    }

    /// What programs are told now.
    pub(crate) fn control(&self) -> Control {
        let mut control = Control::default();
        for (index, word) in control.as_mut_bytes().chunks_exact_mut(4).enumerate() {
            word.copy_from_slice(&self.control.load_u32(index * 4).to_ne_bytes());
        }
        control
    }

    /// Writes the settings that differ, those of `bt_control` each by one store; never the slots.
    pub(crate) fn refresh_settings(&self) -> Result<()> {
        let now = self.control();
        let mut wanted = now;
        sysctl::follow(self.family, &mut wanted);
        for (index, (new, old)) in
            wanted.as_bytes().chunks_exact(4).zip(now.as_bytes().chunks_exact(4)).enumerate().skip(2)
        {
            if new != old {
                let mut word = [0; 4];
                word.copy_from_slice(new);
                self.control.store_u32(index * 4, u32::from_ne_bytes(word));
            }
        }
        let doing = || "fill bt_icmp_conf".to_owned();
        let (map, wanted) = (self.map::<u32, IcmpConf>(maps::ICMP_CONF)?, sysctl::icmp(self.family));
        if map.get(&0).doing(doing)? != Some(wanted) {
            map.set(&0, &wanted).doing(doing)?;
        }
        Ok(())
    }
}

/// Connections at most that a table can be made for.
pub(crate) const MOST_CONNECTIONS: u32 = 1 << 24;

/// Connections that a table is made for: what was recorded, or what netfilter would hold here.
pub(crate) fn room_to_come(recorded: Option<u32>) -> u32 {
    recorded.unwrap_or_else(sysctl::max_conns).clamp(1, MOST_CONNECTIONS)
}

/// The programs of a family.
pub(crate) fn object(family: Family) -> &'static Object {
    match family {
        Family::V4 => &OBJECT4,
        Family::V6 => &OBJECT6,
    }
}

/// Names of a family's programs, in the order of [`maps::PROGRAMS`].
pub(crate) const fn programs(family: Family) -> [&'static str; maps::PROGRAMS.len()] {
    match family {
        Family::V4 => maps::PROGRAMS,
        Family::V6 => maps::PROGRAMS6,
    }
}

const fn slot_offset(family: Family) -> usize {
    match family {
        Family::V4 => offset_of!(Control, slot4),
        Family::V6 => offset_of!(Control, slot6),
    }
}

/// Whether a pin or a directory of pins is there; yes, where that can't be said.
fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

pub(crate) fn incomplete(home: &Home, what: &str) -> EngineError {
    EngineError::Incomplete { dir: home.display(), what: what.to_owned() }
}

/// Refuses to change what lacks the directories that changes need: rules can still be read, and saved.
pub(crate) fn expect_whole(home: &Home) -> Result<()> {
    let missing = ["progs", "links"].into_iter().find(|name| !is_there(&home.dir().join(name)));
    missing.map_or(Ok(()), |name| Err(incomplete(home, name)))
}

/// Removes a directory in which nothing was ever pinned, or of which nothing is left. The caller holds its lock.
pub(crate) fn remove_leftover(home: &Home) -> Result<()> {
    match fs::remove_dir(home.dir()) {
        Err(e) if e.raw_os_error() == Some(libc::ENOTEMPTY) => Err(incomplete(home, VERSION)),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).doing(|| format!("remove {}", home.display())),
        _ => Ok(()),
    }
}

fn open_map(dir: &Path, name: &str) -> Result<OwnedFd> {
    bpf::open_pinned(&dir.join("maps").join(name)).doing(|| format!("open map {name}"))
}

fn typed<K, V>(dir: &Path, name: &str) -> Result<Map<K, V>>
where
    K: IntoBytes + FromBytes + zerocopy::Immutable,
    V: IntoBytes + FromBytes + zerocopy::Immutable,
{
    Map::new(open_map(dir, name)?).doing(|| format!("use map {name}"))
}

/// What the symbolic link `version` says of this binary's programs with these parts.
pub(crate) fn version(family: Family, parts: u32) -> String {
    format!("{}{parts:x}", build(family))
}

/// What it says of this binary's programs, whatever their parts are.
fn build(family: Family) -> String {
    format!("{ABI_VERSION}_{}_", object(family).hash)
}

/// Whether what is pinned was made by this build; none if nothing is.
pub(crate) fn is_this_builds(home: &Home) -> Option<bool> {
    let found = fs::read_link(home.dir().join(VERSION)).ok()?;
    Some(found.to_string_lossy().starts_with(&build(home.family)))
}

/// Loads the programs, pins everything and takes it into use; the caller holds the lock of the directory in which it is made, which becomes
/// the namespace's. Nothing is attached, and the live image is the empty one.
pub(crate) fn create(home: &Home, lo_ifindex: u32, programs: &[&str], parts: u32) -> Result<Installed> {
    let building = home.building();
    let doing = || format!("make {}", home.display());
    // Whoever was killed while making one may have left it.
    empty_dir(&building).doing(doing)?;
    for dir in ["maps", "progs", "links"] {
        fs::create_dir(building.join(dir)).doing(doing)?;
    }
    let result = fill(home, &building, lo_ifindex, programs, parts).and_then(|()| {
        fs::rename(&building, home.dir()).doing(doing)?;
        Installed::open(home)?.ok_or_else(|| EngineError::Internal(format!("{} vanished", home.display())))
    });
    if result.is_err() {
        // What cannot be removed now is removed by the next attempt.
        let _ = remove_tree(&building);
    }
    result
}

fn fill(home: &Home, dir: &Path, lo_ifindex: u32, programs: &[&str], parts: u32) -> Result<()> {
    let family = home.family;
    let max_conns = room_to_come(record::CONNECTIONS.read(home));
    let host_routing = record::HOST_ROUTING.read(home).unwrap_or(1);
    let room = if parts::track(parts) { max_conns } else { 1 };
    load(family, dir, room, &[], programs, parts)?;

    // What the kernel gave as keys of hash maps: it needs no /dev, which a bare container may lack.
    let random = RandomState::new().build_hasher().finish();
    let (seed, magic) = (random as u32, (random >> 32) as u32 | 1);
    let slot6 = image::V6_FIRST_SLOT;
    let mut control = Control {
        slot4: 0,
        slot6,
        lo_ifindex,
        max_conns,
        magic,
        seed,
        netns: home.cookie,
        host_routing,
        tuple_mask: tuple_lines(room) - 1,
        ..Control::default()
    };
    sysctl::follow(family, &mut control);
    typed::<u32, Control>(dir, maps::CONTROL)?.set(&0, &control).doing(|| "fill bt_control".to_owned())?;

    image::install_empty(&typed::<u32, u32>(dir, maps::IMAGES)?, family, &[0, slot6])?;

    let version = version(family, parts);
    std::os::unix::fs::symlink(version, dir.join(VERSION)).doing(|| "write the version".to_owned())
}

/// Loads the named programs with these parts and pins them and their maps, for so many connections, in `dir`. Maps named in `reuse` are taken from the given pins.
/// The verifier takes a good part of a second for each whole program, hence only those that are needed, with no more parts than are asked
/// for, side by side.
pub(crate) fn load(
    family: Family,
    dir: &Path,
    connections: u32,
    reuse: &[(String, PathBuf)],
    programs: &[&str],
    parts: u32,
) -> Result<()> {
    let mut ebpf = open_object(family, connections, reuse, parts)?;
    for name in programs {
        if ebpf.program(name).is_none() {
            return Err(EngineError::Internal(format!("the object has no program {name}")));
        }
    }
    pin_maps(&ebpf, dir)?;
    std::thread::scope(|scope| {
        let wanted = ebpf.programs_mut().filter(|(name, _)| programs.contains(name) || name.starts_with(TAIL));
        let loads: Vec<_> = wanted
            .map(|(name, program)| {
                scope.spawn(move || {
                    let Program::SchedClassifier(classifier) = program else {
                        return Err(EngineError::Internal(format!("program {name} is no classifier")));
                    };
                    load_program(name, classifier)?;
                    let path = dir.join("progs").join(name);
                    if path.exists() {
                        return Ok(());
                    }
                    classifier.pin(&path).map_err(|e| load_error(&format!("pin program {name}"), &e))
                })
            })
            .collect();
        loads.into_iter().try_for_each(|load| {
            load.join().unwrap_or_else(|_| Err(EngineError::Internal("a loading thread panicked".to_owned())))
        })
    })?;
    if let Some(map) = ebpf.take_map(TAILS) {
        let mut array = ProgramArray::try_from(map).map_err(|e| load_error("use map bt_tail", &e))?;
        for (name, program) in ebpf.programs() {
            let index = name.strip_prefix(TAIL).and_then(|n| n.parse().ok());
            let (Some(index), Program::SchedClassifier(classifier)) = (index, program) else { continue };
            let fd = classifier.fd().map_err(|e| load_error(&format!("use program {name}"), &e))?;
            array.set(index, fd, 0).map_err(|e| load_error("fill map bt_tail", &e))?;
        }
    }
    Ok(())
}

/// Makes the object's maps, or takes them from pins; its programs are not loaded yet.
fn open_object(family: Family, connections: u32, reuse: &[(String, PathBuf)], parts: u32) -> Result<Ebpf> {
    let btf = Btf::from_sys_fs().map_err(|e| EngineError::OldKernel {
        what: "reading the kernel's types from /sys/kernel/btf/vmlinux".to_owned(),
        source: io::Error::other(e.to_string()),
    })?;
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(&btf))
        .override_global(parts::CONSTANT, &parts, true)
        // Numbers rest a while before they are used again.
        .map_max_entries(maps::CONNS, connections + connections / 4)
        .map_max_entries(maps::TUPLES, tuple_lines(connections))
        .map_max_entries(maps::FREE_CONNS, connections + connections / 4)
        .map_max_entries(maps::NAT_SRCS, connections.clamp(LEAST_NAT_SRCS, MOST_NAT_SRCS));
    for (name, path) in reuse {
        loader.map_pin_path(name, path);
    }
    let bytes = object(family).bytes;
    let linked = kfuncs::link(bytes, &btf)?;
    loader.load(&linked.as_bytes()[..bytes.len()]).map_err(|e| load_error("load the object", &e))
}

/// Makes the object's maps anew and pins them below `dir`, loading no program: for a comparison.
pub(crate) fn make_maps(family: Family, dir: &Path, connections: u32) -> Result<()> {
    pin_maps(&open_object(family, connections, &[], 0)?, dir)
}

/// Pins the maps that are not pinned there yet.
fn pin_maps(ebpf: &Ebpf, dir: &Path) -> Result<()> {
    for (name, map) in ebpf.maps() {
        // Sections of constants are maps as well, held by their programs; a dot is not allowed in a pin's name.
        let path = dir.join("maps").join(name);
        if !name.starts_with('.') && !path.exists() {
            map.pin(&path).map_err(|e| load_error(&format!("pin map {name}"), &e))?;
        }
    }
    Ok(())
}

fn load_program(name: &str, classifier: &mut SchedClassifier) -> Result<()> {
    classifier.load().map_err(|e| match &e {
        aya::programs::ProgramError::LoadError { io_error, verifier_log } => {
            if io_error.kind() == io::ErrorKind::PermissionDenied && verifier_log.to_string().trim().is_empty() {
                return EngineError::Permission { what: format!("load program {name}") };
            }
            let log = verifier_log.to_string();
            tracing::debug!(program = name, "{log}");
            let lines: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
            // The verifier says at the end what it did not like; statistics follow.
            let tail = lines[lines.len().saturating_sub(8)..].join(" / ");
            EngineError::Load { what: format!("load program {name}"), reason: format!("{io_error}: {tail}") }
        }
        other => load_error(&format!("load program {name}"), other),
    })
}

/// With all causes: aya's messages alone say little.
fn load_error(what: &str, error: &dyn std::error::Error) -> EngineError {
    let mut reason = error.to_string();
    let mut source = error.source();
    let mut denied = false;
    while let Some(cause) = source {
        reason = format!("{reason}: {cause}");
        denied |= cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::PermissionDenied);
        source = cause.source();
    }
    if denied {
        return EngineError::Permission { what: what.to_owned() };
    }
    EngineError::Load { what: what.to_owned(), reason }
}
