//! Ending connections from user space.
//!
//! A connection is ended by one atomic or of `DYING` into its status; the programs follow it no more and free it when they meet it.

use crate::engine::Engine;
use crate::error::{Doing, Result};
use crate::install::Installed;
use crate::slots::SlotSet;
use crate::status::Connection;
use crate::sys::bpf::{Map, map_info};
use crate::sys::mmap::Mapping;
use bpftables_abi::conn::{Conn, Conn6, Tuple, Tuple6, status};
use bpftables_abi::maps::{self, ConnTable};
use bpftables_ruleset::Family;
use std::collections::BTreeMap;
use std::mem::offset_of;
use std::net::IpAddr;
use std::os::fd::AsFd;

/// `IPPROTO_UDP`.
const UDP: u8 = 17;

/// How a family's connections lie in memory.
#[derive(Clone, Copy)]
struct Shape {
    size: usize,
    status: usize,
    /// The protocol of the original tuple: the first byte after its ports.
    proto: usize,
    dnat_slot: usize,
    masq_ifindex: usize,
    reply_daddr: usize,
}

impl Shape {
    const fn of(family: Family) -> Self {
        match family {
            Family::V4 => Self {
                size: size_of::<Conn>(),
                status: offset_of!(Conn, status),
                proto: offset_of!(Conn, orig) + offset_of!(Tuple, proto),
                dnat_slot: offset_of!(Conn, dnat_slot),
                masq_ifindex: offset_of!(Conn, masq_ifindex),
                reply_daddr: offset_of!(Conn, reply) + offset_of!(Tuple, daddr),
            },
            Family::V6 => Self {
                size: size_of::<Conn6>(),
                status: offset_of!(Conn6, status),
                proto: offset_of!(Conn6, orig) + offset_of!(Tuple6, proto),
                dnat_slot: offset_of!(Conn6, dnat_slot),
                masq_ifindex: offset_of!(Conn6, masq_ifindex),
                reply_daddr: offset_of!(Conn6, reply) + offset_of!(Tuple6, daddr),
            },
        }
    }
}

/// The connections' map, mapped.
struct Table {
    shape: Shape,
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
        let shape = Shape::of(installed.family);
        let mapping = Mapping::new(map.as_fd(), len * shape.size, true).doing(doing)?;
        Ok(Self { shape, mapping, used: used.min(len) })
    }

    fn u32_at(&self, number: usize, field: usize) -> u32 {
        self.mapping.load_u32(number * self.shape.size + field)
    }

    fn protocol(&self, number: usize) -> u8 {
        self.u32_at(number, self.shape.proto).to_le_bytes()[0]
    }

    /// When a connection began.
    fn born(&self, number: usize) -> u64 {
        self.mapping.load_u64(number * size_of::<Conn>() + offset_of!(Conn, born))
    }

    /// Ends those that live and that `which` says; how many.
    fn end(&self, which: impl Fn(&Self, usize) -> bool) -> usize {
        self.end_each(which)
    }

    fn end_each(&self, mut which: impl FnMut(&Self, usize) -> bool) -> usize {
        let live = |bits| bits & status::LIVE != 0 && bits & status::DYING == 0;
        let ended =
            (0..self.used).filter(|&number| live(self.u32_at(number, self.shape.status)) && which(self, number));
        ended.map(|number| self.mapping.or_u32(number * self.shape.size + self.shape.status, status::DYING)).count()
    }
}

/// Ends the UDP connections that followed a DNAT rule that is no more. kube-proxy asks conntrack(8) for this when an endpoint goes,
/// but that knows only the kernel's own table.
pub(crate) fn end_orphans(installed: &Installed, gone: &SlotSet) -> Result<usize> {
    if gone.is_empty() {
        return Ok(0);
    }
    Ok(Table::open(installed)?.end(|table, number| {
        table.protocol(number) == UDP && gone.contains(table.u32_at(number, table.shape.dnat_slot))
    }))
}

/// Ends the connections that MASQUERADE gave an address of a device: those with `addr`, or all of the device's.
pub(crate) fn end_masqueraded(installed: &Installed, ifindex: u32, addr: Option<IpAddr>) -> Result<usize> {
    let wanted: Option<Vec<u8>> = match (installed.family, addr) {
        (_, None) => None,
        (Family::V4, Some(IpAddr::V4(addr))) => Some(addr.octets().to_vec()),
        (Family::V6, Some(IpAddr::V6(addr))) => Some(addr.octets().to_vec()),
        _ => return Ok(0),
    };
    Ok(Table::open(installed)?.end(|table, number| {
        table.u32_at(number, table.shape.masq_ifindex) == ifindex
            && wanted.as_ref().is_none_or(|addr| {
                let words = (0..addr.len()).step_by(4);
                words
                    .flat_map(|at| table.u32_at(number, table.shape.reply_daddr + at).to_ne_bytes())
                    .eq(addr.iter().copied())
            })
    }))
}

impl Engine {
    /// Ends the IPv4 connections that `which` says, as [`Self::conntrack_list`] lists them; what they were.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn conntrack_delete(&mut self, which: impl Fn(&Conn) -> bool) -> Result<Vec<Connection>> {
        let listed = self.conntrack_list()?;
        let Some(installed) = self.installed(Family::V4)? else { return Ok(Vec::new()) };
        let wanted: BTreeMap<usize, Connection> =
            listed.into_iter().filter(|c| which(&c.conn)).map(|c| (c.number as usize, c)).collect();
        let mut ended = Vec::new();
        Table::open(&installed)?.end_each(|table, number| {
            // A number may be another connection's by now: those are told apart by when they began.
            let found = wanted.get(&number).filter(|c| table.born(number) == c.conn.born);
            ended.extend(found.copied());
            found.is_some()
        });
        Ok(ended)
    }

    /// Ends every connection that our programs keep; how many there were.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn conntrack_flush(&mut self) -> Result<usize> {
        self.refresh()?;
        let mut ended = 0;
        for family in [Family::V4, Family::V6] {
            let Some(installed) = self.installed(family)? else { continue };
            ended += Table::open(&installed)?.end(|_, _| true);
        }
        Ok(ended)
    }
}
