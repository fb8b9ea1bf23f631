//! Images in the kernel: made, filled, put into their slot, found again.
//!
//! IPv4 uses the first three slots of the outer map in turns, IPv6 three others. A commit writes the slot that was live two
//! commits ago, and between its beginning and its store all packets that were under way have passed ([`crate::sys::grace`], or the
//! kernel's grace period). So when a commit begins, every packet that read the number of the slot that it writes began before the store of
//! two commits ago, and was waited for by the commit between. No packet ever finds its slot changed.
//!
//! Hence the map in that slot may be written again where it stands. Readers take no lock: they copy what they need, and look whether the
//! header is still the same. Who writes takes the magic number off first and puts it back last.

use crate::chains::{Layout, View};
use crate::error::{Doing, EngineError, Result};
use crate::state::Meta;
use crate::sys::bpf::{self, Map, MapInfo};
use crate::sys::mmap::Mapping;
use bpftables_abi::ABI_VERSION;
use bpftables_abi::image::{Header, LINE, MAGIC};
use bpftables_abi::maps::IMAGE_SLOTS;
#[cfg(debug_assertions)]
use bpftables_compiler::{Estimator, RecentList};
use bpftables_compiler::{Image, Line, Options, Region, compile};
use bpftables_ruleset::{Family, Ruleset, TableKind};
use std::io;
use std::mem::offset_of;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
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

/// Bytes of an image that are copied at once.
const PIECE: usize = 1 << 17;
/// Bytes of an image that are mapped at once while it is written.
const PART: usize = 1 << 22;

/// The slot after `slot` in its family's ring.
pub(crate) fn next_slot(slot: u32) -> u32 {
    let first = if slot >= V6_FIRST_SLOT { V6_FIRST_SLOT } else { 0 };
    first + (slot - first + 1) % RING
}

/// An image to be put into its slot, complete but for the state lines.
pub(crate) struct Prepared {
    /// All lines that programs read; none of a step.
    lines: Vec<Line>,
    /// What else is written: the first line, and bytes. All of the state, or what differs from the image that is live.
    blocks: Vec<(u32, Vec<u8>)>,
    /// It is made of the live one.
    step: bool,
    pub(crate) header: Header,
    pub(crate) meta: Meta,
}

impl Prepared {
    /// Puts an image and its state together.
    pub(crate) fn whole(image: Image, generation: u32, layout: Layout, mut meta: Meta) -> Result<Self> {
        meta.tables.clone_from(&layout.tables);
        (meta.sum, meta.steps) = (layout.sum, Vec::new());
        (meta.end, meta.whole) = (layout.end(), layout.end());
        let (root, root_bytes, blob_crc) = meta.place(Region::default())?;
        let header =
            Header { generation, blob_line: root.line, blob_len: root_bytes.len() as u32, blob_crc, ..image.header() };
        let lines = image.lines;
        let blocks = vec![(lines.len() as u32, layout.into_bytes()), (root.line, root_bytes)];
        Ok(Self { lines, blocks, step: false, header, meta })
    }

    /// What changes the live image, which is `header`'s then.
    pub(crate) const fn step(blocks: Vec<(u32, Vec<u8>)>, header: Header, meta: Meta) -> Self {
        Self { lines: Vec::new(), blocks, step: true, header, meta }
    }

    /// Lines of the whole.
    fn total(&self) -> usize {
        self.meta.end as usize
    }

    /// Bytes of the whole.
    pub(crate) fn bytes(&self) -> u64 {
        (self.total() * LINE) as u64
    }

