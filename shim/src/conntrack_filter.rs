//! Which connections `bpftables conntrack` is about: conntrack(8)'s options.

use crate::conntrack::{ICMP, ICMPV6, SCTP, SCTP_STATES, TCP, TCP_STATES, has_ports, state};
use bpftables_abi::conn::status;
use bpftables_ruleset::Family;
use bpftables_runtime::Connection;
use clap::{Args, ValueEnum};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// An address and the bits of it that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    addr: IpAddr,
    mask: u128,
}

/// The bits of an address, the first one first.
fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(u32::from(addr)) << 96,
        IpAddr::V6(addr) => addr.into(),
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (addr, len) = text.split_once('/').map_or((text, None), |(addr, len)| (addr, Some(len)));
        let addr: IpAddr = addr.parse().map_err(|_| format!("expected an IP address, got {addr:?}"))?;
        let bits = if addr.is_ipv4() { 32 } else { 128 };
        let len = len.map_or(Some(bits), |len| len.parse().ok().filter(|len| *len <= bits));
        let len = len.ok_or_else(|| format!("expected a prefix length up to {bits}, got {text:?}"))?;
        Ok(Self { addr, mask: u128::MAX.checked_shl(128 - len).unwrap_or(0) })
    }
}

impl Network {
    fn holds(self, addr: IpAddr) -> bool {
        self.addr.is_ipv4() == addr.is_ipv4() && (bits(self.addr) ^ bits(addr)) & self.mask == 0
    }

    /// With a mask of its own, if there is one.
    fn masked(self, mask: Option<IpAddr>) -> Self {
        Self { mask: mask.map_or(self.mask, bits), ..self }
    }
}

/// What an address was translated to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Translated {
    addr: IpAddr,
    port: Option<u16>,
}

impl FromStr for Translated {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(addr) = text.parse() {
            return Ok(Self { addr, port: None });
        }
        let parsed: Result<SocketAddr, _> = text.parse();
        let parsed = parsed.map_err(|_| format!("expected an IP address, or one with :PORT, got {text:?}"))?;
        Ok(Self { addr: parsed.ip(), port: Some(parsed.port()) })
    }
}

/// A bit of a connection's status, as conntrack(8) calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
enum StatusWord {
    /// It is not dropped early.
    Assured,
    /// An answer was seen.
    SeenReply,
    /// No answer was seen.
    Unreplied,
}

impl StatusWord {
    const fn holds(self, bits: u32) -> bool {
        match self {
            Self::Assured => bits & status::ASSURED != 0,
            Self::SeenReply => bits & status::SEEN_REPLY != 0,
            Self::Unreplied => bits & status::SEEN_REPLY == 0,
        }
    }
}

/// A state of TCP or SCTP, in the list's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State(&'static str);

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = TCP_STATES.iter().chain(SCTP_STATES).find(|state| **state == text);
        known.map(|state| Self(state)).ok_or_else(|| {
            let names = |states: &[&str]| states.join(", ");
            format!("expected one of TCP's ({}) or SCTP's ({})", names(TCP_STATES), names(SCTP_STATES))
        })
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
            ("ipv6-icmp", 58),
            ("sctp", 132),
            ("udplite", 136),
        ];
        let named = known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, number)| number);
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
    /// Bits of the original direction's source that have to be those of --src.
    #[arg(long, requires = "source", value_name = "ADDRESS")]
    mask_src: Option<IpAddr>,
    /// Bits of the original direction's destination that have to be those of --dst.
    #[arg(long, requires = "destination", value_name = "ADDRESS")]
    mask_dst: Option<IpAddr>,
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
    /// Type of ICMP, of the original direction, as a number.
    #[arg(long, alias = "icmpv6-type")]
    icmp_type: Option<u8>,
    /// Code of ICMP, of the original direction.
    #[arg(long, alias = "icmpv6-code")]
    icmp_code: Option<u8>,
    /// Identifier of ICMP, of the original direction.
    #[arg(long, alias = "icmpv6-id")]
    icmp_id: Option<u16>,
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
    /// State of a connection of TCP or SCTP, as the list shows it.
    #[arg(long)]
    state: Option<State>,
    /// Bits of the status that all have to be there, separated by commas.
    #[arg(short = 'u', long, value_delimiter = ',', ignore_case = true, value_name = "STATUS,...")]
    status: Vec<StatusWord>,
    /// Only those whose source is translated (to this address and port).
    #[arg(short = 'n', long = "src-nat", value_name = "ADDRESS[:PORT]")]
    source_nat: Option<Option<Translated>>,
    /// Only those whose destination is translated (to this address and port).
    #[arg(short = 'g', long = "dst-nat", value_name = "ADDRESS[:PORT]")]
    destination_nat: Option<Option<Translated>>,
    /// Only those whose source or destination is translated (to this address and port).
    #[arg(short = 'j', long, value_name = "ADDRESS[:PORT]", conflicts_with_all = ["source_nat", "destination_nat"])]
    any_nat: Option<Option<Translated>>,
}

