//! Packet → class → candidates.

use super::run::Fault;
use crate::cuckoo;
use crate::cuckoo6;
use crate::facts::{bits, prefix_mask};
use crate::image::{Image, Line};
use bpftables_abi::image::{
    BLOCK, Chain, Field, IFACE_EXACT, chain_kind, dispatch_key, field, field_kind, iface_key, prefix_key, vecref,
};
use bpftables_ruleset::Family;
use bpftables_ruleset::eval::Packet;

/// Which of the candidates that a BITVEC chain's fields leave are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// As the programs: the first field that leaves a list decides alone.
    First,
    /// Those that every field leaves: stricter, so that a test finds a rule missing in any table.
    Strict,
}

/// Reads line `at`.
pub(crate) fn line(image: &Image, at: u32) -> Result<&Line, Fault> {
    // Word 4 of the header: the number of lines that programs may read.
    let end = image.lines[0].word(4);
    image.lines.get(at as usize).filter(|_| at < end).ok_or(Fault::OutOfBounds(at))
}

fn word(image: &Image, table: u32, index: u32) -> Result<u32, Fault> {
    Ok(line(image, table + index / 16)?.word(index as usize % 16))
}

/// Ports, if the packet has them.
pub(super) fn ports(packet: &Packet) -> Option<(u16, u16)> {
    let known = matches!(packet.proto(), Some(6 | 17 | 33 | 132 | 136)) && packet.fragment_offset() == 0;
    let at = packet.payload().get(..4).filter(|_| known)?;
    Some((u16::from_be_bytes([at[0], at[1]]), u16::from_be_bytes([at[2], at[3]])))
}

/// Whether some match may hotdrop the packet: see [`chain_kind`].
fn odd(packet: &Packet) -> bool {
    let need = match packet.proto() {
        Some(6) => 20,
        Some(17 | 136) => 8,
        Some(1) if packet.family() == Family::V4 => 8,
        Some(58) if packet.family() == Family::V6 => 8,
        Some(132 | 33) => 12,
        // Extension headers that lead to no protocol.
        None => return true,
        _ => 0,
    };
    match packet.fragment_offset() {
        0 => packet.payload().len() < need,
        offset => packet.family() == Family::V6 || offset == 1,
    }
}

/// The class of a device name.
pub(crate) fn iface_class(image: &Image, name: Option<&str>) -> u16 {
    let header = image.header();
    let name = name.unwrap_or("").as_bytes();
    if header.iface_table == 0 {
        return 0;
    }
    let ask = |len: usize, kind: u8| {
        let mut padded = [0; 16];
        padded[..len].copy_from_slice(&name[..len]);
        let (table, mask, seed) = (header.iface_table, header.iface_mask, header.iface_seed);
        cuckoo::lookup(&image.lines, table, mask, seed, iface_key(padded, kind))
    };
    let prefixes = (1..=name.len().min(15)).rev().filter(|len| header.iface_lens >> len & 1 != 0);
    let found = std::iter::once((name.len(), IFACE_EXACT)).chain(prefixes.map(|len| (len, len as u8)));
    found.map(|(len, kind)| ask(len, kind)).find(|v| *v != 0).map_or(0, |v| (v - 1) as u16)
}

/// The packet's value in a field.
fn value(image: &Image, what: u8, packet: &Packet) -> Option<u32> {
    let header = |proto: u8, len: usize| {
        (packet.proto() == Some(proto) && packet.fragment_offset() == 0).then(|| packet.payload().get(..len)).flatten()
    };
    match what {
        field::PROTO => packet.proto().map(u32::from),
        field::SPORT => ports(packet).map(|p| p.0.into()),
        field::DPORT => ports(packet).map(|p| p.1.into()),
        field::IIF => Some(iface_class(image, packet.iif.as_deref()).into()),
        field::OIF => Some(iface_class(image, packet.oif.as_deref()).into()),
        field::ICMP => header(if packet.family() == Family::V4 { 1 } else { 58 }, 8)
            .map(|h| u32::from(h[0]) << 8 | u32::from(h[1])),
        field::TCP_FLAGS => header(6, 20).map(|h| h[13].into()),
        _ => Some((packet.state_bits() & 0x7f).into()),
    }
}

/// The vecref of the longest prefix that an address is in.
fn prefix(image: &Image, f: &Field, addr: u128) -> Result<u32, Fault> {
    let v4 = image.family() == Family::V4;
    let mut lens = u128::from(f.lens);
    if !v4 {
        let words = line(image, f.lens)?;
        lens = (0..4).fold(0, |lens, word| lens | u128::from(words.word(word)) << (32 * word));
    }
    for len in (1..=128u8).rev().filter(|len| lens >> (len - 1) & 1 != 0) {
        let masked = addr & prefix_mask(len);
        let found = if v4 {
            let key = prefix_key((masked >> 96) as u32, len);
            cuckoo::lookup(&image.lines, f.table, f.mask, f.seed, key)
        } else {
            cuckoo6::lookup(&image.lines, f.table, f.mask, f.seed, (masked, len))
        };
        if found != 0 {
            return Ok(found);
        }
    }
    Ok(f.dflt)
}

