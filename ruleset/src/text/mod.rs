//! The text of a ruleset: as `iptables-save` and `-S` print it (`save`), and as `-L` does (`list`).

pub mod list;
pub mod save;

use crate::addr::{Family, PortRange};
use crate::names::Names;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a match or target says of itself. Each text begins with a space, or is empty.
pub trait Text {
    /// Its options, as `iptables-save` prints them after `-m NAME` or `-j NAME`.
    ///
    /// # Errors
    /// Only those of `out`.
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result;

    /// Its description in a listing.
    ///
    /// # Errors
    /// Only those of `out`.
    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result;
}

impl<T: Text> Text for Box<T> {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        (**self).save(out)
    }

    fn list(&self, cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        (**self).list(cx, out)
    }
}

/// What a listing of one rule knows besides the match or target.
#[derive(Clone, Copy)]
pub struct ListContext<'a> {
    /// The ruleset's family.
    pub family: Family,
    /// `-n`: no names.
    pub numeric: bool,
    /// The system's names.
    pub names: &'a dyn Names,
    /// The rule's `-p`, 0 without.
    pub protocol: u8,
}

impl ListContext<'_> {
    pub(crate) fn write_port(&self, port: u16, protocol: Option<&str>, out: &mut dyn fmt::Write) -> fmt::Result {
        match (!self.numeric).then(|| self.names.service_name(port, protocol)).flatten() {
            Some(name) => out.write_str(&name),
            None => write!(out, "{port}"),
        }
    }

    /// ` dpt:80`, ` dpts:!1:2`; nothing when every port matches.
    pub(crate) fn write_port_range(
        &self,
        label: &str,
        range: PortRange,
        invert: bool,
        protocol: &str,
        out: &mut dyn fmt::Write,
    ) -> fmt::Result {
        if range == PortRange::ANY && !invert {
            return Ok(());
        }
        let not = if invert { "!" } else { "" };
        let plural = if range.lo == range.hi { "" } else { "s" };
        write!(out, " {label}{plural}:{not}")?;
        self.write_port(range.lo, Some(protocol), out)?;
        if range.lo != range.hi {
            out.write_char(':')?;
            self.write_port(range.hi, Some(protocol), out)?;
        }
        Ok(())
    }

    /// An address by its host's name, unless `-n`.
    pub(crate) fn write_address(&self, addr: IpAddr, out: &mut dyn fmt::Write) -> fmt::Result {
        let network = || match addr {
            IpAddr::V4(addr) => self.names.network_name(addr),
            IpAddr::V6(_) => None,
        };
        let name = if self.numeric { None } else { self.names.host_name(addr).or_else(network) };
        match name {
            Some(name) => out.write_str(&name),
            None => write_ip(addr, out),
        }
    }
}

impl PortRange {
    /// ` [!] --sport 1:2`; nothing when every port matches.
    pub(crate) fn save(self, option: &str, invert: bool, out: &mut dyn fmt::Write) -> fmt::Result {
        if self == Self::ANY && !invert {
            return Ok(());
        }
        write!(out, "{} --{option} {}", if invert { " !" } else { "" }, self.lo)?;
        if self.lo != self.hi {
            write!(out, ":{}", self.hi)?;
        }
        Ok(())
    }
}

/// ` !` or nothing.
pub(crate) const fn not(invert: bool) -> &'static str {
    if invert { " !" } else { "" }
}

/// `1`, or `1:2` when the bounds differ.
pub(crate) fn write_bounds<T: fmt::Display + PartialEq>(lo: T, hi: T, out: &mut dyn fmt::Write) -> fmt::Result {
    if lo == hi { write!(out, "{lo}") } else { write!(out, "{lo}:{hi}") }
}

/// An address as inet_ntop(3) writes it, which is how legacy does.
///
/// # Errors
/// What `out` says.
pub fn write_ip(addr: IpAddr, out: &mut dyn fmt::Write) -> fmt::Result {
    match addr {
        IpAddr::V6(addr) if is_compatible(addr) => {
            let [.., high, low] = addr.segments();
            write!(out, "::{}", Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        addr => write!(out, "{addr}"),
    }
}

/// Twelve zero bytes and something in the two before the last: the C library writes the end as an IPv4 address, Rust's does not.
const fn is_compatible(addr: Ipv6Addr) -> bool {
    matches!(addr.segments(), [0, 0, 0, 0, 0, 0, high, _] if high != 0)
}

/// The length of a contiguous mask.
pub(crate) fn prefix_length(mask: IpAddr) -> Option<u32> {
    let (bits, width) = match mask {
        IpAddr::V4(mask) => (u128::from(mask.to_bits()) << 96, 32),
        IpAddr::V6(mask) => (mask.to_bits(), 128),
    };
    let ones = bits.leading_ones();
    (ones == bits.count_ones()).then_some(ones.min(width))
}

/// `/24`, also `/32`; a mask with holes in dotted form.
pub(crate) fn write_save_mask(mask: IpAddr, out: &mut dyn fmt::Write) -> fmt::Result {
    match prefix_length(mask) {
        Some(length) => write!(out, "/{length}"),
        None => {
            out.write_char('/')?;
            write_ip(mask, out)
        }
    }
}

/// `/24`, but nothing for `/32`.
pub(crate) fn write_list_mask(mask: IpAddr, out: &mut dyn fmt::Write) -> fmt::Result {
    let host = Family::of(mask).width();
    if prefix_length(mask) == Some(host.into()) { Ok(()) } else { write_save_mask(mask, out) }
}

/// ` 0x1`, or ` 0x1/0x3` when not all bits count.
pub(crate) fn write_value_mask(value: u32, mask: u32, out: &mut dyn fmt::Write) -> fmt::Result {
    write!(out, " 0x{value:x}")?;
    if mask == u32::MAX { Ok(()) } else { write!(out, "/0x{mask:x}") }
}

/// ` and 0x1`, ` or 0x1`, ` xor 0x1`, ` set 0x1`, ` xset 0x1/0x3`.
pub(crate) fn write_mark_operation(value: u32, mask: u32, out: &mut dyn fmt::Write) -> fmt::Result {
    match (value, mask) {
        (0, mask) => write!(out, " and 0x{:x}", !mask),
        (value, mask) if value == mask => write!(out, " or 0x{value:x}"),
        (value, 0) => write!(out, " xor 0x{value:x}"),
        (value, u32::MAX) => write!(out, " set 0x{value:x}"),
        (value, mask) => write!(out, " xset 0x{value:x}/0x{mask:x}"),
    }
}

/// A space and the text, in double quotes with backslashes if it has anything but letters, digits, `_` and `-`.
pub(crate) fn write_string(text: &str, out: &mut dyn fmt::Write) -> fmt::Result {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.chars().all(plain) {
        return write!(out, " {text}");
    }
    out.write_str(" \"")?;
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '\'') {
            out.write_char('\\')?;
        }
        out.write_char(c)?;
    }
    out.write_char('"')
}
