//! The connections that netfilter has tracked so far, taken over when our programs begin to track: what is established stays so.
//!
//! They come by ctnetlink, right before the store of the first commit whose rules track, while no program looks at the table. What begins
//! between the dump and the store is new to our programs: TCP is picked up as amid a connection, as netfilter does.
//!
//! Windows of TCP are not told by netfilter; its next packets begin them, as after an import by ctnetlink. Nor is which device's address
//! MASQUERADE gave.

use crate::conntrack::Flow;
use crate::error::{Doing, Result};
use crate::install::Installed;
use crate::nfnetlink::{self, Attributes, NESTED, Requests};
use crate::sys::bpf::{self, Map};
use crate::sys::mmap::Mapping;
use crate::sys::{ns, xtables};
use bpftables_abi::conn::{Conn, Conn6, KeyPlace, LINE_SPILT, TcpSide, Tuple, Tuple6, TupleLine, status};
use bpftables_abi::maps::{self, ConnTable};
use bpftables_ruleset::{Family, TableKind};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use zerocopy::{Immutable, IntoBytes};

/// ctnetlink, what asks it for its connections, and the attributes that matter (`enum ctattr_*`).
pub(crate) const CTNETLINK: u8 = 1;
const GET: u8 = 1;
pub(crate) const NEW: u8 = 0;
const DELETE: u8 = 2;
pub(crate) const TUPLE_ORIG: u16 = 1;
pub(crate) const TUPLE_REPLY: u16 = 2;
pub(crate) const STATUS: u16 = 3;
pub(crate) const PROTOINFO: u16 = 4;
pub(crate) const TIMEOUT: u16 = 7;
pub(crate) const MARK: u16 = 8;
pub(crate) const ZONE: u16 = 18;
pub(crate) const TUPLE_ZONE: u16 = 3;
pub(crate) const TCP_INFO: u16 = 1;
pub(crate) const SCTP_INFO: u16 = 3;
/// nf_tables and what asks it for its tables.
const NFTABLES: u8 = 10;
const GET_TABLES: u8 = 1;
/// What our programs mean by the same bits.
const TAKEN: u32 = status::SEEN_REPLY | status::ASSURED | status::CONFIRMED | status::SRC_NAT | status::DST_NAT;
const NAT: u32 = status::SRC_NAT | status::DST_NAT;
const NAT_DONE: u32 = status::SRC_NAT_DONE | status::DST_NAT_DONE;
/// Flags of a TCP direction: of the highest acknowledgement, which is not told.
const MAXACK_SET: u8 = 0x20;
const SECOND: u64 = 1_000_000_000;

/// A connection as netfilter tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Theirs {
    original: Flow,
    reply: Flow,
    status: u32,
    seconds: u32,
    mark: u32,
    /// Of the original direction, of the reply direction.
    zones: [u16; 2],
    /// Of TCP and SCTP.
    state: u8,
    /// TCP: window scale and flags, original first.
    sides: [(u8, u8); 2],
    /// SCTP: verification tags, original first, as packets bear them.
    tags: [u32; 2],
}

/// What was taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Imported {
    /// Connections that are ours too now.
    pub(crate) taken: usize,
    /// Translated ones that netfilter, whose tables are in force, goes on to translate.
    pub(crate) left: usize,
    /// Those that there was no room for.
    pub(crate) dropped: usize,
}

/// Takes over what netfilter tracks. The caller holds the locks of a commit, the live image does not track, and no connection was ever made.
///
/// `adopting`: netfilter ends translating before another packet comes.
pub(crate) fn import(installed: &Installed, adopting: bool) -> Result<Imported> {
    let family = installed.family;
    let mut theirs = theirs(family).doing(|| "list the connections of netfilter".to_owned())?;
    let mut imported = Imported::default();
    if theirs.is_empty() {
        return Ok(imported);
    }
    if !adopting
        && theirs.iter().any(|c| c.status & NAT != 0)
        && in_force(family).doing(|| "look for netfilter's tables".to_owned())?
    {
        let before = theirs.len();
        theirs.retain(|c| c.status & NAT == 0);
        imported.left = before - theirs.len();
    }
    // If not all fit, those that are established.
    theirs.sort_by_key(|c| c.status & status::ASSURED == 0);
    let room = installed.control().max_conns as usize;
    let all = theirs.len();
    theirs.truncate(room);
    let now = ns::monotonic_ns().doing(|| "read the clock".to_owned())?;
    imported.taken = match family {
        Family::V4 => fill(installed, &theirs, |c| conn4(c, now), Tuple::place),
        Family::V6 => fill(installed, &theirs, |c| conn6(c, now), Tuple6::place),
    }
    .doing(|| "take over the connections of netfilter".to_owned())?;
    imported.dropped = all - imported.taken;
    Ok(imported)
}

