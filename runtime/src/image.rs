//! Images in the kernel: made, filled, put into their slot, found again.
//!
//! IPv4 uses the first three slots of the outer map in turns, IPv6 three others. A commit writes the slot that was live two
//! commits ago, and between its beginning and its store all packets that were under way have passed ([`crate::sys::grace`], or the
//! kernel's grace period). So when a commit begins, every packet that read the number of the slot that it writes began before the store of
//! two commits ago, and was waited for by the commit between. No packet ever finds its slot changed.
//!
//! Hence the map in that slot may be written again where it stands. Readers take no lock: they copy what they need, and look whether the
//! header is still the same. Who writes takes the magic number off first and puts it back last.

use crate::cgroups::Found;
use crate::error::{Doing, EngineError, Result};
use crate::slots::SlotSet;
use crate::state::{self, Blob, Meta, Tables};
use crate::sys::bpf::{self, Map, MapInfo};
use crate::sys::mmap::Mapping;
use bpftables_abi::ABI_VERSION;
use bpftables_abi::image::{Header, LINE, MAGIC};
use bpftables_abi::maps::IMAGE_SLOTS;
use bpftables_compiler::{Image, Options, compile};
use bpftables_ruleset::{Family, Ruleset};
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{Ordering, fence};
use zerocopy::{FromZeros, IntoBytes};

/// Slots that a family uses in turns.
const RING: u32 = 3;
/// First slot of IPv6.
pub(crate) const V6_FIRST_SLOT: u32 = IMAGE_SLOTS / 2;
/// Name of maps that are written again: each stands in one slot only, and all who read it without a lock look at its header twice.
const RING_MAP: &str = "bt_image_ring";
/// Maps are made larger than their first image by this part.
const SLACK: usize = 8;
/// Lines that a map has at least.
const MIN_LINES: usize = 64;
/// A map more than so many times as large as its image is given up for a smaller one.
const WASTE: usize = 4;

/// The slot after `slot` in its family's ring.
pub(crate) fn next_slot(slot: u32) -> u32 {
    let first = if slot >= V6_FIRST_SLOT { V6_FIRST_SLOT } else { 0 };
    first + (slot - first + 1) % RING
}

/// An image, complete but for the state lines, in memory.
pub(crate) struct Prepared {
    image: Image,
    blob: Blob,
    pub(crate) header: Header,
}

impl Prepared {
    /// Puts the image and its state together.
    pub(crate) fn new(
        mut image: Image,
        generation: u32,
        tables: &Tables,
        used: &SlotSet,
        retired: &SlotSet,
        cgroups: &Found,
        family: Family,
    ) -> Result<Self> {
        let blob = state::encode(family, tables, used, retired, &image, cgroups)?;
        let (blob_line, blob_len) = (image.lines.len() as u32, blob.bytes().len() as u32);
        let header = Header { generation, blob_line, blob_len, blob_crc: blob.crc(), ..image.header() };
        image.set_header(&header);
        Ok(Self { image, blob, header })
    }

    /// Lines of the whole.
    fn total(&self) -> usize {
        self.image.lines.len() + self.blob.bytes().len().div_ceil(LINE)
    }

    /// Bytes of the whole.
    pub(crate) fn bytes(&self) -> u64 {
        (self.total() * LINE) as u64
    }

    /// Writes everything, the magic number last.
    fn write_to(&self, mapping: &Mapping) {
        let magic = offset_of!(Header, magic);
        mapping.store_u32(magic, 0);
        // Nothing of what follows is seen before that.
        fence(Ordering::SeqCst);
        let lines = self.image.bytes();
        mapping.write(LINE, &lines[LINE..]);
        mapping.write(lines.len(), self.blob.bytes());
        mapping.write(8, &lines[8..LINE]);
        mapping.store_u32(offset_of!(Header, abi), self.header.abi);
        // Release: after all of the above.
        mapping.store_u32(magic, self.header.magic);
    }

