//! The programs at the devices: tcx links, pinned by device and direction.

use crate::devices::{Device, Place};
use crate::error::{Doing, EngineError, Result};
use crate::guard;
use crate::install::{self, Installed};
use crate::sys::bpf::nf;
use crate::sys::bpf::{self, LINK_TYPE_TCX, Map, TCX_EGRESS, TCX_INGRESS};
use bpftables_abi::maps::{self, Port};
use bpftables_ruleset::Family;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Directions: the name of the pin, the attach type, and the programs by place ([`Place::index`]).
const fn directions(family: Family) -> [(&'static str, u32, [&'static str; 3]); 2] {
    let names = install::programs(family);
    [("in", TCX_INGRESS, [names[0], names[2], names[4]]), ("out", TCX_EGRESS, [names[1], names[3], names[5]])]
}

/// The programs that these devices need.
pub(crate) fn needed(family: Family, devices: &[Device]) -> Vec<&'static str> {
    let places = Place::ALL.map(|place| {
        let one = devices.iter().any(|device| device.place(family) == Some(place));
        directions(family).into_iter().filter(move |_| one).map(move |(_, _, names)| names[place.index()])
    });
    places.into_iter().flatten().collect()
}

/// Attaches the programs to every device that carries packets and has none of ours; gives the names of the devices that are new.
pub(crate) fn cover(installed: &Installed, devices: &[Device]) -> Result<Vec<String>> {
    let missing = |name: &&str| !installed.has_program(name);
    let more: Vec<&str> = needed(installed.family, devices).into_iter().filter(missing).collect();
    if !more.is_empty() {
        installed.load_more(&more)?;
    }
    let mut programs: BTreeMap<&str, OwnedFd> = BTreeMap::new();
    for name in needed(installed.family, devices) {
        let program = installed.program(name)?;
        programs.insert(name, program.ok_or_else(|| EngineError::Internal(format!("program {name} vanished")))?);
    }
    let marks = Marks { covered: installed.map(maps::COVERED)?, ports: installed.map(maps::PORTS)? };
    let mut ids = [0; maps::PROGRAMS.len()];
    for (id, name) in ids.iter_mut().zip(install::programs(installed.family)) {
        if let Some(program) = installed.program(name)? {
            *id = bpf::prog_info(program.as_fd()).doing(|| format!("examine program {name}"))?.id;
        }
    }
    installed.set_programs(ids);
    guard::know_programs(installed, &guard::kinds(ids), true)?;
    let mut new = Vec::new();
    for device in devices {
        let Some(place) = device.place(installed.family) else { continue };
        let mut attached = false;
        if !marks.is_for(device, installed.family).doing(|| format!("attach to device {}", device.name))? {
            // It became a port, or one of another bridge: what passed the old program is not to count as having passed the new one.
            uncover(installed, device.ifindex)?;
            marks.say(device, installed.family).doing(|| format!("attach to device {}", device.name))?;
        }
        for (direction, attach_type, by_place) in directions(installed.family) {
            let name = by_place[place.index()];
            let Some(program) = programs.get(name) else {
                return Err(EngineError::Internal(format!("program {name} is not open")));
            };
            attached |= cover_one(installed, &marks, device, direction, attach_type, program)?;
        }
        if attached {
            new.push(device.name.clone());
        }
    }
    Ok(new)
}

/// Whether a link had to be made.
fn cover_one(
    installed: &Installed,
    marks: &Marks,
    device: &Device,
    direction: &str,
    attach_type: u32,
    program: &OwnedFd,
) -> Result<bool> {
    let doing = || format!("attach to device {} ({direction})", device.name);
    let pin = installed.links().join(format!("{}_{direction}", device.ifindex));
    if let Some(link) = open_link(&pin).doing(doing)? {
        let info = bpf::link_info(link.as_fd()).doing(doing)?;
        let ours = info.ifindex == device.ifindex && info.link_type == LINK_TYPE_TCX && info.attach_type == attach_type;
        // The link may be at a device that took its number along to another namespace.
        if ours && is_at(info.id, device.ifindex, attach_type).doing(doing)? {
            let wanted = bpf::prog_info(program.as_fd()).doing(doing)?.id;
            if info.prog_id != wanted {
                bpf::update_link(link.as_fd(), program.as_fd()).doing(doing)?;
            }
            if attach_type == TCX_INGRESS {
                marks.set(device.ifindex).doing(doing)?;
            }
            return Ok(false);
        }
        // Its device went, and another one got its number.
        bpf::detach_link(link.as_fd()).doing(doing)?;
        fs::remove_file(&pin).doing(doing)?;
    }
    if attach_type == TCX_INGRESS {
        marks.clear(device.ifindex).doing(doing)?;
    }
    let link = match bpf::attach_tcx_first(program.as_fd(), device.ifindex, attach_type) {
        Ok(link) => link,
        // The device went since it was listed.
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => return Ok(false),
        Err(source) if matches!(source.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
            return Err(EngineError::OldKernel { what: format!("attaching by tcx to device {}", device.name), source });
        }
        Err(e) => return Err(e).doing(doing),
    };
    bpf::pin(link.as_fd(), &pin).doing(doing)?;
    if attach_type == TCX_INGRESS {
        // Packets that passed before the program was there are through: attaching waited for them.
        marks.set(device.ifindex).doing(doing)?;
    }
    Ok(true)
}

