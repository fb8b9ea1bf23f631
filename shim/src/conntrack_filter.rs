//! Which connections `bpftables conntrack` is about: conntrack(8)'s options.

use bpftables_abi::conn::status;
use bpftables_ruleset::Family;
use bpftables_runtime::Connection;
use clap::{Args, ValueEnum};
use std::net::IpAddr;
use std::str::FromStr;

/// An address with a prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    addr: IpAddr,
    len: u32,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (addr, len) = text.split_once('/').map_or((text, None), |(addr, len)| (addr, Some(len)));
        let addr: IpAddr = addr.parse().map_err(|_| format!("expected an IP address, got {addr:?}"))?;
        let bits = if addr.is_ipv4() { 32 } else { 128 };
        let len = len.map_or(Some(bits), |len| len.parse().ok().filter(|len| *len <= bits));
        let len = len.ok_or_else(|| format!("expected a prefix length up to {bits}, got {text:?}"))?;
        Ok(Self { addr, len })
    }
}

impl Network {
    fn holds(self, addr: IpAddr) -> bool {
        let differs = match (self.addr, addr) {
            (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(u32::from(a) ^ u32::from(b)) << 96,
            (IpAddr::V6(a), IpAddr::V6(b)) => u128::from(a) ^ u128::from(b),
            _ => return false,
        };
        differs.checked_shr(128 - self.len).unwrap_or(0) == 0
    }
}

/// A mark and the bits of it that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    value: u32,
    mask: u32,
}

impl FromStr for Mark {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |hex| (hex, 16));
            u32::from_str_radix(digits, radix).map_err(|_| format!("expected a number, got {text:?}"))
        };
        let (value, mask) = text.split_once('/').map_or((text, None), |(value, mask)| (value, Some(mask)));
        Ok(Self { value: number(value)?, mask: mask.map_or(Ok(u32::MAX), number)? })
    }
}

/// A protocol by name or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Protocol(u8);

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [
            ("icmp", 1),
            ("tcp", 6),
            ("udp", 17),
            ("dccp", 33),
            ("gre", 47),
            ("icmpv6", 58),
            ("sctp", 132),
            ("udplite", 136),
        ];
        let named = known.into_iter().find(|(name, _)| *name == text).map(|(_, number)| number);
        let number = named.or_else(|| text.parse().ok());
        number.map(Self).ok_or_else(|| format!("expected a protocol, got {text:?}"))
    }
}

/// A family, as conntrack(8) calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Addresses {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Connections that all given options describe.
#[derive(Clone, Debug, Default, Args)]
pub struct Filter {
    /// Address family; both without it.
    #[arg(short = 'f', long)]
    family: Option<Addresses>,
    /// Protocol, by name or number.
    #[arg(short = 'p', long = "proto", alias = "protonum")]
    protocol: Option<Protocol>,
    /// Source of the original direction, an address or a network.
    #[arg(short = 's', long = "src", alias = "orig-src")]
    source: Option<Network>,
    /// Destination of the original direction.
    #[arg(short = 'd', long = "dst", alias = "orig-dst")]
    destination: Option<Network>,
    /// Source of the reply direction.
    #[arg(short = 'r', long = "reply-src")]
    reply_source: Option<Network>,
    /// Destination of the reply direction.
    #[arg(short = 'q', long = "reply-dst")]
    reply_destination: Option<Network>,
    /// Source port of the original direction.
    #[arg(long = "sport", alias = "orig-port-src")]
    sport: Option<u16>,
    /// Destination port of the original direction.
    #[arg(long = "dport", alias = "orig-port-dst")]
    dport: Option<u16>,
    /// Source port of the reply direction.
    #[arg(long)]
    reply_port_src: Option<u16>,
    /// Destination port of the reply direction.
    #[arg(long)]
    reply_port_dst: Option<u16>,
    /// Connection mark: VALUE or VALUE/MASK.
    #[arg(short = 'm', long)]
    mark: Option<Mark>,
    /// Zone of both directions.
    #[arg(short = 'w', long)]
    zone: Option<u16>,
    /// Zone of the original direction alone.
    #[arg(long)]
    orig_zone: Option<u16>,
    /// Zone of the reply direction alone.
    #[arg(long)]
    reply_zone: Option<u16>,
    /// State of a TCP connection, as the list shows it.
    #[arg(long)]
    state: Option<String>,
    /// Only those whose source is translated.
    #[arg(short = 'n', long = "src-nat")]
    source_nat: bool,
    /// Only those whose destination is translated.
    #[arg(short = 'g', long = "dst-nat")]
    destination_nat: bool,
}

