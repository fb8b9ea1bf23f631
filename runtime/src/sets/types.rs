//! The kernel's types (BTF), as far as offsets in structures are asked: of vmlinux, and of modules, whose types go on where those end.

use std::ops::Range;

const HEADER: usize = 24;
const MAGIC: u16 = 0xeb9f;

const ARRAY: u8 = 3;
const STRUCT: u8 = 4;
const UNION: u8 = 5;
/// Kinds that stand for the type that they name: typedef, volatile, const, restrict, type tag.
const ALIASES: [u8; 5] = [8, 9, 10, 11, 18];
const POINTER: u8 = 2;

/// One type as it is written.
#[derive(Clone, Copy, Debug)]
struct Record {
    name: u32,
    kind: u8,
    vlen: usize,
    /// Of a structure: members' offsets carry their bits.
    bits: bool,
    /// Bytes, or the type that it stands for.
    size: u32,
    /// Where what follows it is.
    at: usize,
}

/// The types of vmlinux or of a module.
#[derive(Debug)]
pub(crate) struct Types<'a> {
    base: Option<&'a Types<'a>>,
    data: &'a [u8],
    strings: Range<usize>,
    first_string: u32,
    first: u32,
    records: Vec<Record>,
}

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// From the structure's begin, in bits.
    pub(crate) bit: u32,
    /// A number of [`Types`].
    kind: u32,
}

impl Member {
    /// In bytes, for members that begin with one.
    pub(crate) const fn byte(self) -> u32 {
        self.bit / 8
    }
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

/// Bytes that follow a type of a kind.
const fn behind(kind: u8, vlen: usize) -> Option<usize> {
    Some(match kind {
        1 | 14 | 17 => 4,
        2 | 7..=12 | 16 | 18 => 0,
        ARRAY => 12,
        STRUCT | UNION | 15 | 19 => 12 * vlen,
        6 | 13 => 8 * vlen,
        _ => return None,
    })
}

impl<'a> Types<'a> {
    /// Reads them; none if they are not what was expected. `base`: those of vmlinux, for a module's.
    pub(crate) fn read(data: &'a [u8], base: Option<&'a Self>) -> Option<Self> {
        if u16::from_ne_bytes(data.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let header = word(data, 4)? as usize;
        let section = |at: usize| -> Option<Range<usize>> {
            let begin = header + word(data, at)? as usize;
            Some(begin..begin + word(data, at + 4)? as usize)
        };
        let (types, strings) = (section(8)?, section(HEADER - 8)?);
        data.get(strings.clone())?;
        let (first, first_string) = base.map_or((1, 0), |base| {
            (base.first + base.records.len() as u32, base.first_string + base.strings.len() as u32)
        });
        let mut records = Vec::new();
        let mut at = types.start;
        while at < types.end {
            let info = word(data, at + 4)?;
            let (kind, vlen) = ((info >> 24 & 31) as u8, (info & 0xffff) as usize);
            let (name, size) = (word(data, at)?, word(data, at + 8)?);
            records.push(Record { name, kind, vlen, bits: info >> 31 != 0, size, at: at + 12 });
            at += 12 + behind(kind, vlen)?;
        }
        Some(Self { base, data, strings, first_string, first, records })
    }

    fn holder(&self, id: u32) -> Option<(&Self, Record)> {
        if id < self.first {
            return self.base?.holder(id);
        }
        Some((self, *self.records.get((id - self.first) as usize)?))
    }

    fn string_is(&self, at: u32, wanted: &str) -> bool {
        if at < self.first_string {
            return self.base.is_some_and(|base| base.string_is(at, wanted));
        }
        let from = self.strings.start + (at - self.first_string) as usize;
        let Some(text) = self.data.get(from..self.strings.end) else { return false };
        text.strip_prefix(wanted.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }

    /// The structure of a name, of these types alone.
    pub(crate) fn structure(&self, name: &str) -> Option<u32> {
        let found = self.records.iter().position(|r| r.kind == STRUCT && self.string_is(r.name, name))?;
        Some(self.first + found as u32)
    }

    /// The member of a name, also within members without one.
    pub(crate) fn member(&self, structure: u32, name: &str) -> Option<Member> {
        let (holder, record) = self.holder(structure)?;
        if !matches!(record.kind, STRUCT | UNION) {
            return None;
        }
        let mut inner = None;
        for index in 0..record.vlen {
            let at = record.at + 12 * index;
            let (named, kind, offset) =
                (word(holder.data, at)?, word(holder.data, at + 4)?, word(holder.data, at + 8)?);
            let bit = if record.bits { offset & 0x00ff_ffff } else { offset };
            if holder.string_is(named, name) {
                return Some(Member { bit, kind });
            }
            if named == 0 && inner.is_none() {
                inner = self.member(kind, name).map(|found| Member { bit: found.bit + bit, ..found });
            }
        }
        inner
    }

    /// Bytes of a type.
    pub(crate) fn size(&self, id: u32) -> Option<u32> {
        let (holder, record) = self.holder(id)?;
        match record.kind {
            POINTER => Some(8),
            ARRAY => {
                let (element, count) = holder.array(record)?;
                Some(self.size(element)? * count)
            }
            kind if ALIASES.contains(&kind) => self.size(record.size),
            _ => Some(record.size),
        }
    }

    fn array(&self, record: Record) -> Option<(u32, u32)> {
        (record.kind == ARRAY).then_some(())?;
        Some((word(self.data, record.at)?, word(self.data, record.at + 8)?))
    }

    /// Bytes of a member.
    pub(crate) fn member_size(&self, member: Member) -> Option<u32> {
        self.size(member.kind)
    }

    /// The type of a member that is an array's elements, and how many there are.
    pub(crate) fn elements(&self, member: Member) -> Option<(u32, u32)> {
        let (holder, record) = self.holder(member.kind)?;
        holder.array(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_the_running_kernels_structures_are_found() {
        let data = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        let types = Types::read(&data, None).unwrap();
        let list = types.structure("list_head").unwrap();
        assert_eq!(types.size(list), Some(16));
        assert_eq!(types.member(list, "prev").map(Member::byte), Some(8));
        // Within unions without a name.
        let skb = types.structure("sk_buff").unwrap();
        assert_eq!(types.member(skb, "next").map(Member::byte), Some(0));
        assert_eq!(types.member(skb, "dev").map(Member::byte), Some(16));
        let cb = types.member(skb, "cb").unwrap();
        assert_eq!(types.elements(cb).map(|(_, count)| count), Some(48));
        assert_eq!(types.member(skb, "no such member"), None);
        assert!(types.structure("no_such_structure").is_none());
        assert!(Types::read(&data[..100], None).is_none());
    }
}