    /// Writes everything, the magic number last, and gives the image as it is then. `live` is the image that a step begins from; of that, only
    /// the lines of `differing` are others in `map` now, if that is known.
    fn write_to(
        &self,
        map: BorrowedFd<'_>,
        live: Option<&Live>,
        differing: Option<&[(u32, u32)]>,
    ) -> io::Result<Mapping> {
        let mapping = self.mapped(map)?;
        let magic = offset_of!(Header, magic);
        mapping.store_u32(magic, 0);
        // Nothing of what follows is seen before that.
        fence(Ordering::SeqCst);
        if self.step {
            let live = live.ok_or_else(|| io::Error::other("a step from no image"))?;
            let all = [(1, live.meta.end.saturating_sub(1))];
            for (first, count) in differing.unwrap_or(&all) {
                let (start, end) = (*first as usize * LINE, (*first + *count) as usize * LINE);
                self.by_parts(map, &mapping, start..end, |into, range| {
                    for piece in range.clone().step_by(PIECE) {
                        into.write(piece, &live.mapping.copy(piece..range.end.min(piece + PIECE)));
                    }
                })?;
            }
        }
        let lines = self.lines.get(1..).unwrap_or_default().as_bytes();
        let blocks = self.blocks.iter().map(|(first, bytes)| (*first as usize * LINE, &bytes[..]));
        for (start, bytes) in std::iter::once((LINE, lines)).chain(blocks) {
            self.by_parts(map, &mapping, start..start + bytes.len(), |into, range| {
                into.write(range.start, &bytes[range.start - start..range.end - start]);
            })?;
        }
        mapping.write(8, &self.header.as_bytes()[8..LINE]);
        mapping.store_u32(offset_of!(Header, abi), self.header.abi);
        // Release: after all of the above.
        mapping.store_u32(magic, self.header.magic);
        Ok(mapping)
    }

    fn mapped(&self, map: BorrowedFd<'_>) -> io::Result<Mapping> {
        Mapping::new(map, self.total() * LINE, true)
    }

    /// Has a range of bytes written; a large one part by part, for what is mapped is memory of the process.
    fn by_parts(
        &self,
        map: BorrowedFd<'_>,
        mapping: &Mapping,
        range: Range<usize>,
        write: impl Fn(&Mapping, Range<usize>),
    ) -> io::Result<()> {
        if range.len() <= PART {
            write(mapping, range);
            return Ok(());
        }
        for start in range.clone().step_by(PART) {
            write(&self.mapped(map)?, start..range.end.min(start + PART));
        }
        Ok(())
    }

    /// What is live already, to be put into other slots.
    pub(crate) fn copy_of(live: &Live) -> Self {
        Self::step(Vec::new(), live.header, live.meta.clone())
    }

    /// A new map with this image, with room to grow.
    fn make(&self, live: Option<&Live>) -> Result<Placed> {
        let total = self.total();
        let doing = || format!("make an image of {total} lines");
        let limit = |_| EngineError::Limit { what: "lines in the image", got: total as u64, max: u64::from(u32::MAX) };
        let room = u32::try_from((total + total / SLACK).max(MIN_LINES)).map_err(limit)?;
        let map = bpf::create_array(RING_MAP, LINE as u32, room, bpf::F_MMAPABLE | bpf::F_INNER_MAP).doing(doing)?;
        let mapping = self.write_to(map.as_fd(), live, None).doing(doing)?;
        let id = bpf::map_info(map.as_fd()).doing(doing)?.id;
        Ok(Placed { map, id, mapping, waited: false })
    }

    /// Puts the image into a slot that no packet reads: where the map stands that is there, if it fits.
    pub(crate) fn put(&self, images: &Map<u32, u32>, slot: u32, live: &Live) -> Result<Placed> {
        let doing = || format!("write the image in slot {slot}");
        if let Some(map) = open_slot(images, slot)? {
            let info: MapInfo = bpf::map_info(map.as_fd()).doing(doing)?;
            let (room, total) = (info.max_entries as usize, self.total());
            let ours = info.name.starts_with(RING_MAP.as_bytes());
            if ours && total <= room && room <= (total * WASTE).max(MIN_LINES) {
                let there = Mapping::new(map.as_fd(), LINE, false).map(|there| read_header(&there)).doing(doing)?;
                let differing = differing(&there, live);
                let mapping = self.write_to(map.as_fd(), Some(live), differing.as_deref()).doing(doing)?;
                return Ok(Placed { map, id: info.id, mapping, waited: false });
            }
        }
        let mut placed = self.make(Some(live))?;
        placed.wait(images, slot)?;
        Ok(placed)
    }
}

/// The lines in which an image that is still in its slot differs from the live one, if the live one's steps lead to it.
fn differing(there: &Header, live: &Live) -> Option<Vec<(u32, u32)>> {
    if *there == live.header { Some(Vec::new()) } else { since(there, &live.meta) }
}