/// The vecref that a field's table gives.
fn lookup(image: &Image, f: &Field, packet: &Packet) -> Result<u32, Fault> {
    if f.kind == field_kind::PREFIX {
        return prefix(image, f, bits(if f.what == field::SADDR { packet.saddr() } else { packet.daddr() }));
    }
    let Some(v) = value(image, f.what, packet) else { return Ok(f.absent) };
    match f.kind {
        field_kind::PAGE16 => {
            let top = word(image, f.table, v >> 8)?;
            match top >> vecref::TAG_SHIFT {
                vecref::PAGE => word(image, top & vecref::PAYLOAD, v & 255),
                _ => Ok(top),
            }
        }
        field_kind::DIRECT if v <= f.mask => word(image, f.table, v),
        field_kind::DIRECT => Ok(f.dflt),
        other => Err(Fault::UnknownCode("field kind", other.into())),
    }
}

/// The rules of a vecref; `None`: all.
pub(crate) fn rules(image: &Image, reference: u32) -> Result<Option<Vec<u32>>, Fault> {
    let at = reference & vecref::PAYLOAD;
    Ok(Some(match reference >> vecref::TAG_SHIFT {
        vecref::ALL => return Ok(None),
        vecref::EMPTY => Vec::new(),
        vecref::ONE => vec![at],
        vecref::LIST => {
            let count = word(image, at, 0)?.min(vecref::LIST_MAX);
            (1..=count).map(|index| word(image, at, index)).collect::<Result<_, _>>()?
        }
        vecref::VEC => vector(image, at)?,
        other => return Err(Fault::UnknownCode("vecref", other)),
    }))
}

fn vector(image: &Image, at: u32) -> Result<Vec<u32>, Fault> {
    let mut out = Vec::new();
    for block in 0..BLOCK as u32 {
        let summary = |index: u32| word(image, at, index);
        if summary(block / 32)? >> (block % 32) & 1 == 0 {
            continue;
        }
        let pair = block / 64 * 2;
        let mask = (1u64 << (block % 64)) - 1;
        let bits = (u64::from(summary(pair)?) | u64::from(summary(pair + 1)?) << 32) & mask;
        let before = word(image, at, 16 + block / 64 / 2)? >> (16 * (block / 64 % 2)) & 0xffff;
        let rank = before + bits.count_ones();
        let block_line = if rank < 12 { word(image, at, 20 + rank)? } else { word(image, at + 2, rank - 12)? };
        let block_line = line(image, block_line)?;
        for index in 0..16 {
            let mut bits = block_line.word(index as usize);
            while bits != 0 {
                out.push(block * BLOCK as u32 + index * 32 + bits.trailing_zeros());
                bits &= bits - 1;
            }
        }
    }
    Ok(out)
}

/// The rules of `chain` that may match `packet`, ascending.
///
/// # Errors
/// An image that does not hold together.
pub fn candidates(image: &Image, chain: &Chain, packet: &Packet, pick: Pick) -> Result<Vec<u32>, Fault> {
    let every = || (0..chain.nrules).collect();
    if chain.kind == chain_kind::LIST || odd(packet) {
        return Ok(every());
    }
    if chain.kind == chain_kind::HASH {
        let mut found = rules(image, chain.residual)?.unwrap_or_else(every);
        if let Some((_, dport)) = ports(packet) {
            let key = dispatch_key((bits(packet.daddr()) >> 96) as u32, packet.proto().unwrap_or(0), dport);
            let at = cuckoo::lookup(&image.lines, chain.hash_table, chain.hash_mask, chain.hash_seed, key);
            if at != 0 {
                found.extend(rules(image, at)?.unwrap_or_else(every));
                found.sort_unstable();
            }
        }
        return Ok(found);
    }
    let mut left: Option<Vec<u32>> = None;
    let mut decided = false;
    for f in fields(image, chain)? {
        let reference = lookup(image, &f, packet)?;
        let short = matches!(reference >> vecref::TAG_SHIFT, vecref::EMPTY | vecref::ONE | vecref::LIST);
        let Some(found) = rules(image, reference)? else { continue };
        match (pick, short, &mut left) {
            (Pick::First, true, _) if decided => {}
            (Pick::First, true, _) => (left, decided) = (Some(found), true),
            (Pick::First, false, _) if decided => {}
            (_, _, None) => left = Some(found),
            (_, _, Some(rest)) => rest.retain(|rule| found.binary_search(rule).is_ok()),
        }
    }
    Ok(left.unwrap_or_else(every))
}

/// The fields of a BITVEC chain.
pub(crate) fn fields(image: &Image, chain: &Chain) -> Result<Vec<Field>, Fault> {
    let mut out = Vec::new();
    for index in 0..u32::from(chain.nfields) {
        let half = (index as usize & 1) * 32;
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&line(image, chain.fields + index / 2)?.0[half..half + 32]);
        out.push(zerocopy::transmute!(bytes));
    }
    Ok(out)
}
