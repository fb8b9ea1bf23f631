//! Connections as text: conntrack(8)'s lines, or JSON.

use bpftables_abi::conn::status;
use bpftables_abi::image::hash;
use bpftables_ruleset::Family;
use bpftables_runtime::{Change, Connection as Found, Flow};
use clap::ValueEnum;
use serde::Serialize;
use std::fmt::Write as _;
use std::net::IpAddr;

pub(crate) const TCP: u8 = 6;
pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMPV6: u8 = 58;

/// By `enum tcp_conntrack`.
pub(crate) const TCP_STATES: &[&str] = &[
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
];

pub(crate) const SCTP: u8 = 132;

/// By `enum sctp_conntrack`.
pub(crate) const SCTP_STATES: &[&str] = &[
    "NONE",
    "CLOSED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "ESTABLISHED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "HEARTBEAT_SENT",
];

/// Whether a protocol has ports.
pub(crate) const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | 17 | 33 | SCTP | 136)
}

/// The state of a connection of TCP or SCTP.
#[must_use]
pub fn state(conn: &Found) -> Option<&'static str> {
    let states = match conn.original.protocol {
        TCP => TCP_STATES,
        SCTP => SCTP_STATES,
        _ => return None,
    };
    Some(states.get(usize::from(conn.tcp_state)).copied().unwrap_or("NONE"))
}

/// What lines tell more than they do at first, as conntrack(8) calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Detail {
    /// The family before the protocol.
    Extended,
    /// A number at the end that tells the connection from others.
    Id,
    /// Of events: when they were seen, in seconds since 1970.
    Timestamp,
}

/// A connection for people and programs.
#[derive(Debug, Serialize)]
pub struct Connection {
    /// Tells it from those that had or get its place.
    id: u32,
    family: &'static str,
    protocol: &'static str,
    protocol_number: u8,
    /// Seconds until it ends.
    timeout: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    original: Direction,
    reply: Direction,
    replied: bool,
    assured: bool,
    source_nat: bool,
    destination_nat: bool,
    mark: u32,
    /// Of both directions; one of a single direction stands there.
    #[serde(skip_serializing_if = "is_zero")]
    zone: u16,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(zone: &u16) -> bool {
    *zone == 0
}

#[derive(Debug, Serialize)]
struct Direction {
    source: IpAddr,
    destination: IpAddr,
    #[serde(flatten)]
    upper: Option<Upper>,
    #[serde(skip_serializing_if = "is_zero")]
    zone: u16,
    #[serde(flatten)]
    carried: Option<Carried>,
}

/// What went in a direction.
#[derive(Debug, Serialize)]
struct Carried {
    packets: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Upper {
    Ports { source_port: u16, destination_port: u16 },
    Icmp { icmp_type: u8, icmp_code: u8, icmp_id: u16 },
}

impl Direction {
    fn new(flow: &Flow, zone: u16, carried: Option<Carried>) -> Self {
        let upper = match flow.protocol {
            number if has_ports(number) => Some(Upper::Ports { source_port: flow.sport, destination_port: flow.dport }),
            ICMP | ICMPV6 => {
                let [icmp_type, icmp_code] = flow.dport.to_be_bytes();
                Some(Upper::Icmp { icmp_type, icmp_code, icmp_id: flow.sport })
            }
            _ => None,
        };
        Self { source: flow.source, destination: flow.destination, upper, zone, carried }
    }

