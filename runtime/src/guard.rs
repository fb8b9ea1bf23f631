//! The guard: programs at PREROUTING and POSTROUTING of netfilter that stop what uses a device without our programs, and at INPUT what our
//! programs took for another host's.
//!
//! Links of netfilter's hooks hold their network namespace: one that has nothing else would never go. So commands and the agent look
//! what else holds the namespaces that have guards ([`Survey`], one pinned iterator for the machine), and take the guards off
//! where nothing does.
//!
//! Minimum kernel version: Linux 6.4, with `CONFIG_NETFILTER_BPF_LINK`.

use crate::devices::Place;
use crate::error::{Doing, EngineError, Result};
use crate::install::Installed;
use crate::location::Home;
use crate::sys::bpf::nf::{self, LINK_TYPE_NETFILTER, Load};
use crate::sys::bpf::{self, LINK_TYPE_TCX, Map};
use aya_obj::Object;
use aya_obj::btf::{Btf, BtfKind};
use aya_obj::generated::bpf_insn;
use bpftables_abi::maps::{self, Survey};
use bpftables_ebpf::{GUARD_OBJECT, OBJECT4};
use bpftables_ruleset::Family;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use zerocopy::FromBytes;

/// Program of the guard.
const GUARD: &str = "bt_guard";
/// Program of the survey.
const SURVEY: &str = "bt_survey";
/// Function whose arguments the survey takes.
const SURVEY_TARGET: &str = "bpf_iter_bpf_link";
/// Maps that the guard reads.
const MAPS: [&str; 6] = [maps::CONTROL, maps::IMAGES, maps::STATS, maps::COVERED, maps::PORTS, maps::GUARD_PROGS];
/// Directory of the links' pins.
const DIR: &str = "guard";

/// Hooks: name of the pin, `NF_INET_*`, and the priorities that the guard takes in turns when its program is replaced. The kernel
/// keeps the very first and the very last for itself.
const HOOKS: [(&str, u32, [i32; 2]); 3] = [
    ("pre", 0, [i32::MIN + 1, i32::MIN + 2]),
    ("in", 1, [i32::MIN + 1, i32::MIN + 2]),
    ("post", 4, [i32::MAX - 1, i32::MAX - 2]),
];

const fn pf(family: Family) -> u32 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

fn pin_of(installed: &Installed, family: Family, hook: &str) -> PathBuf {
    installed.dir.join(DIR).join(format!("{}_{hook}", pf(family)))
}

/// Sees to it that the guard is at its hooks; it does nothing while the live image does not ask for it. A sentence for the
/// administrator if this kernel has no such hooks.
pub(crate) fn arm(installed: &Installed, family: Family) -> Result<Option<String>> {
    let program = match program(installed) {
        Ok(program) => program,
        Err(EngineError::OldKernel { what, source }) => {
            return Ok(Some(format!(
                "devices that appear are not guarded until a command or the agent attaches to them: {what} failed ({source}; \
                 expected CONFIG_NETFILTER_BPF_LINK)"
            )));
        }
        Err(error) => return Err(error),
    };
    let doing = || "attach the guard".to_owned();
    match fs::create_dir(installed.dir.join(DIR)) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e).doing(doing),
        _ => {}
    }
    let wanted = bpf::prog_info(program.as_fd()).doing(doing)?.id;
    for (name, hook, priorities) in HOOKS {
        let pin = pin_of(installed, family, name);
        let old = open(&pin).doing(doing)?;
        let info = old.as_ref().map(|old| nf::netfilter_link_info(old.as_fd())).transpose().doing(doing)?;
        if info.is_some_and(|info| info.link_type == LINK_TYPE_NETFILTER && info.prog_id == wanted) {
            continue;
        }
        let link = attach(program.as_fd(), pf(family), hook, priorities).doing(doing)?;
        // A dot is not allowed in a pin's name.
        let fresh = installed.dir.join(DIR).join(format!("{}_{name}_new", pf(family)));
        let _ = fs::remove_file(&fresh);
        bpf::pin(link.as_fd(), &fresh).doing(doing)?;
        fs::rename(&fresh, &pin).doing(doing)?;
        if let Some(old) = old {
            bpf::detach_link(old.as_fd()).doing(doing)?;
        }
    }
    installed.set_guard(wanted);
    Ok(None)
}

/// At the first priority that is free.
fn attach(program: BorrowedFd<'_>, pf: u32, hook: u32, priorities: [i32; 2]) -> io::Result<OwnedFd> {
    match nf::attach_netfilter(program, pf, hook, priorities[0]) {
        Err(e) if e.raw_os_error() == Some(libc::EBUSY) => nf::attach_netfilter(program, pf, hook, priorities[1]),
        result => result,
    }
}