impl Filter {
    /// Refuses what no connection can be: an option that is not for the protocol, or addresses of both families.
    ///
    /// # Errors
    /// Which option, for people.
    pub fn verify(&self) -> Result<(), String> {
        if let Some(Protocol(number)) = self.protocol {
            let ports = has_ports(number);
            let icmp = [ICMP, ICMPV6].contains(&number);
            let state = match (self.state, number) {
                (Some(State(state)), TCP) => TCP_STATES.contains(&state),
                (Some(State(state)), SCTP) => SCTP_STATES.contains(&state),
                _ => false,
            };
            let options = [
                ("--sport", self.sport.is_some(), ports),
                ("--dport", self.dport.is_some(), ports),
                ("--reply-port-src", self.reply_port_src.is_some(), ports),
                ("--reply-port-dst", self.reply_port_dst.is_some(), ports),
                ("--icmp-type", self.icmp_type.is_some(), icmp),
                ("--icmp-code", self.icmp_code.is_some(), icmp),
                ("--icmp-id", self.icmp_id.is_some(), icmp),
                ("such --state", self.state.is_some(), state),
            ];
            if let Some((name, ..)) = options.into_iter().find(|(_, given, fits)| *given && !fits) {
                return Err(format!("protocol {number} has no {name}"));
            }
        }
        let networks = [self.source, self.destination, self.reply_source, self.reply_destination];
        let translations = [self.source_nat, self.destination_nat, self.any_nat].map(Option::flatten);
        let masks = [self.mask_src, self.mask_dst];
        let mut v4 = (networks.iter().flatten().map(|network| network.addr))
            .chain(translations.iter().flatten().map(|to| to.addr))
            .chain(masks.into_iter().flatten())
            .map(|addr| addr.is_ipv4())
            .chain(self.family.map(|family| family == Addresses::Ipv4));
        let first = v4.next();
        if v4.any(|is| Some(is) != first) {
            return Err("addresses of IPv4 and IPv6 can't be asked for at once".to_owned());
        }
        Ok(())
    }

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
        let icmp = [ICMP, ICMPV6].contains(&proto);
        let port = |wanted: Option<u16>, port: u16| wanted.is_none_or(|wanted| !icmp && wanted == port);
        let of_icmp = |wanted: Option<u16>, is: u16| wanted.is_none_or(|wanted| icmp && wanted == is);
        let [icmp_type, icmp_code] = conn.original.dport.to_be_bytes();
        // A zone of both directions, or of one where the other is 0.
        let zones = |wanted: Option<u16>, is: fn(u16) -> [u16; 2]| wanted.is_none_or(|zone| conn.zones == is(zone));
        let translated = |bit: u32, to: Option<Translated>, addr: IpAddr, is: u16| {
            conn.status & bit != 0 && to.is_none_or(|to| to.addr == addr && port(to.port, is))
        };
        let source_nat = |to| translated(status::SRC_NAT, to, conn.reply.destination, conn.reply.dport);
        let destination_nat = |to| translated(status::DST_NAT, to, conn.reply.source, conn.reply.sport);
        self.family.is_none_or(|wanted| wanted == family)
            && self.protocol.is_none_or(|wanted| wanted.0 == proto)
            && network(self.source.map(|source| source.masked(self.mask_src)), conn.original.source)
            && network(self.destination.map(|destination| destination.masked(self.mask_dst)), conn.original.destination)
            && network(self.reply_source, conn.reply.source)
            && network(self.reply_destination, conn.reply.destination)
            && port(self.sport, conn.original.sport)
            && port(self.dport, conn.original.dport)
            && port(self.reply_port_src, conn.reply.sport)
            && port(self.reply_port_dst, conn.reply.dport)
            && of_icmp(self.icmp_type.map(u16::from), icmp_type.into())
            && of_icmp(self.icmp_code.map(u16::from), icmp_code.into())
            && of_icmp(self.icmp_id, conn.original.sport)
            && self.mark.is_none_or(|mark| conn.mark & mark.mask == mark.value)
            && zones(self.zone, |zone| [zone, zone])
            && zones(self.orig_zone, |zone| [zone, 0])
            && zones(self.reply_zone, |zone| [0, zone])
            && self.state.is_none_or(|wanted| state(conn) == Some(wanted.0))
            && self.status.iter().all(|word| word.holds(conn.status))
            && self.source_nat.is_none_or(source_nat)
            && self.destination_nat.is_none_or(destination_nat)
            && self.any_nat.is_none_or(|to| source_nat(to) || destination_nat(to))
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
            status: status::DST_NAT | status::SEEN_REPLY,
            mark: 0x4005,
            zones: [0, 4],
            tcp_state: 3,
            tags: [0, 0],
            born: 0,
            remaining: 0,
            carried: None,
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
            "-g 10.244.1.5",
            "-g 10.244.1.5:8080",
            "-g -p TCP",
            "-j",
            "-j10.244.1.5",
            "-u seen_reply",
            "-s 10.9.0.0 --mask-src 255.0.0.0",
            "-d 1.2.0.10 --mask-dst 0.0.0.255",
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
            "-n 10.0.0.1",
            "-g 10.96.0.10",
            "-g 10.244.1.5:80",
            "-j 10.0.0.1",
            "-u UNREPLIED",
            "-u ASSURED",
            "-u SEEN_REPLY,ASSURED",
            "-p ipv6-icmp",
            "-s 10.9.0.0 --mask-src 255.255.0.0",
            "--icmp-type 0",
            "--icmp-id 40000",
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
    fn icmp_has_types_codes_and_identifiers_instead_of_ports() {
        let mut ping = conn();
        for flow in [&mut ping.original, &mut ping.reply] {
            (flow.protocol, flow.sport, flow.dport) = (1, 77, 8 << 8 | 3);
        }
        for words in ["--icmp-type 8 --icmp-code 3 --icmp-id 77", "-p icmp --icmp-type 8"] {
            assert!(filter(words).matches(&ping), "{words}");
        }
        for words in ["--icmp-type 3", "--icmp-code 8", "--icmp-id 78", "--sport 77", "-j 10.244.1.5:77"] {
            assert!(!filter(words).matches(&ping), "{words}");
        }
    }