/// A family's connection, and the keys that lead to it: original, reply, and between both translations.
type Entry<C, T> = (C, T, Option<T>, Option<T>);

/// The table of tuples, as it is filled.
struct Tuples(Vec<TupleLine>);

impl Tuples {
    /// Stores into the first way of a key's lines that is `from`. False: there is none.
    fn swap(&mut self, place: &KeyPlace, from: u64, to: u64) -> bool {
        for line in place.lines {
            let line = &mut self.0[line as usize];
            if let Some(way) = line.ways.iter_mut().find(|way| **way == from) {
                *way = to;
                return true;
            }
            line.head |= LINE_SPILT;
        }
        false
    }

    /// Puts a connection's keys in, each with its direction; all of them, or none where one finds no room.
    fn claim(&mut self, number: usize, keys: &[(KeyPlace, u64)]) -> bool {
        let way = |(place, direction): &(KeyPlace, u64)| place.like | ((((number as u64) << 1) | direction) + 2);
        let Some(full) = keys.iter().position(|key| !self.swap(&key.0, 0, way(key))) else { return true };
        for key in &keys[..full] {
            self.swap(&key.0, way(key), 0);
        }
        false
    }
}

/// Fills the tables; how many connections found room.
fn fill<C, T>(
    installed: &Installed,
    theirs: &[Theirs],
    entry: impl Fn(&Theirs) -> Entry<C, T>,
    place: impl Fn(&T, u64, u32) -> KeyPlace,
) -> io::Result<usize>
where
    C: IntoBytes + Immutable,
{
    let other = |e: crate::EngineError| io::Error::other(e.to_string());
    let conns = installed.raw_map(maps::CONNS).map_err(other)?;
    let lines = installed.raw_map(maps::TUPLES).map_err(other)?;
    let globals: Map<u32, ConnTable> = installed.map(maps::CONN_TABLE).map_err(other)?;
    let rooms = bpf::map_info(conns.as_fd())?.max_entries as usize;
    let mapping = Mapping::new(conns.as_fd(), rooms * size_of::<C>(), true)?;
    let control = installed.control();
    let mask = control.tuple_mask;
    let seed = u64::from(control.magic) << 32 | u64::from(control.seed);
    let mut tuples = Tuples(vec![TupleLine::default(); mask as usize + 1]);
    let mut used = 0;
    for theirs in theirs {
        let (conn, original, reply, middle) = entry(theirs);
        let keys: Vec<(KeyPlace, u64)> = [(Some(original), 0), (reply, 1), (middle, 0)]
            .into_iter()
            .filter_map(|(key, direction)| Some((place(&key?, seed, mask), direction)))
            .collect();
        if tuples.claim(used, &keys) {
            mapping.write(used * size_of::<C>(), conn.as_bytes());
            used += 1;
        }
    }
    Mapping::new(lines.as_fd(), tuples.0.as_bytes().len(), true)?.write(0, tuples.0.as_bytes());
    globals.set(&0, &ConnTable { bump: used as u32, cursor: 0, live: used as u32, limits: 0 })?;
    Ok(used)
}

macro_rules! translate {
    ($name:ident, $tuple:ident, $conn:ident, $icmp:expr, $address:expr) => {
        fn $name(theirs: &Theirs, now: u64) -> Entry<$conn, $tuple> {
            let tuple = |flow: &Flow, zone: u16| $tuple {
                saddr: $address(flow.source),
                daddr: $address(flow.destination),
                sport: flow.sport.to_be(),
                dport: if flow.protocol == $icmp { flow.dport } else { flow.dport.to_be() },
                proto: flow.protocol,
                zone,
                ..$tuple::default()
            };
            let (orig, reply) = (tuple(&theirs.original, theirs.zones[0]), tuple(&theirs.reply, theirs.zones[1]));
            let own = orig == reply;
            let both = theirs.status & NAT == NAT;
            let middle = both.then(|| {
                let icmp = orig.proto == $icmp;
                $tuple {
                    daddr: reply.saddr,
                    sport: if icmp { reply.sport } else { orig.sport },
                    dport: if icmp { orig.dport } else { reply.sport },
                    kind: 1,
                    zone: 0,
                    ..orig
                }
            });
            let keys =
                status::KEY_ORIG | if own { 0 } else { status::KEY_REPLY } | if both { status::KEY_MID } else { 0 };
            let side = |n: usize| {
                let (scale, flags) = theirs.sides[n];
                TcpSide { scale, flags: flags & !MAXACK_SET, end: theirs.tags[n], ..TcpSide::default() }
            };
            let conn = $conn {
                orig,
                reply,
                status: theirs.status & TAKEN | NAT_DONE | status::CONFIRMED | status::LIVE | keys,
                mark: theirs.mark,
                expires: now + u64::from(theirs.seconds) * SECOND,
                side: [side(0), side(1)],
                tcp_state: theirs.state,
                // TCPI_NONE: no packet was seen.
                last_index: 5,
                dnat_slot: u32::MAX,
                stream_ts: now + 2 * SECOND,
                born: now,
                ..$conn::default()
            };
            (conn, orig, (!own).then_some(reply), middle)
        }
    };
}

