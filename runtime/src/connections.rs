//! Ending connections from user space.
//!
//! A connection is ended by one atomic or of `DYING` into its status; the programs follow it no more and free it when they meet it.

use crate::conntrack::{self, Connection};
use crate::error::{Doing, Result};
use crate::install::Installed;
use crate::slots::SlotSet;
use crate::sys::bpf::{Map, map_by_id, map_info};
use crate::sys::mmap::Mapping;
use bpftables_abi::conn::{Acct, Conn, Conn6, Tuple, Tuple6, status};
use bpftables_abi::maps::{self, ConnTable};
use bpftables_ruleset::Family;
use std::mem::offset_of;
use std::net::IpAddr;
use std::os::fd::AsFd;
use zerocopy::FromBytes;

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
    born: usize,
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
                born: offset_of!(Conn, born),
            },
            Family::V6 => Self {
                size: size_of::<Conn6>(),
                status: offset_of!(Conn6, status),
                proto: offset_of!(Conn6, orig) + offset_of!(Tuple6, proto),
                dnat_slot: offset_of!(Conn6, dnat_slot),
                masq_ifindex: offset_of!(Conn6, masq_ifindex),
                reply_daddr: offset_of!(Conn6, reply) + offset_of!(Tuple6, daddr),
                born: offset_of!(Conn6, born),
            },
        }
    }
}

/// The connections' map, mapped.
pub(crate) struct Table {
    family: Family,
    shape: Shape,
    mapping: Mapping,
    /// Numbers that were ever used.
    used: usize,
    /// Where the counts of connections are, once a rule asked for them.
    accts: Map<u32, u32>,
}

impl Table {
    pub(crate) fn open(installed: &Installed) -> Result<Self> {
        let doing = || "map the connections".to_owned();
        let globals: Map<u32, ConnTable> = installed.map(maps::CONN_TABLE)?;
        let used = globals.get(&0).doing(doing)?.map_or(0, |table| table.bump as usize);
        let map = installed.raw_map(maps::CONNS)?;
        let len = map_info(map.as_fd()).doing(doing)?.max_entries as usize;
        let shape = Shape::of(installed.family);
        let mapping = Mapping::new(map.as_fd(), len * shape.size, true).doing(doing)?;
        Ok(Self { family: installed.family, shape, mapping, used: used.min(len), accts: installed.map(maps::ACCTS)? })
    }

    fn u32_at(&self, number: usize, field: usize) -> u32 {
        self.mapping.load_u32(number * self.shape.size + field)
    }

    fn protocol(&self, number: usize) -> u8 {
        self.u32_at(number, self.shape.proto).to_le_bytes()[0]
    }

    /// When a connection began.
    pub(crate) fn born(&self, number: usize) -> u64 {
        self.mapping.load_u64(number * self.shape.size + self.shape.born)
    }

    /// Looks at each that lives at `now`, by number.
    pub(crate) fn each(&self, now: u64, mut look: impl FnMut(Connection)) -> Result<()> {
        let doing = || "read what connections carried".to_owned();
        let map = self.accts.get(&0).doing(doing)?.map(map_by_id).transpose().doing(doing)?;
        let accts: Option<Map<u32, Acct>> = map.map(Map::new).transpose().doing(doing)?;
        let live = |number: &usize| self.u32_at(*number, self.shape.status) & status::LIVE != 0;
        for number in (0..self.used).filter(live) {
            let bytes = self.mapping.copy(number * self.shape.size..(number + 1) * self.shape.size);
            let at = number as u32;
            let found = match self.family {
                Family::V4 => Conn::read_from_bytes(&bytes).ok().and_then(|c| conntrack::describe4(at, &c, now)),
                Family::V6 => Conn6::read_from_bytes(&bytes).ok().and_then(|c| conntrack::describe6(at, &c, now)),
            };
            let Some(mut found) = found else { continue };
            if let Some(accts) = accts.as_ref().filter(|_| found.status & status::ACCT != 0) {
                found.carried = accts.get(&at).doing(doing)?;
            }
            look(found);
        }
        Ok(())
    }

    /// Ends those that live and that `which` says; how many.
    pub(crate) fn end(&self, mut which: impl FnMut(&Self, usize) -> bool) -> usize {
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