    /// As conntrack 1.4.7, which takes all of them for mistakes.
    #[test]
    fn what_no_connection_can_be_is_refused() {
        let unread = [
            "-s 10.0.0",
            "-s 10.0.0.1/33",
            "-s ::/129",
            "-f ipx",
            "-p nope",
            "--mark x",
            "--state FOO",
            "--state established",
            "-u OFFLOAD",
            "-u",
            "-g 10.0.0.0/8",
            "-j -n",
            "--mask-src 255.0.0.0",
        ];
        for words in unread {
            assert!(Line::try_parse_from(std::iter::once("x").chain(words.split_whitespace())).is_err(), "{words}");
        }
        let nonsense = [
            ("-p udp --state ESTABLISHED", "protocol 17 has no such --state"),
            ("-p tcp --state HEARTBEAT_SENT", "protocol 6 has no such --state"),
            ("-p icmp --sport 3", "protocol 1 has no --sport"),
            ("-p udp --icmp-type 8", "protocol 17 has no --icmp-type"),
            ("-s 127.0.0.1 -f ipv6", "addresses of IPv4 and IPv6 can't be asked for at once"),
            ("-s ::1 -g 127.0.0.1", "addresses of IPv4 and IPv6 can't be asked for at once"),
        ];
        for (words, said) in nonsense {
            assert_eq!(filter(words).verify(), Err(said.to_owned()), "{words}");
        }
        for words in ["-p sctp --state HEARTBEAT_SENT", "-p tcp --state CLOSE --sport 1", "-f ipv6 -d ::1 -j ::2"] {
            assert_eq!(filter(words).verify(), Ok(()), "{words}");
        }
    }
}
