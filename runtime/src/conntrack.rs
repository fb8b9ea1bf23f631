//! Connections as user space sees them, of both families: listed, ended, watched, limited.

use crate::connections::Table;
use crate::engine::Engine;
use crate::error::{Doing, EngineError, Result};
use crate::install::{self, Installed, MOST_CONNECTIONS};
use crate::record;
use crate::sys::ns;
use bpftables_abi::conn::{Acct, Conn, Conn6, Tuple, Tuple6, status};
use bpftables_abi::parts;
use bpftables_ruleset::Family;
use std::collections::HashMap;
use std::net::IpAddr;

/// Bits of a connection's status of which a watcher is told that they changed.
const SHOWN: u32 = status::SEEN_REPLY | status::ASSURED;

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Where its packets come from.
    pub source: IpAddr,
    /// Where they go.
    pub destination: IpAddr,
    /// Protocol.
    pub protocol: u8,
    /// Source port; of ICMP the identifier; zero where there is none.
    pub sport: u16,
    /// Destination port; of ICMP type << 8 | code; zero where there is none.
    pub dport: u16,
}

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Whose addresses it has.
    pub family: Family,
    /// Its number in the family's table.
    pub number: u32,
    /// As its first packet came.
    pub original: Flow,
    /// As answers come.
    pub reply: Flow,
    /// Bits of [`bpftables_abi::conn::status`].
    pub status: u32,
    /// Its mark.
    pub mark: u32,
    /// Its zones: of the original direction, of the reply direction.
    pub zones: [u16; 2],
    /// TCP: `enum tcp_conntrack`; SCTP: `enum sctp_conntrack`.
    pub tcp_state: u8,
    /// SCTP: the verification tags of both directions, original first, as packets bear them.
    pub tags: [u32; 2],
    /// When it began, CLOCK_MONOTONIC in nanoseconds: tells it from others that had or get its number.
    pub born: u64,
    /// Nanoseconds until it ends.
    pub remaining: u64,
    /// What it carried; none if that is not counted: a rule has to ask for it (`-m connbytes`).
    pub carried: Option<Acct>,
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It began.
    New,
    /// Its state, mark, or what is known of its answers changed.
    Updated,
    /// It ended.
    Destroyed,
}

/// The connections at one instant, to be compared with those of the next.
#[derive(Debug, Default)]
pub struct Watched(HashMap<(Family, u32), Connection>);

/// How far a family's table is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableLimit {
    /// Whose connections.
    pub family: Family,
    /// Connections at most.
    pub limit: u32,
    /// What the limit can be raised to while the rules stay; none where no rule asked for tracking yet: the table is made for the limit of then.
    pub room: Option<u32>,
}

/// A family's layout of a tuple.
trait Layout {
    fn flow(&self, icmp: u8) -> Flow;
}

fn flow(source: IpAddr, destination: IpAddr, ports: (u16, u16), protocol: u8, icmp: u8) -> Flow {
    // Type and code of ICMP are in host order.
    let dport = if protocol == icmp { ports.1 } else { u16::from_be(ports.1) };
    Flow { source, destination, protocol, sport: u16::from_be(ports.0), dport }
}

impl Layout for Tuple {
    fn flow(&self, icmp: u8) -> Flow {
        let address = |raw: u32| IpAddr::from(raw.to_ne_bytes());
        flow(address(self.saddr), address(self.daddr), (self.sport, self.dport), self.proto, icmp)
    }
}

impl Layout for Tuple6 {
    fn flow(&self, icmp: u8) -> Flow {
        flow(self.saddr.into(), self.daddr.into(), (self.sport, self.dport), self.proto, icmp)
    }
}