impl Filter {
    /// Whether a connection is meant.
    #[must_use]
    pub fn matches(&self, conn: &Connection) -> bool {
        let proto = conn.original.protocol;
        let family = match conn.family {
            Family::V4 => Addresses::Ipv4,
            Family::V6 => Addresses::Ipv6,
        };
        let network = |wanted: Option<Network>, addr: IpAddr| wanted.is_none_or(|network| network.holds(addr));
        // ICMP keeps identifier and type where others have ports.
        let port =
            |wanted: Option<u16>, port: u16| wanted.is_none_or(|wanted| proto != 1 && proto != 58 && wanted == port);
        // A zone of both directions, or of one where the other is 0.
        let zones = |wanted: Option<u16>, is: fn(u16) -> [u16; 2]| wanted.is_none_or(|zone| conn.zones == is(zone));
        let has = |wanted: bool, bit: u32| !wanted || conn.status & bit != 0;
        self.family.is_none_or(|wanted| wanted == family)
            && self.protocol.is_none_or(|wanted| wanted.0 == proto)
            && network(self.source, conn.original.source)
            && network(self.destination, conn.original.destination)
            && network(self.reply_source, conn.reply.source)
            && network(self.reply_destination, conn.reply.destination)
            && port(self.sport, conn.original.sport)
            && port(self.dport, conn.original.dport)
            && port(self.reply_port_src, conn.reply.sport)
            && port(self.reply_port_dst, conn.reply.dport)
            && self.mark.is_none_or(|mark| conn.mark & mark.mask == mark.value)
            && zones(self.zone, |zone| [zone, zone])
            && zones(self.orig_zone, |zone| [zone, 0])
            && zones(self.reply_zone, |zone| [0, zone])
            && self.state.as_ref().is_none_or(|state| crate::conntrack::state(conn) == Some(state.as_str()))
            && has(self.source_nat, status::SRC_NAT)
            && has(self.destination_nat, status::DST_NAT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpftables_runtime::Flow;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        filter: Filter,
    }

    fn filter(words: &str) -> Filter {
        Line::try_parse_from(std::iter::once("x").chain(words.split_whitespace())).unwrap().filter
    }

    fn conn() -> Connection {
        let flow = |source: &str, destination: &str, sport: u16, dport: u16| Flow {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: 6,
            sport,
            dport,
        };
        Connection {
            family: Family::V4,
            number: 0,
            original: flow("10.0.0.1", "10.96.0.10", 40000, 80),
            reply: flow("10.244.1.5", "10.0.0.1", 8080, 40000),
            status: status::DST_NAT,
            mark: 0x4005,
            zones: [0, 4],
            tcp_state: 3,
            tags: [0, 0],
            born: 0,
            remaining: 0,
        }
    }

    #[test]
    fn every_option_narrows_and_all_have_to_hold() {
        let yes = [
            "",
            "-f ipv4",
            "-s 0.0.0.0/0",
            "-p tcp",
            "-p 6",
            "-s 10.0.0.1",
            "-s 10.0.0.0/8",
            "--orig-dst 10.96.0.10 --dport 80",
            "-r 10.244.1.5 --reply-port-src 8080 -q 10.0.0.1 --reply-port-dst 40000",
            "--sport 40000",
            "--mark 0x4000/0x4000",
            "-m 16389",
            "--state ESTABLISHED",
            "--reply-zone 4",
            "-g",
        ];
        let no = [
            "-p udp",
            "-f ipv6",
            "-s ::/0",
            "-s 10.0.0.2",
            "-d 10.96.0.0/29",
            "--dport 81",
            "-r 10.244.1.6",
            "--mark 5",
            "--state CLOSE",
            "-w 4",
            "--orig-zone 4",
            "-n",
            "-p tcp --dport 81",
        ];
        for words in yes {
            assert!(filter(words).matches(&conn()), "{words}");
        }
        for words in no {
            assert!(!filter(words).matches(&conn()), "{words}");
        }
        let network = |text: &str| Network::from_str(text).unwrap();
        assert!(network("fd00::/64").holds("fd00::9:1".parse().unwrap()));
        assert!(!network("fd00::/64").holds("fd00:0:0:1::".parse().unwrap()));
        assert!(!network("fd00::1").holds("fd00::2".parse().unwrap()));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for words in ["-s 10.0.0", "-s 10.0.0.1/33", "-s ::/129", "-f ipx", "-p nope", "--mark x"] {
            assert!(Line::try_parse_from(std::iter::once("x").chain(words.split_whitespace())).is_err(), "{words}");
        }
    }
}
