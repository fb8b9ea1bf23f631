//! A chain's segment: a head, a row for each rule, what the rules say by postcard one after the other, and the bases of those that have one.
//! Each part has a checksum, so that a chain is known by its rows without the rest of it being read, and its bases are written alone.

use crate::error::{EngineError, Result};
use crate::state::lines;
use bpftables_abi::image::LINE;
use bpftables_compiler::{ChainPlace, Region};
use bpftables_ruleset::{Chain, ChainName, Counters, IpMatch, LineId, Match, Policy, Rule, Slot, Target};
use serde::Serialize;
use zerocopy::byteorder::little_endian::U64;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// A segment of so many rules has room to grow.
const LONG: usize = 32;
/// By this part.
const SLACK: usize = 8;

/// What stands before a chain's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Head {
    /// Lines of the segment.
    room: u32,
    own: [u32; 2],
    ends: [u32; 2],
    /// Rows.
    rules: u32,
    /// Bytes of what the rules say.
    bodies: u32,
    bases: u32,
    rows_crc: u32,
    bodies_crc: u32,
    bases_crc: u32,
    /// 0: it is no built-in chain.
    policy: u32,
    /// The policy's.
    slot: u32,
    pad: u32,
}

/// A rule, but for what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Row {
    line: [u8; 16],
    slot: u32,
}

/// What is to be added to what the kernel counted, where that is not nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Base {
    /// A rule, from 0; the policy comes behind the last.
    at: u32,
    packets: U64,
    bytes: U64,
}

impl Base {
    fn new(at: usize, base: Counters) -> Option<Self> {
        let some = Self { at: at as u32, packets: base.packets.into(), bytes: base.bytes.into() };
        (base != Counters::default()).then_some(some)
    }

    fn get(&self) -> Counters {
        Counters { packets: self.packets.get(), bytes: self.bytes.get() }
    }
}

/// What a rule says.
#[derive(Serialize)]
struct Body<'a>(&'a IpMatch, &'a [Match], &'a Target);

fn corrupt(what: &str) -> EngineError {
    EngineError::Corrupt { what: what.to_owned() }
}

impl Head {
    pub(crate) const SIZE: usize = size_of::<Self>();

    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let (head, _) = Self::read_from_prefix(bytes).map_err(|_| corrupt("a chain without its head"))?;
        Ok(head)
    }

    /// Bytes of the head and the rows.
    pub(crate) const fn front(&self) -> usize {
        Self::SIZE + self.rules as usize * size_of::<Row>()
    }

    /// Bytes before the bases.
    const fn before_bases(&self) -> usize {
        self.front() + self.bodies as usize
    }

    /// Bytes of all.
    pub(crate) const fn len(&self) -> usize {
        self.before_bases() + self.bases as usize * size_of::<Base>()
    }

    pub(crate) fn region(&self, line: u32) -> Region {
        Region { line, room: self.room }
    }

    /// `place` with the regions of the head.
    pub(crate) fn place(&self, place: ChainPlace) -> ChainPlace {
        let region = |[line, room]: [u32; 2]| Region { line, room };
        ChainPlace { own: region(self.own), ends: region(self.ends), ..place }
    }
}

/// Adds a chain's segment, whose place [`seal`] fills in.
pub(crate) fn encode_onto(chain: &Chain, mut onto: Vec<u8>) -> Result<Vec<u8>> {
    let start = onto.len();
    let mut head = Head { rules: chain.rules.len() as u32, ..Head::new_zeroed() };
    onto.resize(start + Head::SIZE, 0);
    for rule in &chain.rules {
        onto.extend_from_slice(Row { line: rule.line.0, slot: rule.slot.0 }.as_bytes());
    }
    head.rows_crc = crc32fast::hash(&onto[start + Head::SIZE..]);
    let bodies = onto.len();
    for rule in &chain.rules {
        onto = postcard::to_extend(&Body(&rule.ip, &rule.matches, &rule.target), onto)
            .map_err(|e| EngineError::Internal(format!("serializing chain {}: {e}", chain.name)))?;
    }
    head.bodies = (onto.len() - bodies) as u32;
    head.bodies_crc = crc32fast::hash(&onto[bodies..]);
    let bases = onto.len();
    let policy = chain.policy.map(|_| chain.offset);
    let all = chain.rules.iter().map(|rule| rule.offset).chain(policy).enumerate();
    for base in all.filter_map(|(at, base)| Base::new(at, base)) {
        onto.extend_from_slice(base.as_bytes());
        head.bases += 1;
    }
    head.bases_crc = crc32fast::hash(&onto[bases..]);
    head.policy = match chain.policy {
        None => 0,
        Some(Policy::Accept) => 1,
        Some(Policy::Drop) => 2,
    };
    head.slot = chain.slot.0;
    onto[start..start + Head::SIZE].copy_from_slice(head.as_bytes());
    Ok(onto)
}

/// Says in a segment how many lines it may take and what is the chain's own.
pub(crate) fn seal(segment: &mut [u8], room: u32, place: ChainPlace) -> Result<()> {
    let (own, ends) = (place.own, place.ends);
    let head = Head { room, own: [own.line, own.room], ends: [ends.line, ends.room], ..Head::read(segment)? };
    segment[..Head::SIZE].copy_from_slice(head.as_bytes());
    Ok(())
}

/// As [`seal`], of a chain that stays where it is.
pub(crate) fn set_room(segment: &mut [u8], room: u32) -> Result<()> {
    let place = Head::read(segment)?.place(ChainPlace::default());
    seal(segment, room, place)
}