macro_rules! describe {
    ($name:ident, $conn:ty, $family:expr, $icmp:expr) => {
        /// `conn`, number `number`, as it is at `now`; none if it is no connection that lookups find.
        pub(crate) fn $name(number: u32, conn: &$conn, now: u64) -> Option<Connection> {
            let shown = status::LIVE | status::CONFIRMED;
            let lives = conn.status & (shown | status::DYING) == shown && conn.expires > now;
            lives.then(|| Connection {
                family: $family,
                number,
                original: conn.orig.flow($icmp),
                reply: conn.reply.flow($icmp),
                status: conn.status,
                mark: conn.mark,
                zones: [conn.orig.zone, conn.reply.zone],
                tcp_state: conn.tcp_state,
                tags: if conn.orig.proto == 132 { conn.side.map(|side| side.end) } else { [0; 2] },
                born: conn.born,
                remaining: conn.expires - now,
                carried: None,
            })
        }
    };
}

describe!(describe4, Conn, Family::V4, 1);
describe!(describe6, Conn6, Family::V6, 58);

impl Watched {
    /// Goes on to `now`; what changed, ends first, then the rest by when it began.
    fn advance(&mut self, now: Vec<Connection>) -> Vec<(Change, Connection)> {
        let mut before = std::mem::take(&mut self.0);
        let (mut ended, mut others) = (Vec::new(), Vec::new());
        for connection in now {
            let key = (connection.family, connection.number);
            let shown = |c: &Connection| (c.status & SHOWN, c.tcp_state, c.mark);
            match before.remove(&key) {
                Some(old) if old.born == connection.born => {
                    if shown(&old) != shown(&connection) {
                        others.push((Change::Updated, connection));
                    }
                }
                old => {
                    ended.extend(old.map(|old| (Change::Destroyed, old)));
                    others.push((Change::New, connection));
                }
            }
            self.0.insert(key, connection);
        }
        ended.extend(before.into_values().map(|old| (Change::Destroyed, old)));
        let order = |(_, c): &(Change, Connection)| (c.born, c.family as usize, c.number);
        ended.sort_by_key(order);
        others.sort_by_key(order);
        ended.extend(others);
        ended
    }
}

impl Engine {
    /// The connections that live now, IPv4's first, by number.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn conntrack_list(&mut self) -> Result<Vec<Connection>> {
        self.refresh()?;
        let now = ns::monotonic_ns().doing(|| "read the clock".to_owned())?;
        let mut found = Vec::new();
        for family in Family::ALL {
            let Some(installed) = self.installed(family)? else { continue };
            Table::open(&installed)?.each(now, |connection| found.push(connection))?;
        }
        Ok(found)
    }

    /// What changed since `watched` was brought here last; at first, every connection is new.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn conntrack_changes(&mut self, watched: &mut Watched) -> Result<Vec<(Change, Connection)>> {
        Ok(watched.advance(self.conntrack_list()?))
    }

    /// Ends the connections that `which` says; what they were.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn conntrack_delete(&mut self, which: impl Fn(&Connection) -> bool) -> Result<Vec<Connection>> {
        let listed = self.conntrack_list()?;
        let mut ended = Vec::new();
        for family in Family::ALL {
            let Some(installed) = self.installed(family)? else { continue };
            let wanted: HashMap<usize, &Connection> =
                listed.iter().filter(|c| c.family == family && which(c)).map(|c| (c.number as usize, c)).collect();
            Table::open(&installed)?.end(|table, number| {
                // A number may be another connection's by now: those are told apart by when they began.
                let found = wanted.get(&number).filter(|c| table.born(number) == c.born);
                ended.extend(found.map(|c| **c));
                found.is_some()
            });
        }
        Ok(ended)
    }

    /// Ends every connection that our programs keep; how many there were.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn conntrack_flush(&mut self) -> Result<usize> {
        self.refresh()?;
        let mut ended = 0;
        for family in Family::ALL {
            let Some(installed) = self.installed(family)? else { continue };
            ended += Table::open(&installed)?.end(|_, _| true);
        }
        Ok(ended)
    }

    /// The limits of the tables that there are.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn conntrack_limits(&mut self) -> Result<Vec<TableLimit>> {
        self.refresh()?;
        let installed = Family::ALL.into_iter().filter_map(|family| self.installed(family).transpose());
        installed.map(|installed| limit_of(&installed?)).collect()
    }

    /// Connections at most of tables that will be made, and whether somebody set that on this machine: if not, it is `nf_conntrack_max`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn conntrack_limit_to_come(&mut self) -> Result<(u32, bool)> {
        self.refresh()?;
        let recorded = self.home().and_then(|home| record::CONNECTIONS.read(home));
        Ok((install::room_to_come(recorded), recorded.is_some()))
    }

    /// Connections at most, from now on, of tables that will be made (on this machine), and of those of this namespace that have room for so
    /// many. Those that have not are given; they stay as they are.
    ///
    /// # Errors
    /// [`EngineError::Limit`], or what the kernel says.
    pub fn set_conntrack_limit(&mut self, limit: u32) -> Result<Vec<TableLimit>> {
        if !(1..=MOST_CONNECTIONS).contains(&limit) {
            let (got, max) = (u64::from(limit), u64::from(MOST_CONNECTIONS));
            return Err(EngineError::Limit { what: "connections", got, max });
        }
        record::CONNECTIONS.write(&self.made_home()?, limit)?;
        let mut small = Vec::new();
        for family in Family::ALL {
            let Some(installed) = self.installed(family)? else { continue };
            let found = limit_of(&installed)?;
            if found.room.is_some_and(|room| room < limit) {
                small.push(found);
            } else {
                installed.set_max_conns(limit);
            }
        }
        Ok(small)
    }

    /// Tables that will be made are for `nf_conntrack_max` connections again. Those that there are keep their limits.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn forget_conntrack_limit(&mut self) -> Result<()> {
        record::CONNECTIONS.forget(&self.made_home()?)
    }
}