/// The lines that were written by the steps from an image to the one of `live`.
fn since(there: &Header, live: &Meta) -> Option<Vec<(u32, u32)>> {
    if there.magic != MAGIC {
        return None;
    }
    let mut lines = Vec::new();
    for step in &live.steps {
        lines.extend_from_slice(&step.written);
        if step.from == (there.generation, there.blob_crc) {
            return Some(merged(lines));
        }
    }
    None
}

/// Ranges of lines, in order and apart.
pub(crate) fn merged(mut ranges: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
    for (first, count) in ranges {
        match merged.last_mut() {
            Some((start, have)) if first <= *start + *have => *have = (*have).max(first + count - *start),
            _ => merged.push((first, count)),
        }
    }
    merged
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

    /// Whether what a step made of the slot is an image, with a state that agrees with it.
    #[cfg(debug_assertions)]
    pub(crate) fn verify(&self, prepared: &Prepared) -> Result<()> {
        use crate::state::StateAt;
        if !prepared.step {
            return Ok(());
        }
        let (meta, header) = (&prepared.meta, prepared.header);
        let bug = |what: String| EngineError::Internal(format!("generation {}: {what}", header.generation));
        let copy = self.mapping.copy(0..meta.end as usize * LINE);
        let lines = copy.chunks_exact(LINE).map(|bytes| Line(std::array::from_fn(|at| bytes[at]))).collect();
        let recent = meta.recent.iter().map(|id| RecentList { name: "".into(), id: *id, stamps: 0 }).collect();
        let states = meta.states.iter().filter_map(StateAt::get).collect();
        let estimators = meta.estimators.iter().map(|e| Estimator { id: e.id, name: "".into(), times: None }).collect();
        let image = Image { lines, recent, states, estimators, ..Image::default() };
        if header != read_header(&self.mapping) {
            return Err(bug("another header".to_owned()));
        }
        // Tables of hashlimit are more than their numbers.
        if meta.hashlimits.is_empty() {
            bpftables_compiler::verify::verify(&image).map_err(|defect| bug(defect.to_string()))?;
        }
        let mut sum = 0_u64;
        let (mut used, mut refs) = (meta.used(), Vec::new());
        for at in &meta.tables {
            let view = View::new(&copy[..], *at);
            let (table, of_table) = view.table(meta.family)?;
            sum = sum.wrapping_add(of_table);
            let counts = bpftables_ruleset::edit::reference_counts(&table);
            for (entry, chain) in view.entries()?.iter().zip(table.chains()) {
                let expected = counts.get(&chain.name).copied().unwrap_or(0);
                if entry.place().refs != expected {
                    refs.push(format!("{}: {} and not {expected}", chain.name, entry.place().refs));
                }
                let policy = chain.policy.map(|_| chain.slot);
                for slot in policy.into_iter().chain(chain.rules.iter().map(|rule| rule.slot)) {
                    if !used.remove(slot.0) {
                        return Err(bug(format!("slot {} of chain {} is not in use, or twice", slot.0, chain.name)));
                    }
                }
            }
        }
        if sum == meta.sum && used.is_empty() && refs.is_empty() {
            return Ok(());
        }
        Err(bug(format!("sums {sum:x} {:x}, unused {:?}, references {refs:?}", meta.sum, used.ranges())))
    }

    /// What was put there, live now.
    pub(crate) fn into_live(self, prepared: Prepared, slot: u32) -> Live {
        Live { id: self.id, mapping: self.mapping, header: prepared.header, meta: prepared.meta, slot }
    }
}