    /// A new map with this image, with room to grow.
    fn make(&self) -> Result<Placed> {
        let total = self.total();
        let doing = || format!("make an image of {total} lines");
        let limit = |_| EngineError::Limit { what: "lines in the image", got: total as u64, max: u64::from(u32::MAX) };
        let room = u32::try_from((total + total / SLACK).max(MIN_LINES)).map_err(limit)?;
        let map = bpf::create_array(RING_MAP, LINE as u32, room, bpf::F_MMAPABLE | bpf::F_INNER_MAP).doing(doing)?;
        let mapping = Mapping::new(map.as_fd(), total * LINE, true).doing(doing)?;
        self.write_to(&mapping);
        let id = bpf::map_info(map.as_fd()).doing(doing)?.id;
        Ok(Placed { map, id, mapping, waited: false })
    }

    /// Puts the image into a slot that no packet reads: where the map stands that is there, if it fits.
    pub(crate) fn put(&self, images: &Map<u32, u32>, slot: u32) -> Result<Placed> {
        let doing = || format!("write the image in slot {slot}");
        if let Some(map) = open_slot(images, slot)? {
            let info: MapInfo = bpf::map_info(map.as_fd()).doing(doing)?;
            let (room, total) = (info.max_entries as usize, self.total());
            let ours = info.name.starts_with(RING_MAP.as_bytes());
            if ours && total <= room && room <= (total * WASTE).max(MIN_LINES) {
                let mapping = Mapping::new(map.as_fd(), total * LINE, true).doing(doing)?;
                self.write_to(&mapping);
                return Ok(Placed { map, id: info.id, mapping, waited: false });
            }
        }
        let mut placed = self.make()?;
        placed.wait(images, slot)?;
        Ok(placed)
    }
}

/// An image in its slot, not live yet.
pub(crate) struct Placed {
    map: OwnedFd,
    /// Number of the map.
    id: u32,
    mapping: Mapping,
    /// All packets that were under way when it was put there have passed.
    pub(crate) waited: bool,
}

impl Placed {
    /// Puts the map into its slot (again), for the kernel then waits until all packets that were under way have passed.
    pub(crate) fn wait(&mut self, images: &Map<u32, u32>, slot: u32) -> Result<()> {
        let fd = self.map.as_raw_fd().cast_unsigned();
        images.set(&slot, &fd).doing(|| format!("put an image into slot {slot}"))?;
        self.waited = true;
        Ok(())
    }

    /// Changes the first word of a line that programs write.
    pub(crate) fn set_state(&self, line: u32, value: u64) {
        self.mapping.store_u64(line as usize * LINE, value);
    }

    /// What was put there, live now.
    pub(crate) fn into_live(self, prepared: Prepared, slot: u32) -> Live {
        Live { id: self.id, mapping: self.mapping, header: prepared.header, blob: prepared.blob, slot }
    }
}

/// Puts the image of a ruleset that nobody touched into each of the slots.
pub(crate) fn install_empty(images: &Map<u32, u32>, family: Family, slots: &[u32]) -> Result<()> {
    let ruleset = Ruleset::new(family);
    let image = compile(&ruleset, &Options::default())?;
    let tables = Tables::encode(&ruleset, |_| None)?;
    let empty = Prepared::new(image, 0, &tables, &SlotSet::default(), &SlotSet::default(), &Found::new(), family)?;
    let made = slots.iter().map(|_| empty.make()).collect::<Result<Vec<Placed>>>()?;
    let fds: Vec<u32> = made.iter().map(|placed| placed.map.as_raw_fd().cast_unsigned()).collect();
    images.set_many(slots, &fds).doing(|| "put the empty image into its slots".to_owned())
}

/// The map in a slot; none if the slot is empty, or its map was replaced just now.
fn open_slot(images: &Map<u32, u32>, slot: u32) -> Result<Option<OwnedFd>> {
    let doing = || format!("open the image in slot {slot}");
    let Some(id) = images.get(&slot).doing(doing)? else { return Ok(None) };
    match bpf::map_by_id(id) {
        Ok(map) => Ok(Some(map)),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(e) => Err(e).doing(doing),
    }
}

/// An image that was found in the kernel: a copy of its state, and the map.
#[derive(Debug)]
pub(crate) struct Live {
    /// Number of its map.
    id: u32,
    mapping: Mapping,
    pub(crate) header: Header,
    pub(crate) blob: Blob,
    /// Its slot.
    pub(crate) slot: u32,
}

