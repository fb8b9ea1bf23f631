//! `-m srh`: a segment routing header (ip6t_srh.c, rev 1).

use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not, write_ip};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// `-m srh`: a segment routing header (ip6t_srh.c, rev 1). Each part may stand after `!`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Srh {
    /// `--srh-next-hdr`.
    pub next_header: Option<(u8, bool)>,
    /// `--srh-hdr-len-eq` and others.
    pub length: SrhNumber,
    /// `--srh-segs-left-eq` and others.
    pub segments_left: SrhNumber,
    /// `--srh-last-entry-eq` and others.
    pub last_entry: SrhNumber,
    /// `--srh-tag`.
    pub tag: Option<(u16, bool)>,
    /// `--srh-psid`, not masked.
    pub previous: Option<(IpAddr, IpAddr, bool)>,
    /// `--srh-nsid`.
    pub next: Option<(IpAddr, IpAddr, bool)>,
    /// `--srh-lsid`.
    pub last: Option<(IpAddr, IpAddr, bool)>,
}

/// A number with which a field is compared in up to three ways; the number given last counts for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SrhNumber {
    /// The number.
    pub value: u8,
    /// Equal.
    pub equal: Option<bool>,
    /// Greater.
    pub greater: Option<bool>,
    /// Less.
    pub less: Option<bool>,
}

/// The mask's length; a mask with holes has none, which legacy prints so.
fn length(mask: IpAddr) -> u32 {
    match mask {
        IpAddr::V6(mask) if mask.to_bits().leading_ones() == mask.to_bits().count_ones() => mask.to_bits().count_ones(),
        _ => u32::MAX,
    }
}

/// Address, mask, and whether after `!`.
type AskedAddress = (IpAddr, IpAddr, bool);

impl Srh {
    fn numbers(&self) -> [(&SrhNumber, &'static str); 3] {
        [(&self.length, "hdr-len"), (&self.segments_left, "segs-left"), (&self.last_entry, "last-entry")]
    }

    fn addresses(&self) -> [(Option<AskedAddress>, &'static str); 3] {
        [(self.previous, "psid"), (self.next, "nsid"), (self.last, "lsid")]
    }
}

impl SrhNumber {
    const fn ways(&self) -> [(Option<bool>, &'static str); 3] {
        [(self.equal, "eq"), (self.greater, "gt"), (self.less, "lt")]
    }
}

impl Text for Srh {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if let Some((header, invert)) = self.next_header {
            write!(out, "{} --srh-next-hdr {header}", not(invert))?;
        }
        for (number, field) in self.numbers() {
            for (asked, way) in number.ways() {
                if let Some(invert) = asked {
                    write!(out, "{} --srh-{field}-{way} {}", not(invert), number.value)?;
                }
            }
        }
        if let Some((tag, invert)) = self.tag {
            write!(out, "{} --srh-tag {tag}", not(invert))?;
        }
        for (address, field) in self.addresses() {
            if let Some((addr, mask, invert)) = address {
                write!(out, "{} --srh-{field} ", not(invert))?;
                write_ip(addr, out)?;
                write!(out, "/{}", length(mask))?;
            }
        }
        Ok(())
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        let bang = |invert| if invert { "!" } else { "" };
        out.write_str(" srh")?;
        if let Some((header, invert)) = self.next_header {
            write!(out, " next-hdr:{}{header}", bang(invert))?;
        }
        for (number, field) in self.numbers() {
            for (asked, way) in number.ways() {
                if let Some(invert) = asked {
                    write!(out, " {field}-{way}:{}{}", bang(invert), number.value)?;
                }
            }
        }
        if let Some((tag, invert)) = self.tag {
            write!(out, " tag:{}{tag}", bang(invert))?;
        }
        for (address, field) in self.addresses() {
            if let Some((addr, mask, invert)) = address {
                write!(out, " {field} {} ", bang(invert))?;
                write_ip(addr, out)?;
                write!(out, "/{}", length(mask))?;
            }
        }
        Ok(())
    }
}

impl MatchKind for Srh {}
