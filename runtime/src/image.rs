//! Images in the kernel: made, filled, put into their slot, found again.
//!
//! IPv4 uses the first three slots of the outer map in turns, IPv6 three others. A commit writes the slot that was live two
//! commits ago. Every update of the outer map waits until all programs that ran before have ended; so whoever read the number of
//! that slot, before the commit that changed it, has long ended, and no packet ever finds its slot empty or changed.

use crate::error::{Doing, EngineError, Result};
use crate::slots::SlotSet;
use crate::state::{self, Decoded, Meta, Tables};
use crate::sys::bpf::{self, Map, MapInfo};
use crate::sys::mmap::Mapping;
use bpftables_abi::ABI_VERSION;
use bpftables_abi::image::{Header, LINE, MAGIC};
use bpftables_abi::maps::IMAGE_SLOTS;
use bpftables_compiler::{Image, Options, compile};
use bpftables_ruleset::{Family, Ruleset};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use zerocopy::FromBytes;

/// Slots that a family uses in turns.
const RING: u32 = 3;
/// First slot of IPv6.
pub(crate) const V6_FIRST_SLOT: u32 = IMAGE_SLOTS / 2;

/// The slot after `slot` in its family's ring.
pub(crate) fn next_slot(slot: u32) -> u32 {
    let first = if slot >= V6_FIRST_SLOT { V6_FIRST_SLOT } else { 0 };
    first + (slot - first + 1) % RING
}

/// An image in a map of its own that no program sees yet.
pub(crate) struct Uploaded {
    map: OwnedFd,
    pub(crate) mapping: Mapping,
    pub(crate) header: Header,
}

/// Makes a map of the image and the blob.
pub(crate) fn upload(
    mut image: Image,
    generation: u32,
    tables: &Tables,
    used: &SlotSet,
    retired: &SlotSet,
    family: Family,
) -> Result<Uploaded> {
    let (_, blob) = state::encode(family, tables, used, retired, &image.states)?;
    let lines = image.lines.len();
    let limit =
        |got: usize| EngineError::Limit { what: "lines in the image", got: got as u64, max: u64::from(u32::MAX) };
    let total = lines + blob.len().div_ceil(LINE);
    let count = u32::try_from(total).map_err(|_| limit(total))?;
    let header = Header { generation, blob_line: lines as u32, blob_len: blob.len() as u32, ..image.header() };
    image.set_header(&header);

    let doing = || format!("make an image of {total} lines");
    let map = bpf::create_array("bt_image", LINE as u32, count, bpf::F_MMAPABLE | bpf::F_INNER_MAP).doing(doing)?;
    let mut mapping = Mapping::new(map.as_fd(), total * LINE, true).doing(doing)?;
    let (head, tail) = mapping.bytes_mut().split_at_mut(lines * LINE);
    head.copy_from_slice(image.bytes());
    tail[..blob.len()].copy_from_slice(&blob);
    Ok(Uploaded { map, mapping, header })
}

/// Puts an image into slots of the outer map, and waits until all programs that began before have ended.
pub(crate) fn insert(images: &Map<u32, u32>, slots: &[u32], image: &Uploaded) -> Result<()> {
    let fd = image.map.as_raw_fd().cast_unsigned();
    let doing = || "put the image into its slot".to_owned();
    match slots {
        [slot] => images.set(slot, &fd).doing(doing),
        slots => images.set_many(slots, &vec![fd; slots.len()]).doing(doing),
    }
}

/// The image of a ruleset that nobody touched.
pub(crate) fn empty(family: Family) -> Result<Uploaded> {
    let ruleset = Ruleset::new(family);
    let image = compile(&ruleset, &Options::default())?;
    upload(image, 0, &Tables::encode(&ruleset)?, &SlotSet::default(), &SlotSet::default(), family)
}

/// An image that was found in the kernel.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) mapping: Mapping,
    pub(crate) header: Header,
    pub(crate) meta: Meta,
    /// Its slot.
    pub(crate) slot: u32,
}

impl Live {
    /// The image in a slot; none if the slot is empty.
    pub(crate) fn open(images: &Map<u32, u32>, slot: u32) -> Result<Option<Self>> {
        let doing = || format!("open the image in slot {slot}");
        let Some(id) = images.get(&slot).doing(doing)? else { return Ok(None) };
        let map = match bpf::map_by_id(id) {
            Ok(map) => map,
            // Replaced meanwhile, and gone.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            Err(e) => return Err(e).doing(doing),
        };
        let info: MapInfo = bpf::map_info(map.as_fd()).doing(doing)?;
        let mapping = Mapping::new(map.as_fd(), info.max_entries as usize * LINE, false).doing(doing)?;
        let header = Header::read_from_bytes(mapping.frozen(0..LINE))
            .map_err(|_| EngineError::Corrupt { what: "an image without a header".to_owned() })?;
        if header.magic != MAGIC || header.abi != ABI_VERSION {
            return Err(EngineError::Corrupt {
                what: format!(
                    "expected an image {MAGIC:#x} of layouts {ABI_VERSION}, got {:#x} of {}",
                    header.magic, header.abi
                ),
            });
        }
        let blob = blob_range(&mapping, &header)?;
        let meta = Decoded::new(mapping.frozen(blob))?.meta;
        Ok(Some(Self { mapping, header, meta, slot }))
    }

    /// The blob, taken apart.
    pub(crate) fn decoded(&self) -> Result<Decoded<'_>> {
        Decoded::new(self.mapping.frozen(blob_range(&self.mapping, &self.header)?))
    }
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