/// Devices of which the guard may know that every packet met the ingress program, and ports of bridges.
struct Marks {
    covered: Map<u32, u32>,
    ports: Map<u32, Port>,
}

impl Marks {
    fn set(&self, ifindex: u32) -> io::Result<()> {
        match self.covered.get(&ifindex)? {
            Some(_) => Ok(()),
            None => self.covered.set(&ifindex, &1),
        }
    }

    fn clear(&self, ifindex: u32) -> io::Result<()> {
        self.covered.remove(&ifindex).map(drop)
    }

    /// Whether what is attached there, if anything is, was attached for what the device is now.
    fn is_for(&self, device: &Device, family: Family) -> io::Result<bool> {
        let said = self.ports.get(&device.ifindex)?.map(|port| port.bridge);
        Ok(said == device.shown_bridge(family))
    }

    /// Says of which bridge a device is a port. Before programs are attached there: attaching waits for packets that were told otherwise.
    fn say(&self, device: &Device, family: Family) -> io::Result<()> {
        match device.shown_bridge(family) {
            Some(bridge) => self.ports.set(&device.ifindex, &Port { bridge, reserved: 0 }),
            None => self.ports.remove(&device.ifindex).map(drop),
        }
    }

    fn forget(&self, ifindex: u32) -> io::Result<()> {
        self.clear(ifindex)?;
        self.ports.remove(&ifindex).map(drop)
    }
}

/// Whether a link is at this device of the calling thread's namespace.
fn is_at(link: u32, ifindex: u32, attach_type: u32) -> io::Result<bool> {
    match nf::query_tcx_links(ifindex, attach_type) {
        Ok(there) => Ok(there.iter().any(|(_, id)| *id == link)),
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(false),
        Err(e) => Err(e),
    }
}

fn open_link(pin: &Path) -> io::Result<Option<OwnedFd>> {
    match bpf::open_pinned(pin) {
        Ok(link) => Ok(Some(link)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Removes links whose device is gone or carries no packets of its own any more (it became a bridge's port, say).
pub(crate) fn prune(installed: &Installed, devices: &[Device]) -> Result<()> {
    let doing = || "clear up after devices that are gone".to_owned();
    let family = installed.family;
    let keep = |ifindex: u32| devices.iter().any(|d| d.ifindex == ifindex && d.place(family).is_some());
    let marks = Marks { covered: installed.map(maps::COVERED)?, ports: installed.map(maps::PORTS)? };
    let mut known = marks.covered.keys().doing(doing)?;
    known.extend(marks.ports.keys().doing(doing)?);
    for ifindex in known.into_iter().filter(|ifindex| !keep(*ifindex)) {
        marks.forget(ifindex).doing(doing)?;
    }
    remove_links(&installed.links(), keep).doing(doing)
}

/// Detaches our programs from one device, which is gone or carries no packets of its own any more.
pub(crate) fn uncover(installed: &Installed, ifindex: u32) -> Result<()> {
    let doing = || format!("detach from device {ifindex}");
    let marks = Marks { covered: installed.map(maps::COVERED)?, ports: installed.map(maps::PORTS)? };
    marks.forget(ifindex).doing(doing)?;
    for (direction, _, _) in directions(installed.family) {
        let pin = installed.links().join(format!("{ifindex}_{direction}"));
        if let Some(link) = open_link(&pin).doing(doing)? {
            bpf::detach_link(link.as_fd()).doing(doing)?;
            fs::remove_file(&pin).doing(doing)?;
        }
    }
    Ok(())
}

/// Detaches all programs of ours.
pub(crate) fn detach_all(links: &Path) -> io::Result<()> {
    remove_links(links, |_| false)
}

fn remove_links(links: &Path, keep: impl Fn(u32) -> bool) -> io::Result<()> {
    let entries = match fs::read_dir(links) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let ifindex: Option<u32> = name.to_str().and_then(|n| n.split_once('_')?.0.parse().ok());
        if ifindex.is_some_and(&keep) {
            continue;
        }
        if let Some(link) = open_link(&entry.path())? {
            bpf::detach_link(link.as_fd())?;
        }
        fs::remove_file(entry.path())?;
    }
    Ok(())
}

/// Whether a pinned link has lost its device: its namespace is gone, if the device is `lo`.
pub(crate) fn is_defunct(pin: &Path) -> io::Result<bool> {
    match open_link(pin)? {
        None => Ok(false),
        Some(link) => Ok(bpf::link_info(link.as_fd())?.ifindex == 0),
    }
}