/// Puts the image of a ruleset that nobody touched into each of the slots.
pub(crate) fn install_empty(images: &Map<u32, u32>, family: Family, slots: &[u32]) -> Result<()> {
    let ruleset = Ruleset::new(family);
    let image = compile(&ruleset, &Options::default())?;
    let layout = Layout::behind(image.lines.len() as u32);
    let empty = Prepared::whole(image, 0, layout, Meta::new(family))?;
    let made = slots.iter().map(|_| empty.make(None)).collect::<Result<Vec<Placed>>>()?;
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

/// An image that was found in the kernel: the root of its state, and the map.
#[derive(Debug)]
pub(crate) struct Live {
    /// Number of its map.
    id: u32,
    mapping: Mapping,
    pub(crate) header: Header,
    /// What the state says besides the rules.
    pub(crate) meta: Meta,
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
        let root = mapping.copy(root_range(&mapping, &header)?);
        // The copy is done before the header is looked at again.
        fence(Ordering::SeqCst);
        if read_header(&mapping) != header {
            return Ok(None);
        }
        let (meta, crc) = Meta::decode(&root)?;
        if crc != header.blob_crc || meta.end as usize * LINE > mapping.len() {
            return Err(EngineError::Corrupt { what: "the state's root is not what the header says".to_owned() });
        }
        Ok(Some(Self { id: info.id, mapping, header, meta, slot: live }))
    }

    /// Whether it is unchanged, and live, as `slot` tells.
    pub(crate) fn is_live(&self, images: &Map<u32, u32>, slot: impl Fn() -> u32) -> bool {
        // The map is asked for: everything may have been removed and made anew.
        let there = images.get(&self.slot).is_ok_and(|id| id == Some(self.id));
        there && slot() == self.slot && read_header(&self.mapping) == self.header
    }

    /// Whether nobody wrote it since it was opened: what was copied out of it meanwhile is whole.
    pub(crate) fn is_unwritten(&self) -> bool {
        // What was copied before is looked at before the header is.
        fence(Ordering::SeqCst);
        read_header(&self.mapping) == self.header
    }

    /// A table, if it is there.
    pub(crate) fn table(&self, kind: TableKind) -> Option<View<'_, Mapping>> {
        Some(View::new(&self.mapping, *self.meta.table(kind)?))
    }

    /// The whole ruleset. Only what [`Self::is_unwritten`] says after it tells whether it is one.
    pub(crate) fn ruleset(&self) -> Result<Ruleset> {
        let mut ruleset = Ruleset::new(self.meta.family);
        let mut sum = 0_u64;
        for at in &self.meta.tables {
            let (table, of_table) = View::new(&self.mapping, *at).table(self.meta.family)?;
            sum = sum.wrapping_add(of_table);
            ruleset.tables.push(table);
        }
        if sum == self.meta.sum {
            Ok(ruleset)
        } else {
            Err(EngineError::Corrupt { what: "the indexes of the tables are not those of the root".to_owned() })
        }
    }

    /// Bytes of the whole image.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.meta.end) * LINE as u64
    }

    /// A line, as it is now.
    pub(crate) fn line(&self, at: u32) -> Line {
        let mut line = Line::ZERO;
        let start = at as usize * LINE;
        if start + LINE <= self.mapping.len() {
            self.mapping.read(start, &mut line.0);
        }
        line
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

fn root_range(mapping: &Mapping, header: &Header) -> Result<std::ops::Range<usize>> {
    let start = header.blob_line as usize * LINE;
    let end = start + header.blob_len as usize;
    if header.blob_line == 0 || end > mapping.len() {
        return Err(EngineError::Corrupt {
            what: format!("state at bytes {start} to {end} of an image of {} bytes", mapping.len()),
        });
    }
    Ok(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Step;

    #[test]
    fn ranges_that_touch_are_one() {
        assert_eq!(merged(vec![(7, 2), (3, 4), (20, 1), (8, 4), (3, 1)]), [(3, 9), (20, 1)]);
        assert!(merged(Vec::new()).is_empty());
    }

    #[test]
    fn only_an_image_that_steps_lead_to_is_written_in_part() {
        let mut live = Meta::new(Family::V4);
        let step = |generation, first| Step { from: (generation, generation * 10), written: vec![(first, 2)] };
        live.steps = vec![step(8, 100), step(7, 50)];
        let there = |generation, crc| Header { magic: MAGIC, generation, blob_crc: crc, ..Header::new_zeroed() };
        assert_eq!(since(&there(8, 80), &live), Some(vec![(100, 2)]));
        assert_eq!(since(&there(7, 70), &live), Some(vec![(50, 2), (100, 2)]));
        assert_eq!(since(&there(7, 71), &live), None, "another image of that generation");
        assert_eq!(since(&there(6, 60), &live), None);
        assert_eq!(since(&Header { magic: 0, ..there(7, 70) }, &live), None, "half of one");
    }

    #[test]
    fn a_familys_slots_go_round_and_never_meet_the_others() {
        assert_eq!([0, 1, 2].map(next_slot), [1, 2, 0]);
        assert_eq!([V6_FIRST_SLOT, V6_FIRST_SLOT + 1, V6_FIRST_SLOT + 2].map(next_slot), [33, 34, 32]);
    }
}