/// Takes the guard of a family off.
pub(crate) fn disarm(installed: &Installed, family: Family) -> Result<()> {
    let doing = || "detach the guard".to_owned();
    installed.set_guard(0);
    HOOKS.into_iter().try_for_each(|(name, _, _)| remove(&pin_of(installed, family, name)).doing(doing))
}

/// Takes every guard of a namespace's directory off.
pub(crate) fn detach_all(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir.join(DIR)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        remove(&entry?.path())?;
    }
    Ok(())
}

/// How many hooks the guard is at.
pub(crate) fn count(dir: &Path) -> usize {
    fs::read_dir(dir.join(DIR)).map_or(0, |entries| entries.flatten().count())
}

fn open(pin: &Path) -> io::Result<Option<OwnedFd>> {
    match bpf::open_pinned(pin) {
        Ok(link) => Ok(Some(link)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn remove(pin: &Path) -> io::Result<()> {
    let Some(link) = open(pin)? else { return Ok(()) };
    bpf::detach_link(link.as_fd())?;
    fs::remove_file(pin)
}

/// The pinned program, or a new one. An upgrade unpins the old one.
fn program(installed: &Installed) -> Result<OwnedFd> {
    if let Some(program) = installed.program(GUARD)? {
        return Ok(program);
    }
    let fds: Vec<(&str, OwnedFd)> =
        MAPS.into_iter().map(|name| Ok((name, installed.raw_map(name)?))).collect::<Result<_>>()?;
    let program = load(GUARD, nf::PROG_TYPE_NETFILTER, nf::NETFILTER, None, &fds)?;
    bpf::pin(program.as_fd(), &installed.dir.join("progs").join(GUARD)).doing(|| format!("pin program {GUARD}"))?;
    Ok(program)
}

/// Forgets the guard's program, so that the next [`arm`] loads this binary's and puts it in place of the old one.
pub(crate) fn outdate(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join("progs").join(GUARD)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Loads a program of the guard's object.
fn load(name: &str, kind: u32, attach_type: u32, target: Option<&str>, maps: &[(&str, OwnedFd)]) -> Result<OwnedFd> {
    let refused = |reason: String| EngineError::Load { what: format!("load program {name}"), reason };
    let no_types = |e: String| EngineError::OldKernel {
        what: "reading the kernel's types from /sys/kernel/btf/vmlinux".to_owned(),
        source: io::Error::other(e),
    };
    let btf = Btf::from_sys_fs().map_err(|e| no_types(e.to_string()))?;
    let btf_id = match target {
        Some(target) => {
            btf.id_by_type_name_kind(target, BtfKind::Func).map_err(|e| no_types(format!("{target}: {e}")))?
        }
        None => 0,
    };
    let mut object = Object::parse(GUARD_OBJECT).map_err(|e| refused(e.to_string()))?;
    object.relocate_btf(&btf).map_err(|e| refused(chain(&e)))?;
    let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let known = object.maps.clone();
    let given = maps.iter().filter_map(|(name, fd)| Some((*name, fd.as_raw_fd(), known.get(*name)?)));
    object.programs.retain(|known, _| known == name);
    let key = object.programs.get(name).map(aya_obj::Program::function_key);
    let key = key.ok_or_else(|| EngineError::Internal(format!("the object has no program {name}")))?;
    object.functions.retain(|place, _| *place == key);
    object.relocate_maps(given, &sections).map_err(|e| refused(chain(&e)))?;
    object.relocate_calls(&sections).map_err(|e| refused(chain(&e)))?;
    let function = object.functions.get(&key);
    let function = function.ok_or_else(|| EngineError::Internal(format!("program {name} vanished")))?;
    let instructions: Vec<u64> = function.instructions.iter().map(word).collect();
    let load = Load { name, prog_type: kind, attach_type, btf_id, instructions: &instructions };
    nf::load(&load).map_err(|source| {
        let what = format!("loading program {name}");
        match (source.raw_os_error(), source.kind()) {
            (_, io::ErrorKind::PermissionDenied) => EngineError::Permission { what: format!("load program {name}") },
            // The kernel knows no programs of this kind.
            (Some(libc::EINVAL), _) => EngineError::OldKernel { what, source },
            _ => refused(source.to_string()),
        }
    })
}

/// An instruction as the kernel reads it.
fn word(instruction: &bpf_insn) -> u64 {
    let registers = instruction.dst_reg() | instruction.src_reg() << 4;
    u64::from(instruction.code)
        | u64::from(registers) << 8
        | u64::from(instruction.off.cast_unsigned()) << 16
        | u64::from(instruction.imm.cast_unsigned()) << 32
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The survey's file, made where it is not there yet.
fn survey_file(home: &Home) -> Result<PathBuf> {
    let path = home.all().join(format!("survey_{}", OBJECT4.hash));
    if path.exists() {
        return Ok(path);
    }
    let program = load(SURVEY, nf::PROG_TYPE_TRACING, nf::TRACE_ITER, Some(SURVEY_TARGET), &[])?;
    let doing = || "make the survey of links".to_owned();
    let link = nf::attach_iterator(program.as_fd()).doing(doing)?;
    match bpf::pin(link.as_fd(), &path) {
        // Another command was faster.
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e).doing(doing),
        _ => Ok(path),
    }
}

/// Removes the survey's files, this version's and others'.
pub(crate) fn forget_survey(home: &Home) -> io::Result<()> {
    for entry in fs::read_dir(home.all())? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("survey_") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What is known of a network namespace that has programs at `lo` or links of netfilter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holders {
    /// Everything that holds it.
    pub(crate) references: u32,
    /// Links of netfilter's hooks among these, of anybody.
    pub(crate) links: u32,
    /// Its inode.
    pub(crate) inode: u32,
}

/// Network namespaces by cookie: those that have programs at `lo` or links of netfilter.
pub(crate) fn survey(home: &Home) -> Result<BTreeMap<u64, Holders>> {
    let path = survey_file(home)?;
    let doing = || "read the survey of links".to_owned();
    let mut bytes = Vec::new();
    fs::File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)).doing(doing)?;
    let mut found = BTreeMap::<u64, Holders>::new();
    for record in bytes.chunks_exact(size_of::<Survey>()) {
        let record = Survey::read_from_bytes(record).map_err(|e| EngineError::Corrupt { what: e.to_string() })?;
        let holders = found.entry(record.cookie).or_default();
        holders.references = record.references;
        holders.inode = record.inode;
        holders.links += u32::from(record.kind == LINK_TYPE_NETFILTER);
        debug_assert!(matches!(record.kind, LINK_TYPE_NETFILTER | LINK_TYPE_TCX));
    }
    Ok(found)
}

/// Takes the guards off network namespaces that nothing holds but guards. The caller holds the lock of all namespaces.
pub(crate) fn sweep(home: &Home) -> Result<()> {
    let doing = || "look for namespaces that are gone".to_owned();
    // A namespace has a directory for each family.
    let mut guarded = BTreeMap::<u64, Vec<PathBuf>>::new();
    for entry in fs::read_dir(home.all()).doing(doing)?.flatten() {
        let path = entry.path();
        let cookie = entry.file_name().to_str().and_then(Home::cookie_of);
        if let Some(cookie) = cookie.filter(|cookie| *cookie != home.cookie)
            && count(&path) > 0
        {
            guarded.entry(cookie).or_default().push(path);
        }
    }
    if guarded.is_empty() {
        return Ok(());
    }
    let found = survey(home)?;
    for (cookie, paths) in guarded {
        let Some(holders) = found.get(&cookie) else { continue };
        let own: usize = paths.iter().map(|path| count(path)).sum();
        if holders.references == holders.links && holders.links as usize == own {
            paths.iter().try_for_each(|path| detach_all(path)).doing(doing)?;
        }
    }
    Ok(())
}

/// What each program is for, by their numbers in the order of [`maps::PROGRAMS`]; 0: not loaded.
pub(crate) fn kinds(ids: [u32; maps::PROGRAMS.len()]) -> Vec<(u32, u32)> {
    let kind = |index: usize| if index / 2 == Place::Port.index() { maps::GUARDED_PORT } else { maps::GUARDED_DEVICE };
    ids.into_iter().enumerate().filter(|(_, id)| *id != 0).map(|(index, id)| (id, kind(index))).collect()
}

/// Tells the guard the numbers of our programs and what they are for; others are forgotten if `only`.
pub(crate) fn know_programs(installed: &Installed, programs: &[(u32, u32)], only: bool) -> Result<()> {
    let doing = || "tell the guard our programs".to_owned();
    let map: Map<u32, u32> = installed.map(maps::GUARD_PROGS)?;
    let present = map.keys().doing(doing)?;
    for (id, kind) in programs.iter().filter(|(id, _)| !present.contains(id)) {
        map.set(id, kind).doing(doing)?;
    }
    for id in present.iter().filter(|id| only && !programs.iter().any(|(known, _)| known == *id)) {
        map.remove(id).doing(doing)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_words_as_the_kernel_reads_them() {
        let object = Object::parse(GUARD_OBJECT).unwrap();
        let key = object.programs[GUARD].function_key();
        let words: Vec<u64> = object.functions[&key].instructions.iter().map(word).collect();
        // The end of a program, and before it a register that takes another's value, with no offset and no number.
        assert!(words.contains(&0x95), "{words:x?}");
        assert!(words.iter().any(|word| word & !0xff00 == 0xbf), "{words:x?}");
    }

    #[test]
    fn the_guards_priorities_are_no_ends() {
        let all = HOOKS.iter().flat_map(|(_, _, priorities)| priorities);
        assert!(all.clone().all(|p| *p != i32::MIN && *p != i32::MAX));
    }
}
