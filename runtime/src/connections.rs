//! Ending connections from user space.
//!
//! A connection is ended by one atomic or of `DYING` into its status; the programs follow it no more and free it when they meet it.

use crate::engine::Engine;
use crate::error::{Doing, Result};
use crate::install::Installed;
use crate::slots::SlotSet;
use crate::sys::bpf::{Map, map_info};
use crate::sys::mmap::Mapping;
use bpftables_abi::conn::{Conn, status};
use bpftables_abi::maps::{self, ConnTable};
use std::mem::offset_of;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

/// `IPPROTO_UDP`.
const UDP: u8 = 17;

/// The connections' map, mapped.
struct Table {
    mapping: Mapping,
    /// Numbers that were ever used.
    used: usize,
}

impl Table {
    fn open(installed: &Installed) -> Result<Self> {
        let doing = || "map the connections".to_owned();
        let globals: Map<u32, ConnTable> = installed.map(maps::CONN_TABLE)?;
        let used = globals.get(&0).doing(doing)?.map_or(0, |table| table.bump as usize);
        let map = installed.raw_map(maps::CONNS)?;
        let len = map_info(map.as_fd()).doing(doing)?.max_entries as usize;
        let mapping = Mapping::new(map.as_fd(), len * size_of::<Conn>(), true).doing(doing)?;
        Ok(Self { mapping, used: used.min(len) })
    }

    fn u32_at(&self, number: usize, field: usize) -> u32 {
        self.mapping.load_u32(number * size_of::<Conn>() + field)
    }

    /// The first byte after the ports of a connection's original tuple.
    fn protocol(&self, number: usize) -> u8 {
        self.u32_at(number, offset_of!(Conn, orig) + offset_of!(bpftables_abi::conn::Tuple, proto)).to_le_bytes()[0]
    }

    /// Ends those that live and that `which` says; how many.
    fn end(&self, which: impl Fn(&Self, usize) -> bool) -> usize {
        let live = |bits| bits & status::LIVE != 0 && bits & status::DYING == 0;
        let ended =
            (0..self.used).filter(|&number| live(self.u32_at(number, offset_of!(Conn, status))) && which(self, number));
        ended
            .map(|number| self.mapping.or_u32(number * size_of::<Conn>() + offset_of!(Conn, status), status::DYING))
            .count()
    }
}

/// Ends the UDP connections that followed a DNAT rule that is no more. kube-proxy asks conntrack(8) for this when an endpoint goes,
/// but that knows only the kernel's own table.
pub(crate) fn end_orphans(installed: &Installed, gone: &SlotSet) -> Result<usize> {
    if gone.is_empty() {
        return Ok(0);
    }
    Ok(Table::open(installed)?.end(|table, number| {
        table.protocol(number) == UDP && gone.contains(table.u32_at(number, offset_of!(Conn, dnat_slot)))
    }))
}

/// Ends the connections that MASQUERADE gave an address of a device: those with `addr`, or all of the device's.
pub(crate) fn end_masqueraded(installed: &Installed, ifindex: u32, addr: Option<Ipv4Addr>) -> Result<usize> {
    let wanted = addr.map(|addr| u32::from_ne_bytes(addr.octets()));
    Ok(Table::open(installed)?.end(|table, number| {
        table.u32_at(number, offset_of!(Conn, masq_ifindex)) == ifindex
            && wanted.is_none_or(|addr| {
                table.u32_at(number, offset_of!(Conn, reply) + offset_of!(bpftables_abi::conn::Tuple, daddr)) == addr
            })
    }))
}

impl Engine {
    /// Ends every connection that our programs keep; how many there were.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn conntrack_flush(&mut self) -> Result<usize> {
        self.refresh()?;
        let Some(installed) = self.installed()? else { return Ok(0) };
        Ok(Table::open(&installed)?.end(|_, _| true))
    }
}