    fn write(&self, name: &str, carried: bool, out: &mut String) {
        // Writing to a string cannot fail.
        let _ = write!(out, "src={} dst={} ", self.source, self.destination);
        let _ = match self.upper {
            Some(Upper::Ports { source_port, destination_port }) => {
                write!(out, "sport={source_port} dport={destination_port} ")
            }
            Some(Upper::Icmp { icmp_type, icmp_code, icmp_id }) => {
                write!(out, "type={icmp_type} code={icmp_code} id={icmp_id} ")
            }
            None => Ok(()),
        };
        if self.zone != 0 {
            let _ = write!(out, "zone-{name}={} ", self.zone);
        }
        if let Some(Carried { packets, bytes }) = self.carried.as_ref().filter(|_| carried) {
            let _ = write!(out, "packets={packets} bytes={bytes} ");
        }
    }
}

impl Connection {
    /// Describes `conn`.
    #[must_use]
    pub fn new(conn: &Found) -> Self {
        let number = conn.original.protocol;
        let protocol = match number {
            ICMP => "icmp",
            TCP => "tcp",
            17 => "udp",
            33 => "dccp",
            47 => "gre",
            ICMPV6 => "icmpv6",
            132 => "sctp",
            136 => "udplite",
            _ => "unknown",
        };
        let has = |bit| conn.status & bit != 0;
        let [original, reply] = conn.zones;
        let zone = if original == reply { original } else { 0 };
        let carried = |direction: usize| {
            conn.carried.map(|all| Carried { packets: all.packets[direction], bytes: all.bytes[direction] })
        };
        Self {
            id: hash(conn.born, u64::from(conn.number) << 1 | conn.family as u64) as u32,
            family: match conn.family {
                Family::V4 => "ipv4",
                Family::V6 => "ipv6",
            },
            protocol,
            protocol_number: number,
            timeout: conn.remaining / 1_000_000_000,
            state: state(conn),
            original: Direction::new(&conn.original, original - zone, carried(0)),
            reply: Direction::new(&conn.reply, reply - zone, carried(1)),
            replied: has(status::SEEN_REPLY),
            assured: has(status::ASSURED),
            source_nat: has(status::SRC_NAT),
            destination_nat: has(status::DST_NAT),
            mark: conn.mark,
            zone,
        }
    }

    /// As conntrack(8) prints it, without line end.
    #[must_use]
    pub fn line(&self, details: &[Detail]) -> String {
        let mut out = self.body(true, true, details);
        // Writing to a string cannot fail.
        let _ = write!(out, "mark={} ", self.mark);
        if self.zone != 0 {
            let _ = write!(out, "zone={} ", self.zone);
        }
        out.push_str("use=1");
        self.end(details, &mut out);
        out
    }

    /// As `conntrack -E` prints that this became of it: a line without its end.
    #[must_use]
    pub fn event(&self, change: Change, details: &[Detail]) -> String {
        let name = match change {
            Change::New => "[NEW]",
            Change::Updated => "[UPDATE]",
            Change::Destroyed => "[DESTROY]",
        };
        // What it carried is told at its end alone.
        let ended = change == Change::Destroyed;
        let mut out = format!("{name:>9} {}", self.body(!ended, ended, details));
        if self.mark != 0 {
            // Writing to a string cannot fail.
            let _ = write!(out, "mark={} ", self.mark);
        }
        if self.zone != 0 {
            let _ = write!(out, "zone={}", self.zone);
        }
        out.truncate(out.trim_end().len());
        self.end(details, &mut out);
        out
    }

    /// What lines end with.
    fn end(&self, details: &[Detail], out: &mut String) {
        if details.contains(&Detail::Id) {
            // Writing to a string cannot fail.
            let _ = write!(out, " id={}", self.id);
        }
    }

