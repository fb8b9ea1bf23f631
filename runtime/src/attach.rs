//! The programs at the devices: tcx links, pinned by device and direction.

use crate::devices::{Coverage, Device, Framing};
use crate::error::{Doing, EngineError, Result};
use crate::install::Installed;
use crate::sys::bpf::{self, LINK_TYPE_TCX, TCX_EGRESS, TCX_INGRESS};
use bpftables_abi::maps::PROGRAMS;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Directions: the name of the pin, the attach type, and the programs by framing (Ethernet, raw).
const DIRECTIONS: [(&str, u32, [&str; 2]); 2] =
    [("in", TCX_INGRESS, [PROGRAMS[0], PROGRAMS[2]]), ("out", TCX_EGRESS, [PROGRAMS[1], PROGRAMS[3]])];

/// The programs that these devices need.
pub(crate) fn needed(devices: &[Device]) -> Vec<&'static str> {
    let raw = [Framing::Ethernet, Framing::Raw].map(|framing| {
        let one = devices.iter().any(|device| device.coverage == Coverage::Attached(framing));
        DIRECTIONS
            .into_iter()
            .filter(move |_| one)
            .map(move |(_, _, names)| names[usize::from(framing == Framing::Raw)])
    });
    raw.into_iter().flatten().collect()
}

/// Attaches the programs to every device that carries packets and has none of ours; gives the names of the devices that are new.
pub(crate) fn cover(installed: &Installed, devices: &[Device]) -> Result<Vec<String>> {
    let missing = |name: &&str| !installed.has_program(name);
    let more: Vec<&str> = needed(devices).into_iter().filter(missing).collect();
    if !more.is_empty() {
        installed.load_more(&more)?;
    }
    let mut programs: BTreeMap<&str, OwnedFd> = BTreeMap::new();
    for name in needed(devices) {
        let program = installed.program(name)?;
        programs.insert(name, program.ok_or_else(|| EngineError::Internal(format!("program {name} vanished")))?);
    }
    let mut new = Vec::new();
    for device in devices {
        let Coverage::Attached(framing) = device.coverage else { continue };
        let mut attached = false;
        for (direction, attach_type, by_framing) in DIRECTIONS {
            let name = by_framing[usize::from(framing == Framing::Raw)];
            let Some(program) = programs.get(name) else {
                return Err(EngineError::Internal(format!("program {name} is not open")));
            };
            attached |= cover_one(installed, device, direction, attach_type, program)?;
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
    device: &Device,
    direction: &str,
    attach_type: u32,
    program: &OwnedFd,
) -> Result<bool> {
    let doing = || format!("attach to device {} ({direction})", device.name);
    let pin = installed.links().join(format!("{}_{direction}", device.ifindex));
    if let Some(link) = open_link(&pin).doing(doing)? {
        let info = bpf::link_info(link.as_fd()).doing(doing)?;
        if info.ifindex == device.ifindex && info.link_type == LINK_TYPE_TCX && info.attach_type == attach_type {
            let wanted = bpf::prog_info(program.as_fd()).doing(doing)?.id;
            if info.prog_id != wanted {
                bpf::update_link(link.as_fd(), program.as_fd()).doing(doing)?;
            }
            return Ok(false);
        }
        // Its device went, and another one got its number.
        fs::remove_file(&pin).doing(doing)?;
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
    Ok(true)
}

fn open_link(pin: &Path) -> io::Result<Option<OwnedFd>> {
    match bpf::open_pinned(pin) {
        Ok(link) => Ok(Some(link)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Removes links whose device is gone or carries no packets of its own any more (it became a bridge's port, say).
pub(crate) fn prune(links: &Path, devices: &[Device]) -> io::Result<()> {
    remove_links(links, |ifindex| {
        devices.iter().any(|d| d.ifindex == ifindex && matches!(d.coverage, Coverage::Attached(_)))
    })
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