fn limit_of(installed: &Installed) -> Result<TableLimit> {
    let (family, limit) = (installed.family, installed.control().max_conns);
    let room = parts::track(installed.parts).then(|| installed.capacity()).transpose()?;
    Ok(TableLimit { family, limit, room })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(number: u32, born: u64) -> Connection {
        let conn = Conn {
            status: status::LIVE | status::CONFIRMED,
            expires: 10,
            born,
            orig: Tuple { proto: 17, sport: 53_u16.to_be(), ..Tuple::default() },
            ..Conn::default()
        };
        describe4(number, &conn, 3).unwrap()
    }

    #[test]
    fn only_what_lookups_find_is_a_connection() {
        assert_eq!((conn(1, 2).remaining, conn(1, 2).original.sport), (7, 53));
        let mut raw = Conn { status: status::LIVE | status::CONFIRMED, expires: 10, ..Conn::default() };
        assert!(describe4(0, &raw, 10).is_none(), "expired");
        raw.status |= status::DYING;
        assert!(describe4(0, &raw, 0).is_none(), "dying");
        raw.status = status::LIVE;
        assert!(describe4(0, &raw, 0).is_none(), "not confirmed");
    }

    #[test]
    fn icmps_type_and_code_are_as_they_are() {
        let orig = Tuple6 { proto: 58, sport: 7_u16.to_be(), dport: 128 << 8, ..Tuple6::default() };
        assert_eq!((orig.flow(58).sport, orig.flow(58).dport), (7, 128 << 8));
    }

    #[test]
    fn a_watcher_is_told_of_beginnings_changes_and_ends_once() {
        let mut watched = Watched::default();
        let told = |changes: Vec<(Change, Connection)>| -> Vec<(Change, u32, u64)> {
            changes.into_iter().map(|(change, c)| (change, c.number, c.born)).collect()
        };
        assert_eq!(told(watched.advance(vec![conn(1, 5), conn(2, 4)])), [(Change::New, 2, 4), (Change::New, 1, 5)]);
        assert!(watched.advance(vec![conn(1, 5), conn(2, 4)]).is_empty());
        let answered = Connection { status: conn(1, 5).status | status::SEEN_REPLY, ..conn(1, 5) };
        assert_eq!(told(watched.advance(vec![answered, conn(2, 4)])), [(Change::Updated, 1, 5)]);
        // Another connection has the number of one that ended.
        let changes = told(watched.advance(vec![answered, conn(2, 9)]));
        assert_eq!(changes, [(Change::Destroyed, 2, 4), (Change::New, 2, 9)]);
        assert_eq!(told(watched.advance(vec![])), [(Change::Destroyed, 1, 5), (Change::Destroyed, 2, 9)]);
    }
}
