//! Connections as text: conntrack(8)'s lines, or JSON.

use bpftables_abi::conn::{Conn, Tuple, status};
use serde::Serialize;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

const TCP: u8 = 6;
const ICMP: u8 = 1;

const TCP_STATES: &[&str] = &[
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

/// The state of a TCP connection.
#[must_use]
pub fn state(conn: &Conn) -> Option<&'static str> {
    (conn.orig.proto == TCP).then(|| TCP_STATES.get(usize::from(conn.tcp_state)).copied().unwrap_or("NONE"))
}

/// A connection for people and programs.
#[derive(Debug, Serialize)]
pub struct Connection {
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
}

#[derive(Debug, Serialize)]
struct Direction {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    #[serde(flatten)]
    upper: Option<Upper>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Upper {
    Ports { source_port: u16, destination_port: u16 },
    Icmp { icmp_type: u8, icmp_code: u8, icmp_id: u16 },
}

impl Direction {
    fn new(tuple: &Tuple) -> Self {
        let address = |raw: u32| Ipv4Addr::from(raw.to_ne_bytes());
        let upper = match tuple.proto {
            TCP | 17 | 33 | 132 | 136 => Some(Upper::Ports {
                source_port: u16::from_be(tuple.sport),
                destination_port: u16::from_be(tuple.dport),
            }),
            ICMP => {
                let [icmp_type, icmp_code] = tuple.dport.to_be_bytes();
                Some(Upper::Icmp { icmp_type, icmp_code, icmp_id: u16::from_be(tuple.sport) })
            }
            _ => None,
        };
        Self { source: address(tuple.saddr), destination: address(tuple.daddr), upper }
    }

    fn write(&self, out: &mut String) {
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
    }
}

impl Connection {
    /// Describes `conn`, which ends in `remaining` nanoseconds.
    #[must_use]
    pub fn new(conn: &Conn, remaining: u64) -> Self {
        let number = conn.orig.proto;
        let protocol = match number {
            ICMP => "icmp",
            TCP => "tcp",
            17 => "udp",
            33 => "dccp",
            47 => "gre",
            132 => "sctp",
            136 => "udplite",
            _ => "unknown",
        };
        let has = |bit| conn.status & bit != 0;
        Self {
            protocol,
            protocol_number: number,
            timeout: remaining / 1_000_000_000,
            state: state(conn),
            original: Direction::new(&conn.orig),
            reply: Direction::new(&conn.reply),
            replied: has(status::SEEN_REPLY),
            assured: has(status::ASSURED),
            source_nat: has(status::SRC_NAT),
            destination_nat: has(status::DST_NAT),
            mark: conn.mark,
        }
    }

    /// As conntrack(8) prints it, without line end.
    #[must_use]
    pub fn line(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = write!(out, "{:<8} {} {} ", self.protocol, self.protocol_number, self.timeout);
        if let Some(state) = self.state {
            let _ = write!(out, "{state} ");
        }
        self.original.write(&mut out);
        if !self.replied {
            out.push_str("[UNREPLIED] ");
        }
        self.reply.write(&mut out);
        if self.assured {
            out.push_str("[ASSURED] ");
        }
        let _ = write!(out, "mark={} use=1", self.mark);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(source: [u8; 4], destination: [u8; 4], sport: u16, dport: u16, proto: u8) -> Tuple {
        Tuple {
            saddr: u32::from_ne_bytes(source),
            daddr: u32::from_ne_bytes(destination),
            sport: sport.to_be(),
            dport: dport.to_be(),
            proto,
            pad: [0; 3],
        }
    }

    #[test]
    fn a_translated_tcp_connection_reads_as_conntrack_prints_it() {
        let conn = Conn {
            orig: tuple([10, 0, 0, 1], [10, 96, 0, 10], 40000, 80, 6),
            reply: tuple([10, 244, 1, 5], [10, 0, 0, 1], 8080, 40000, 6),
            status: status::SEEN_REPLY | status::ASSURED | status::DST_NAT | status::LIVE,
            mark: 5,
            tcp_state: 3,
            ..Conn::default()
        };
        let connection = Connection::new(&conn, 431_999_500_000_000);
        assert_eq!(
            connection.line(),
            "tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.96.0.10 sport=40000 dport=80 src=10.244.1.5 dst=10.0.0.1 \
             sport=8080 dport=40000 [ASSURED] mark=5 use=1"
        );
        let json = serde_json::to_value(&connection).unwrap();
        assert_eq!(json["original"]["destination_port"], 80);
        assert_eq!(json["reply"]["source"], "10.244.1.5");
        assert_eq!(json["destination_nat"], true);
    }

    #[test]
    fn icmp_and_unreplied_connections_read_as_conntrack_prints_them() {
        let mut orig = tuple([10, 0, 0, 1], [10, 0, 0, 2], 77, 0, 1);
        orig.dport = 8 << 8;
        let conn = Conn { orig, reply: tuple([10, 0, 0, 2], [10, 0, 0, 1], 77, 0, 1), ..Conn::default() };
        assert_eq!(
            Connection::new(&conn, 10).line(),
            "icmp     1 0 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=77 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 type=0 \
             code=0 id=77 mark=0 use=1"
        );
    }

    #[test]
    fn a_protocol_without_ports_shows_addresses_only() {
        let conn = Conn { orig: tuple([1, 1, 1, 1], [2, 2, 2, 2], 0, 0, 50), ..Conn::default() };
        assert!(Connection::new(&conn, 0).line().starts_with("unknown  50 0 src=1.1.1.1 dst=2.2.2.2 [UNREPLIED] src="));
    }
}
