//! Other programs with the same layouts take over, in place: another build's, or this one's with more parts.

use crate::error::{Doing, EngineError, Result};
use crate::guard;
use crate::install::{self, Installed};
use crate::location::{Home, remove_tree};
use crate::sys::bpf::{self, MapInfo};
use bpftables_abi::maps;
use bpftables_abi::parts::track;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// `BPF_MAP_TYPE_PERCPU_ARRAY`: scratch of the programs, which may come new.
const PERCPU_ARRAY: u32 = 6;
/// `BPF_MAP_TYPE_PROG_ARRAY`: holds programs, which come new.
const PROG_ARRAY: u32 = 3;

/// The pinned maps that the new programs go on with. What is laid out otherwise cannot be taken over, unless it is scratch.
fn reusable(old: &Installed, building: &Path) -> Result<Vec<(String, PathBuf)>> {
    let doing = || "compare the pinned maps".to_owned();
    let info = |path: &Path| bpf::open_pinned(path).and_then(|map| bpf::map_info(map.as_fd())).doing(doing);
    let shape = |i: &MapInfo| (i.map_type, i.key_size, i.value_size, i.max_entries, i.map_flags);
    install::make_maps(old.family, building, old.capacity()?)?;
    let mut reuse = Vec::new();
    for entry in fs::read_dir(building.join("maps")).doing(doing)? {
        let entry = entry.doing(doing)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let pinned = old.dir.join("maps").join(&name);
        if !pinned.exists() {
            continue;
        }
        let (new, old) = (info(&entry.path())?, info(&pinned)?);
        if new.map_type == PROG_ARRAY {
            continue;
        }
        if shape(&new) == shape(&old) {
            fs::remove_file(entry.path()).doing(doing)?;
            reuse.push((name, pinned));
        } else if new.map_type != PERCPU_ARRAY || old.map_type != PERCPU_ARRAY {
            return Err(EngineError::UpgradeRefused { map: name });
        }
    }
    Ok(reuse)
}

/// Loads our programs with these parts on the pinned maps and puts them into the links, one by one; rules, counters and connections stay.
/// The caller holds the locks of a commit. Killed half-way it is done again by the next commit: the version changes last.
pub(crate) fn in_place(home: &Home, old: &Installed, parts: u32) -> Result<Installed> {
    let doing = || format!("upgrade {}", home.display());
    let building = home.building();
    remove_tree(&building).doing(doing)?;
    for dir in [building.clone(), building.join("maps"), building.join("progs")] {
        fs::create_dir(dir).doing(doing)?;
    }
    let same_build = old.is_current();
    let mut reuse = if same_build { old.pinned_maps()? } else { reusable(old, &building)? };
    let begins_to_track = track(parts) && !track(old.parts);
    let mut connections = old.capacity()?;
    if begins_to_track {
        connections = old.control().max_conns;
        reuse.retain(|(name, _)| !maps::OF_CONNECTIONS.contains(&name.as_str()));
    }
    let programs: Vec<&str> = install::programs(home.family).into_iter().filter(|name| old.has_program(name)).collect();
    install::load(home.family, &building, connections, &reuse, &programs, parts)?;

    // The guard must know the new programs before packets meet them.
    if old.dir.join("maps").join(maps::GUARD_PROGS).exists() {
        let mut ids = [0; maps::PROGRAMS.len()];
        for (id, name) in ids.iter_mut().zip(install::programs(home.family)).filter(|(_, name)| programs.contains(name))
        {
            let program = bpf::open_pinned(&building.join("progs").join(name)).doing(doing)?;
            *id = bpf::prog_info(program.as_fd()).doing(doing)?.id;
        }
        guard::know_programs(old, &guard::kinds(ids), false)?;
    }
    if begins_to_track {
        // The live image asks no program about connections.
        old.set_tuple_mask(connections);
    }
    // The new programs first, at every link; then the pins that name them.
    for entry in fs::read_dir(old.links()).doing(doing)? {
        let entry = entry.doing(doing)?;
        let link = bpf::open_pinned(&entry.path()).doing(doing)?;
        let info = bpf::link_info(link.as_fd()).doing(doing)?;
        if info.ifindex == 0 {
            continue;
        }
        let name = program_of(old, info.prog_id)?;
        let program = bpf::open_pinned(&building.join("progs").join(name)).doing(doing)?;
        bpf::update_link(link.as_fd(), program.as_fd()).doing(doing)?;
    }
    move_pins(&building.join("progs"), &old.dir.join("progs")).doing(doing)?;
    if !same_build {
        // It is loaded when rules ask for sets again.
        for probe in maps::SET_PROBES {
            match fs::remove_file(old.dir.join("progs").join(probe)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).doing(doing),
                _ => {}
            }
        }
        guard::outdate(&old.dir).doing(doing)?;
    }
    move_pins(&building.join("maps"), &old.dir.join("maps")).doing(doing)?;
    let version = building.join("version");
    std::os::unix::fs::symlink(install::version(home.family, parts), &version).doing(doing)?;
    fs::rename(&version, old.dir.join("version")).doing(doing)?;
    remove_tree(&building).doing(doing)?;
    Installed::open(home)?.ok_or_else(|| EngineError::Internal(format!("{} vanished", home.display())))
}

/// Name of the pinned program with a number; when an upgrade was killed half-way it is one of ours already.
fn program_of(old: &Installed, id: u32) -> Result<&'static str> {
    for name in install::programs(old.family) {
        let Some(program) = old.program(name)? else { continue };
        if bpf::prog_info(program.as_fd()).doing(|| format!("examine program {name}"))?.id == id {
            return Ok(name);
        }
    }
    let name = bpf::prog_name(id).doing(|| format!("examine program {id}"))?;
    install::programs(old.family)
        .into_iter()
        .find(|known| known.as_bytes().starts_with(name.as_bytes()))
        .ok_or_else(|| EngineError::Internal(format!("a link of ours runs program {name}")))
}

/// Renames all pins of a directory over those of another.
fn move_pins(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::rename(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
