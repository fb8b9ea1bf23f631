//! `-m iprange`: addresses in a range (xt_iprange.c, rev 1).

use crate::matches::MatchKind;
use crate::text::{ListContext, Text, not, write_ip};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// Lowest and highest address, and whether after `!`. One that ends before it begins holds nothing.
pub type AddressRange = (IpAddr, IpAddr, bool);

/// `-m iprange`: addresses in a range (xt_iprange.c, rev 1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Iprange {
    /// `--src-range`.
    pub source: Option<AddressRange>,
    /// `--dst-range`.
    pub destination: Option<AddressRange>,
}

fn write(ranges: [(Option<AddressRange>, &str); 2], not_first: bool, out: &mut dyn fmt::Write) -> fmt::Result {
    for (range, label) in ranges {
        let Some((lo, hi, invert)) = range else { continue };
        let not = not(invert);
        if not_first {
            write!(out, "{not} {label} ")?;
        } else {
            write!(out, " {label}{not} ")?;
        }
        write_ip(lo, out)?;
        out.write_char('-')?;
        write_ip(hi, out)?;
    }
    Ok(())
}

impl Text for Iprange {
    fn save(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write([(self.source, "--src-range"), (self.destination, "--dst-range")], true, out)
    }

    fn list(&self, _cx: &ListContext<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write([(self.source, "source IP range"), (self.destination, "destination IP range")], false, out)
    }
}

impl MatchKind for Iprange {}