/// Lines for a segment of `rules` rules.
pub(crate) fn room(segment: &[u8], rules: usize) -> u32 {
    // Most chains are short, never change, and are many.
    lines(segment.len() + if rules < LONG { 0 } else { segment.len() / SLACK })
}

/// The lines that made the rules, and the rules' slots; of the first bytes of a segment.
pub(crate) fn rows(front: &[u8]) -> Result<Vec<(LineId, Slot)>> {
    let head = Head::read(front)?;
    let rows = front.get(Head::SIZE..head.front()).ok_or_else(|| corrupt("a chain is cut off"))?;
    if crc32fast::hash(rows) != head.rows_crc {
        return Err(corrupt("a chain's rows have another checksum"));
    }
    let row = |bytes| match Row::read_from_bytes(bytes) {
        Ok(row) => Ok((LineId(row.line), Slot(row.slot))),
        Err(_) => Err(corrupt("a row is cut off")),
    };
    rows.chunks_exact(size_of::<Row>()).map(row).collect()
}

fn bases(bytes: &[u8], head: &Head) -> Result<Vec<Base>> {
    if crc32fast::hash(bytes) != head.bases_crc {
        return Err(corrupt("a chain's bases have another checksum"));
    }
    let base = |bytes| Base::read_from_bytes(bytes).map_err(|_| corrupt("a base is cut off"));
    bytes.chunks_exact(size_of::<Base>()).map(base).collect()
}

/// A chain out of its segment.
pub(crate) fn decode(name: ChainName, segment: &[u8]) -> Result<Chain> {
    let head = Head::read(segment)?;
    let rows = rows(segment)?;
    let part = |range: std::ops::Range<usize>| segment.get(range).ok_or_else(|| corrupt("a chain is cut off"));
    let mut bodies = part(head.front()..head.before_bases())?;
    if crc32fast::hash(bodies) != head.bodies_crc {
        return Err(corrupt("a chain's rules have another checksum"));
    }
    let policy = match head.policy {
        0 => None,
        1 => Some(Policy::Accept),
        _ => Some(Policy::Drop),
    };
    let mut chain = Chain { slot: Slot(head.slot), ..Chain::new(name, policy) };
    chain.rules.reserve_exact(rows.len());
    for (line, slot) in rows {
        let ((ip, matches, target), rest) =
            postcard::take_from_bytes(bodies).map_err(|e| corrupt(&format!("a rule: {e}")))?;
        bodies = rest;
        chain.rules.push(Rule { slot, line, ..Rule::new(ip, matches, target) });
    }
    for base in bases(part(head.before_bases()..head.len())?, &head)? {
        match chain.rules.get_mut(base.at as usize) {
            Some(rule) => rule.offset = base.get(),
            None => chain.offset = base.get(),
        }
    }
    Ok(chain)
}

/// Whether two segments are of the same rules, in the same slots, with the same counters.
pub(crate) fn same(a: &[u8], b: &[u8]) -> Result<bool> {
    let [x, y] = [Head::read(a)?, Head::read(b)?];
    let slots = |of: &[u8]| -> Result<Vec<Slot>> { Ok(rows(of)?.into_iter().map(|(_, slot)| slot).collect()) };
    Ok((x.policy, x.slot, x.len()) == (y.policy, y.slot, y.len())
        && a.get(x.front()..x.len()) == b.get(y.front()..y.len())
        && slots(a)? == slots(b)?)
}

/// What the segment of a chain becomes whose rules count from nothing again.
pub(crate) enum Zeroed {
    /// It stays where it is, with this head; these bytes are written, from the line of the segment that goes before.
    InPlace { head: Head, blocks: Vec<(u32, Vec<u8>)> },
    /// It needs so many lines elsewhere.
    Moved { segment: Vec<u8>, room: u32 },
}

/// See [`Zeroed`]; none if nothing changes. `read` gives bytes of the segment, from an offset of whole words.
pub(crate) fn zero(
    read: impl Fn(std::ops::Range<usize>) -> Result<Vec<u8>>,
    kernel: &dyn Fn(Slot) -> Counters,
) -> Result<Option<Zeroed>> {
    let head = Head::read(&read(0..Head::SIZE)?)?;
    let rows = rows(&read(0..head.front())?)?;
    let start = head.before_bases();
    // Whole lines are written.
    let line = start / LINE * LINE;
    let mut tail = read(line..head.len())?;
    let old = bases(&tail[start - line..], &head)?;
    let policy = old.iter().filter(|base| base.at == head.rules).copied();
    let zero = |(at, slot)| Base::new(at, Counters::default().minus(kernel(slot)));
    let slots = rows.iter().map(|(_, slot)| *slot).enumerate();
    let new: Vec<Base> = slots.filter_map(zero).chain(policy).collect();
    if new == old {
        return Ok(None);
    }
    tail.truncate(start - line);
    tail.extend_from_slice(new.as_bytes());
    let bases_crc = crc32fast::hash(new.as_bytes());
    let head = Head { bases: new.len() as u32, bases_crc, ..head };
    let first = match line {
        0 => std::mem::take(&mut tail),
        _ if lines(head.len()) <= head.room => read(0..LINE)?,
        _ => [read(0..line)?, std::mem::take(&mut tail)].concat(),
    };
    let first = [head.as_bytes(), &first[Head::SIZE..]].concat();
    if lines(head.len()) > head.room {
        // The next time others may have counted.
        let room = lines(start + (rows.len() + 1) * size_of::<Base>());
        return Ok(Some(Zeroed::Moved { segment: first, room }));
    }
    let mut blocks = vec![(0, first)];
    if !tail.is_empty() {
        blocks.push(((line / LINE) as u32, tail));
    }
    Ok(Some(Zeroed::InPlace { head, blocks }))
}