const fn raw4(addr: IpAddr) -> u32 {
    match addr {
        IpAddr::V4(addr) => u32::from_ne_bytes(addr.octets()),
        IpAddr::V6(_) => 0,
    }
}

const fn raw6(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V6(addr) => addr.octets(),
        IpAddr::V4(_) => [0; 16],
    }
}

translate!(conn4, Tuple, Conn, 1, raw4);
translate!(conn6, Tuple6, Conn6, 58, raw6);

/// `NFPROTO_*`.
pub(crate) const fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// All connections of a family.
fn theirs(family: Family) -> io::Result<Vec<Theirs>> {
    let messages = match nfnetlink::dump(CTNETLINK, GET, number(family)) {
        // A kernel without ctnetlink.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT)) => {
            Vec::new()
        }
        messages => messages?,
    };
    Ok(messages.iter().filter_map(|message| parse(message.attributes())).collect())
}

fn be32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

fn parse(all: Attributes<'_>) -> Option<Theirs> {
    let original = flow(Attributes(all.get(TUPLE_ORIG)?))?;
    let reply = flow(Attributes(all.get(TUPLE_REPLY)?))?;
    let status = all.get(STATUS).and_then(be32)?;
    let seconds = all.get(TIMEOUT).and_then(be32).filter(|seconds| *seconds > 0)?;
    if status & status::DYING != 0 {
        return None;
    }
    // A zone of both directions is told once, one of a single direction in its tuple.
    let zone = |attributes: Attributes<'_>, kind: u16| Some(u16::from_be_bytes(attributes.get(kind)?.try_into().ok()?));
    let both = zone(all, ZONE);
    let of = |kind: u16| both.or_else(|| zone(Attributes(all.get(kind)?), TUPLE_ZONE)).unwrap_or(0);
    let zones = [of(TUPLE_ORIG), of(TUPLE_REPLY)];
    let info = all.get(PROTOINFO).map(Attributes);
    let tcp = info.and_then(|info| info.get(TCP_INFO)).map(Attributes);
    let sctp = info.and_then(|info| info.get(SCTP_INFO)).map(Attributes);
    let byte = |kind: u16| tcp.and_then(|tcp| tcp.get(kind)?.first().copied()).unwrap_or(0);
    // State; window scales; flags, each with its mask.
    let (tcp_state, sides) = (byte(1), [(byte(2), byte(4)), (byte(3), byte(5))]);
    let tag = |kind: u16| sctp.and_then(|sctp| Some(u32::from_ne_bytes(sctp.get(kind)?.try_into().ok()?))).unwrap_or(0);
    let state = sctp.and_then(|sctp| sctp.get(1)?.first().copied()).unwrap_or(tcp_state);
    let mark = all.get(MARK).and_then(be32).unwrap_or(0);
    Some(Theirs { original, reply, status, seconds, mark, zones, state, sides, tags: [tag(2), tag(3)] })
}

fn flow(tuple: Attributes<'_>) -> Option<Flow> {
    let (ip, upper) = (Attributes(tuple.get(1)?), Attributes(tuple.get(2)?));
    let v4 = |kind: u16| Some(IpAddr::from(<[u8; 4]>::try_from(ip.get(kind)?).ok()?));
    let v6 = |kind: u16| Some(IpAddr::from(<[u8; 16]>::try_from(ip.get(kind)?).ok()?));
    let word = |kind: u16| Some(u16::from_be_bytes(upper.get(kind)?.try_into().ok()?));
    let byte = |kind: u16| upper.get(kind)?.first().copied();
    let protocol = byte(1)?;
    let icmp = |id: u16| Some((word(id)?, u16::from(byte(id + 1)?) << 8 | u16::from(byte(id + 2)?)));
    let (sport, dport) = match protocol {
        1 => icmp(4)?,
        58 => icmp(7)?,
        _ => (word(2).unwrap_or(0), word(3).unwrap_or(0)),
    };
    Some(Flow { source: v4(1).or_else(|| v6(3))?, destination: v4(2).or_else(|| v6(4))?, protocol, sport, dport })
}

