//! Which connections `bpftables conntrack` is about: conntrack(8)'s options.

use bpftables_abi::conn::{Conn, status};
use clap::Args;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An address with a prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    addr: u32,
    mask: u32,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (addr, len) = text.split_once('/').unwrap_or((text, "32"));
        let addr: Ipv4Addr = addr.parse().map_err(|_| format!("expected an IPv4 address, got {addr:?}"))?;
        let len: u32 = len
            .parse()
            .ok()
            .filter(|len| *len <= 32)
            .ok_or_else(|| format!("expected a prefix length up to 32, got {len:?}"))?;
        let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
        Ok(Self { addr: u32::from(addr) & mask, mask })
    }
}

impl Network {
    /// `addr` in network byte order, as memory.
    const fn holds(self, addr: u32) -> bool {
        u32::from_be(addr) & self.mask == self.addr
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
        let known = [("icmp", 1), ("tcp", 6), ("udp", 17), ("dccp", 33), ("gre", 47), ("sctp", 132), ("udplite", 136)];
        let named = known.into_iter().find(|(name, _)| *name == text).map(|(_, number)| number);
        let number = named.or_else(|| text.parse().ok());
        number.map(Self).ok_or_else(|| format!("expected a protocol, got {text:?}"))
    }
}

/// Connections that all given options describe.
#[derive(Clone, Debug, Default, Args)]
pub struct Filter {
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
    /// Whether no option was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !(self.source_nat || self.destination_nat)
            && self.protocol.is_none()
            && [self.source, self.destination, self.reply_source, self.reply_destination].iter().all(Option::is_none)
            && [self.sport, self.dport, self.reply_port_src, self.reply_port_dst].iter().all(Option::is_none)
            && self.mark.is_none()
            && self.state.is_none()
    }

    /// Whether a connection is meant.
    #[must_use]
    pub fn matches(&self, conn: &Conn) -> bool {
        let proto = conn.orig.proto;
        let network = |wanted: Option<Network>, addr: u32| wanted.is_none_or(|network| network.holds(addr));
        // ICMP keeps identifier and type where others have ports.
        let port =
            |wanted: Option<u16>, port: u16| wanted.is_none_or(|wanted| proto != 1 && wanted == u16::from_be(port));
        let has = |wanted: bool, bit: u32| !wanted || conn.status & bit != 0;
        self.protocol.is_none_or(|wanted| wanted.0 == proto)
            && network(self.source, conn.orig.saddr)
            && network(self.destination, conn.orig.daddr)
            && network(self.reply_source, conn.reply.saddr)
            && network(self.reply_destination, conn.reply.daddr)
            && port(self.sport, conn.orig.sport)
            && port(self.dport, conn.orig.dport)
            && port(self.reply_port_src, conn.reply.sport)
            && port(self.reply_port_dst, conn.reply.dport)
            && self.mark.is_none_or(|mark| conn.mark & mark.mask == mark.value)
            && self.state.as_ref().is_none_or(|state| crate::conntrack::state(conn) == Some(state.as_str()))
            && has(self.source_nat, status::SRC_NAT)
            && has(self.destination_nat, status::DST_NAT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpftables_abi::conn::Tuple;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        filter: Filter,
    }

    fn filter(words: &str) -> Filter {
        Line::try_parse_from(std::iter::once("x").chain(words.split_whitespace())).unwrap().filter
    }

    fn conn() -> Conn {
        let tuple = |source: [u8; 4], destination: [u8; 4], sport: u16, dport: u16| Tuple {
            saddr: u32::from_ne_bytes(source),
            daddr: u32::from_ne_bytes(destination),
            sport: sport.to_be(),
            dport: dport.to_be(),
            proto: 6,
            pad: [0; 3],
        };
        Conn {
            orig: tuple([10, 0, 0, 1], [10, 96, 0, 10], 40000, 80),
            reply: tuple([10, 244, 1, 5], [10, 0, 0, 1], 8080, 40000),
            status: status::DST_NAT,
            mark: 0x4005,
            tcp_state: 3,
            ..Conn::default()
        }
    }

    #[test]
    fn every_option_narrows_and_all_have_to_hold() {
        let yes = [
            "",
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
            "-g",
        ];
        let no = [
            "-p udp",
            "-s 10.0.0.2",
            "-d 10.96.0.0/29",
            "--dport 81",
            "-r 10.244.1.6",
            "--mark 5",
            "--state CLOSE",
            "-n",
            "-p tcp --dport 81",
        ];
        for words in yes {
            assert!(filter(words).matches(&conn()), "{words}");
        }
        for words in no {
            assert!(!filter(words).matches(&conn()), "{words}");
        }
        assert!(filter("").is_empty());
        assert!(yes[1..].iter().chain(&no).all(|words| !filter(words).is_empty()));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for words in ["-s 10.0.0", "-s 10.0.0.1/33", "-p nope", "--mark x"] {
            assert!(Line::try_parse_from(std::iter::once("x").chain(words.split_whitespace())).is_err(), "{words}");
        }
    }
}