    /// What lines begin with, a space at the end.
    fn body(&self, timeout: bool, carried: bool, details: &[Detail]) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        if details.contains(&Detail::Extended) {
            let number = if self.family == "ipv4" { libc::AF_INET } else { libc::AF_INET6 };
            let _ = write!(out, "{:<8} {number} ", self.family);
        }
        let _ = write!(out, "{:<8} {} ", self.protocol, self.protocol_number);
        if timeout {
            let _ = write!(out, "{} ", self.timeout);
        }
        if let Some(state) = self.state {
            let _ = write!(out, "{state} ");
        }
        self.original.write("orig", carried, &mut out);
        if !self.replied {
            out.push_str("[UNREPLIED] ");
        }
        self.reply.write("reply", carried, &mut out);
        if self.assured {
            out.push_str("[ASSURED] ");
        }
        out
    }
}

/// What became of a connection, for programs.
#[derive(Debug, Serialize)]
pub struct Event {
    event: &'static str,
    #[serde(flatten)]
    connection: Connection,
}

impl Event {
    /// Describes that `change` became of `connection`.
    #[must_use]
    pub const fn new(change: Change, connection: Connection) -> Self {
        let event = match change {
            Change::New => "new",
            Change::Updated => "update",
            Change::Destroyed => "destroy",
        };
        Self { event, connection }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpftables_abi::conn::Acct;

    fn flow(source: &str, destination: &str, sport: u16, dport: u16, protocol: u8) -> Flow {
        Flow { source: source.parse().unwrap(), destination: destination.parse().unwrap(), protocol, sport, dport }
    }

    fn found(original: Flow, reply: Flow, status: u32) -> Found {
        let family = if original.source.is_ipv4() { Family::V4 } else { Family::V6 };
        Found {
            family,
            number: 0,
            original,
            reply,
            status,
            mark: 0,
            zones: [0, 0],
            tcp_state: 3,
            tags: [0, 0],
            born: 0,
            remaining: 29_500_000_000,
            carried: None,
        }
    }

    #[test]
    fn a_translated_tcp_connection_reads_as_conntrack_prints_it() {
        let conn = Found {
            mark: 5,
            remaining: 431_999_500_000_000,
            ..found(
                flow("10.0.0.1", "10.96.0.10", 40000, 80, 6),
                flow("10.244.1.5", "10.0.0.1", 8080, 40000, 6),
                status::SEEN_REPLY | status::ASSURED | status::DST_NAT | status::LIVE,
            )
        };
        let connection = Connection::new(&conn);
        assert_eq!(
            connection.line(&[]),
            "tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.96.0.10 sport=40000 dport=80 src=10.244.1.5 dst=10.0.0.1 \
             sport=8080 dport=40000 [ASSURED] mark=5 use=1"
        );
        assert_eq!(
            connection.event(Change::Destroyed, &[]),
            "[DESTROY] tcp      6 ESTABLISHED src=10.0.0.1 dst=10.96.0.10 sport=40000 dport=80 src=10.244.1.5 dst=10.0.0.1 \
             sport=8080 dport=40000 [ASSURED] mark=5"
        );
        let json = serde_json::to_value(Event::new(Change::Updated, connection)).unwrap();
        assert_eq!((&json["event"], &json["family"]), (&"update".into(), &"ipv4".into()));
        assert_eq!(json["original"]["destination_port"], 80);
        assert_eq!(json["reply"]["source"], "10.244.1.5");
        assert_eq!(json["destination_nat"], true);
    }

    #[test]
    fn icmp_and_unreplied_connections_read_as_conntrack_prints_them() {
        let conn = found(flow("10.0.0.1", "10.0.0.2", 77, 8 << 8, 1), flow("10.0.0.2", "10.0.0.1", 77, 0, 1), 0);
        assert_eq!(
            Connection::new(&conn).line(&[]),
            "icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=77 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 type=0 \
             code=0 id=77 mark=0 use=1"
        );
    }

    /// Lines of conntrack 1.4.7.
    #[test]
    fn connections_of_ipv6_and_events_read_as_conntrack_prints_them() {
        let (there, back) =
            (flow("fd00::1", "fd00::1", 25770, 128 << 8, 58), flow("fd00::1", "fd00::1", 25770, 129 << 8, 58));
        assert_eq!(
            Connection::new(&found(there, back, status::SEEN_REPLY)).line(&[]),
            "icmpv6   58 29 src=fd00::1 dst=fd00::1 type=128 code=0 id=25770 src=fd00::1 dst=fd00::1 type=129 code=0 id=25770 \
             mark=0 use=1"
        );
        let (there, back) = (flow("fd00::1", "fd00::1", 9999, 9998, 17), flow("fd00::1", "fd00::1", 9998, 9999, 17));
        assert_eq!(
            Connection::new(&found(there, back, 0)).event(Change::New, &[]),
            "    [NEW] udp      17 29 src=fd00::1 dst=fd00::1 sport=9999 dport=9998 [UNREPLIED] src=fd00::1 dst=fd00::1 \
             sport=9998 dport=9999"
        );
        let (there, back) = (flow("127.0.0.1", "127.0.0.1", 1, 2, 6), flow("127.0.0.1", "127.0.0.1", 2, 1, 6));
        assert_eq!(
            Connection::new(&found(there, back, status::SEEN_REPLY | status::ASSURED)).event(Change::Updated, &[]),
            " [UPDATE] tcp      6 29 ESTABLISHED src=127.0.0.1 dst=127.0.0.1 sport=1 dport=2 src=127.0.0.1 dst=127.0.0.1 sport=2 \
             dport=1 [ASSURED]"
        );
    }

    /// Lines of conntrack 1.4.7.
    #[test]
    fn zones_stand_where_conntrack_prints_them() {
        let (there, back) = (flow("127.0.0.1", "127.0.0.1", 888, 1, 17), flow("127.0.0.1", "127.0.0.1", 1, 888, 17));
        let line = |zones: [u16; 2]| {
            let connection = Connection::new(&Found { zones, ..found(there, back, 0) });
            (connection.line(&[]), connection.event(Change::New, &[]))
        };
        let start = "udp      17 29 src=127.0.0.1 dst=127.0.0.1 sport=888 dport=1";
        let reply = "[UNREPLIED] src=127.0.0.1 dst=127.0.0.1 sport=1 dport=888";
        let (listed, told) = line([9, 9]);
        assert_eq!(listed, format!("{start} {reply} mark=0 zone=9 use=1"));
        assert_eq!(told, format!("    [NEW] {start} {reply} zone=9"));
        let (listed, told) = line([6, 0]);
        assert_eq!(listed, format!("{start} zone-orig=6 {reply} mark=0 use=1"));
        assert_eq!(told, format!("    [NEW] {start} zone-orig=6 {reply}"));
        assert_eq!(line([0, 7]).0, format!("{start} {reply} zone-reply=7 mark=0 use=1"));
    }

    /// Lines of conntrack 1.4.7, but for the numbers after `id=`.
    #[test]
    fn what_was_carried_and_details_stand_where_conntrack_prints_them() {
        let (there, back) = (flow("127.0.0.1", "127.0.0.1", 888, 1, 17), flow("127.0.0.1", "127.0.0.1", 1, 888, 17));
        let carried = Some(Acct { packets: [1, 0], bytes: [29, 0] });
        let conn = Found { carried, zones: [6, 0], ..found(there, back, 0) };
        let connection = Connection::new(&conn);
        let there = "src=127.0.0.1 dst=127.0.0.1 sport=888 dport=1 zone-orig=6";
        let back = "[UNREPLIED] src=127.0.0.1 dst=127.0.0.1 sport=1 dport=888";
        let counted = format!("{there} packets=1 bytes=29 {back} packets=0 bytes=0");
        assert_eq!(connection.line(&[]), format!("udp      17 29 {counted} mark=0 use=1"));
        let (both, id) = ([Detail::Extended, Detail::Id], connection.id);
        assert_eq!(connection.line(&both), format!("ipv4     2 udp      17 29 {counted} mark=0 use=1 id={id}"));
        assert_eq!(
            connection.event(Change::New, &both),
            format!("    [NEW] ipv4     2 udp      17 29 {there} {back} id={id}")
        );
        assert_eq!(connection.event(Change::Destroyed, &[]), format!("[DESTROY] udp      17 {counted}"));
        let json = serde_json::to_value(&connection).unwrap();
        assert_eq!((&json["original"]["bytes"], &json["reply"]["packets"]), (&29.into(), &0.into()));
        // Another that got its place is another one.
        assert_ne!(Connection::new(&Found { born: 1, ..conn }).id, id);
        let six = found(flow("::1", "::1", 9, 9, 17), flow("::1", "::1", 9, 9, 17), 0);
        assert!(Connection::new(&six).line(&both).starts_with("ipv6     10 udp      17 29 src=::1"));
    }

    #[test]
    fn a_protocol_without_ports_shows_addresses_only() {
        let conn = found(flow("1.1.1.1", "2.2.2.2", 0, 0, 50), flow("2.2.2.2", "1.1.1.1", 0, 0, 50), 0);
        assert!(
            Connection::new(&conn).line(&[]).starts_with("unknown  50 29 src=1.1.1.1 dst=2.2.2.2 [UNREPLIED] src=")
        );
    }
}