/// Ends the connections that netfilter translates; how many there were.
pub(crate) fn forget_translated(family: Family) -> io::Result<usize> {
    let messages = match nfnetlink::dump(CTNETLINK, GET, number(family)) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT)) => {
            return Ok(0);
        }
        messages => messages?,
    };
    let mut requests = Requests::open()?;
    let mut ended = 0;
    for message in &messages {
        let all = message.attributes();
        let translated = all.get(STATUS).and_then(be32).is_some_and(|status| status & NAT != 0);
        let Some(tuple) = all.get(TUPLE_ORIG).filter(|_| translated) else { continue };
        let mut which = nfnetlink::attribute(TUPLE_ORIG | NESTED, tuple);
        which.extend(all.get(ZONE).map(|zone| nfnetlink::attribute(ZONE, zone)).unwrap_or_default());
        match requests.send(CTNETLINK, DELETE, number(family), 0, &which) {
            Ok(()) => ended += 1,
            // It ended by itself.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(ended)
}

/// Whether netfilter has rules for a family: then it may track, and translate what it translated so far.
fn in_force(family: Family) -> io::Result<bool> {
    let tables = match nfnetlink::dump(NFTABLES, GET_TABLES, 0) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT)) => {
            Vec::new()
        }
        tables => tables?,
    };
    // 1: inet, of both families.
    if tables.iter().any(|table| table.family == 1 || table.family == number(family)) {
        return Ok(true);
    }
    let names = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    // Asking for a table would make it; those that are named are there.
    let names = std::fs::read_to_string(names).unwrap_or_default();
    for table in names.lines().filter(|name| TableKind::from_name(name).is_some()) {
        if xtables::has_rules(family == Family::V6, table)? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nfnetlink::attribute;

    fn tuple(kind: u16, from: [u8; 4], to: [u8; 4], sport: u16, dport: u16) -> Vec<u8> {
        let ip = attribute(1, &[attribute(1, &from), attribute(2, &to)].concat());
        let upper =
            [attribute(1, &[6]), attribute(2, &sport.to_be_bytes()), attribute(3, &dport.to_be_bytes())].concat();
        attribute(kind, &[ip, attribute(2, &upper)].concat())
    }

    fn message(status: u32) -> Vec<u8> {
        let tcp = attribute(TCP_INFO, &[attribute(1, &[3]), attribute(2, &[7]), attribute(5, &[0x23, 0xff])].concat());
        [
            tuple(TUPLE_ORIG, [10, 0, 0, 1], [10, 96, 0, 1], 4000, 80),
            tuple(TUPLE_REPLY, [10, 1, 0, 5], [10, 2, 0, 9], 8080, 4001),
            attribute(STATUS, &status.to_be_bytes()),
            attribute(TIMEOUT, &60_u32.to_be_bytes()),
            attribute(PROTOINFO, &tcp),
        ]
        .concat()
    }

    #[test]
    fn a_translated_connection_gets_its_keys_and_state() {
        let theirs =
            parse(Attributes(&message(status::SEEN_REPLY | status::ASSURED | status::CONFIRMED | NAT))).unwrap();
        let (conn, original, reply, middle) = conn4(&theirs, 5);
        assert_eq!((conn.tcp_state, conn.side[0].scale, conn.side[1].flags), (3, 7, 3));
        assert_eq!(conn.expires, 60 * SECOND + 5);
        assert_eq!(conn.status & (NAT | NAT_DONE), NAT | NAT_DONE);
        assert_eq!((original.dport, reply.map(|r| r.sport)), (80_u16.to_be(), Some(8080_u16.to_be())));
        let middle = middle.expect("both translations");
        assert_eq!((middle.saddr, middle.sport), (original.saddr, original.sport));
        assert_eq!((middle.daddr, middle.dport, middle.kind), (conn.reply.saddr, conn.reply.sport, 1));
    }

    #[test]
    fn what_ends_is_not_taken_and_zones_are_those_of_their_directions() {
        let good = message(status::CONFIRMED);
        assert_eq!(parse(Attributes(&good)).unwrap().zones, [0, 0]);
        assert!(parse(Attributes(&message(status::CONFIRMED | status::DYING))).is_none());
        let both = parse(Attributes(&[good.clone(), attribute(ZONE, &[1, 3])].concat())).unwrap();
        assert_eq!(both.zones, [259, 259]);
        let mut reply = tuple(TUPLE_REPLY, [10, 1, 0, 5], [10, 2, 0, 9], 8080, 4001);
        let zone = attribute(TUPLE_ZONE, &[0, 3]);
        let length = (reply.len() + zone.len()) as u16;
        reply[..2].copy_from_slice(&length.to_ne_bytes());
        let start = tuple(TUPLE_ORIG, [10, 0, 0, 1], [10, 96, 0, 1], 4000, 80).len();
        let changed = [&good[..start], &reply, &zone, &good[start + reply.len()..]].concat();
        let (conn, original, reply, _) = conn4(&parse(Attributes(&changed)).unwrap(), 0);
        assert_eq!((original.zone, reply.map(|r| r.zone), conn.reply.zone), (0, Some(3), 3));
    }
}