impl Live {
    /// The image in the live slot, which `slot` tells; none if commits overtook.
    pub(crate) fn open(images: &Map<u32, u32>, slot: impl Fn() -> u32) -> Result<Option<Self>> {
        let live = slot();
        let doing = || format!("open the image in slot {live}");
        let Some(map) = open_slot(images, live)? else { return Ok(None) };
        let info: MapInfo = bpf::map_info(map.as_fd()).doing(doing)?;
        let mapping = Mapping::new(map.as_fd(), info.max_entries as usize * LINE, false).doing(doing)?;
        let header = read_header(&mapping);
        // Else it is being written, or about to go live.
        if header.magic == 0 || slot() != live {
            return Ok(None);
        }
        if header.magic != MAGIC || header.abi != ABI_VERSION {
            return Err(EngineError::Corrupt {
                what: format!(
                    "expected an image {MAGIC:#x} of layouts {ABI_VERSION}, got {:#x} of {}",
                    header.magic, header.abi
                ),
            });
        }
        let blob = mapping.copy(blob_range(&mapping, &header)?);
        // The copy is done before the header is looked at again.
        fence(Ordering::SeqCst);
        if read_header(&mapping) != header {
            return Ok(None);
        }
        Ok(Some(Self { id: info.id, mapping, header, blob: Blob::new(blob)?, slot: live }))
    }

    /// Whether it is unchanged, and live, as `slot` tells.
    pub(crate) fn is_live(&self, images: &Map<u32, u32>, slot: impl Fn() -> u32) -> bool {
        // The map is asked for: everything may have been removed and made anew.
        let there = images.get(&self.slot).is_ok_and(|id| id == Some(self.id));
        there && slot() == self.slot && read_header(&self.mapping) == self.header
    }

    /// What the state says besides the rules.
    pub(crate) fn meta(&self) -> &Meta {
        &self.blob.meta
    }

    /// Bytes of the whole image.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.header.blob_line) * LINE as u64 + self.blob.bytes().len().next_multiple_of(LINE) as u64
    }

    /// The first word of a line that programs write, now.
    pub(crate) fn state(&self, line: u32) -> u64 {
        self.mapping.load_u64(line as usize * LINE)
    }

    /// The lines that programs read, as they are now; none if the image is being written.
    pub(crate) fn lines(&self) -> Result<Option<Vec<u8>>> {
        let end = self.header.lines as usize * LINE;
        if end > self.mapping.len() {
            return Err(EngineError::Corrupt { what: format!("an image of {end} bytes in {}", self.mapping.len()) });
        }
        let lines = self.mapping.copy(0..end);
        fence(Ordering::SeqCst);
        Ok((read_header(&self.mapping) == self.header).then_some(lines))
    }
}

/// The generation that is live, the number of whose slot `slot` tells; none if commits overtook.
pub(crate) fn generation(images: &Map<u32, u32>, slot: impl Fn() -> u32) -> Result<Option<u32>> {
    let live = slot();
    let Some(map) = open_slot(images, live)? else { return Ok(None) };
    let mapping = Mapping::new(map.as_fd(), LINE, false).doing(|| format!("open the image in slot {live}"))?;
    let header = read_header(&mapping);
    Ok((header.magic == MAGIC && slot() == live).then_some(header.generation))
}

/// The header as it is now; its magic is 0 while the image is being written.
fn read_header(mapping: &Mapping) -> Header {
    let mut header = Header::new_zeroed();
    // The magic number first: whoever sees it sees what was written before it.
    let magic = mapping.load_u32(offset_of!(Header, magic));
    header.as_mut_bytes().copy_from_slice(&mapping.copy(0..LINE));
    Header { magic, ..header }
}

fn blob_range(mapping: &Mapping, header: &Header) -> Result<std::ops::Range<usize>> {
    let start = header.blob_line as usize * LINE;
    let end = start + header.blob_len as usize;
    if header.blob_line < header.lines || end > mapping.len() {
        return Err(EngineError::Corrupt {
            what: format!("state at bytes {start} to {end} of an image of {} bytes", mapping.len()),
        });
    }
    Ok(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_familys_slots_go_round_and_never_meet_the_others() {
        assert_eq!([0, 1, 2].map(next_slot), [1, 2, 0]);
        assert_eq!([V6_FIRST_SLOT, V6_FIRST_SLOT + 1, V6_FIRST_SLOT + 2].map(next_slot), [33, 34, 32]);
    }
}
