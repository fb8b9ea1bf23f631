//! What connections need when rules go from netfilter to ours, or back: a moment without packets, in which the one side ends translating and
//! the other begins.
//!
//! Both sides' rules are in force in that moment, so whoever is killed leaves no packet unseen. Were packets to pass, both would translate
//! them, and remember that.

use crate::conntrack::{Connection, Flow};
use crate::engine::{Committed, Engine};
use crate::error::{Doing, EngineError, Result};
use crate::import;
use crate::nfnetlink::{CREATE, EXCLUSIVE, NESTED, Requests, attribute};
use crate::sys::bpf::nf::{self, Load};
use bpftables_abi::conn::status;
use bpftables_ruleset::{Family, Ruleset};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

/// `r0 = NF_DROP; exit`.
const DROP: [u64; 2] = [0xb7, 0x95];
/// PREROUTING and OUTPUT, before everything but the guard.
const HOOKS: [u32; 2] = [0, 3];
const PRIORITIES: [i32; 2] = [i32::MIN + 3, i32::MIN + 4];
/// `NFPROTO_*`.
const PROTOCOLS: [u32; 2] = [2, 10];

/// No packet comes by PREROUTING or OUTPUT of this network namespace, until it is dropped or its process ends.
#[derive(Debug)]
pub struct Hold {
    /// Not pinned: they end with the process.
    _links: Vec<OwnedFd>,
}

impl Hold {
    /// Begins.
    ///
    /// # Errors
    /// [`EngineError::OldKernel`] on a kernel without such hooks (Linux 6.4, `CONFIG_NETFILTER_BPF_LINK`), or what it says.
    pub fn begin() -> Result<Self> {
        let load = Load {
            name: "bt_hold",
            prog_type: nf::PROG_TYPE_NETFILTER,
            attach_type: nf::NETFILTER,
            btf_id: 0,
            instructions: &DROP,
        };
        let what = || "holding packets at netfilter's hooks".to_owned();
        let program = nf::load(&load).map_err(|source| EngineError::OldKernel { what: what(), source })?;
        let mut links = Vec::new();
        for protocol in PROTOCOLS {
            for hook in HOOKS {
                let attach = |priority| nf::attach_netfilter(program.as_fd(), protocol, hook, priority);
                let link = attach(PRIORITIES[0]).or_else(|e| match e.raw_os_error() {
                    Some(libc::EBUSY) => attach(PRIORITIES[1]),
                    _ => Err(e),
                });
                links.push(link.map_err(|source| EngineError::OldKernel { what: what(), source })?);
            }
        }
        Ok(Self { _links: links })
    }
}

/// What became of connections that were handed to netfilter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Those that netfilter knows now.
    pub taken: usize,
    /// Those that it did not take.
    pub refused: usize,
}

impl Engine {
    /// As [`Self::commit`], for rules that are netfilter's so far: connections that netfilter translates are taken over too, for it ends
    /// doing so under the same hold.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn adopt(&mut self, ruleset: &mut Ruleset, _hold: &Hold) -> Result<Committed> {
        self.commit_change(ruleset, None, true)
    }

    /// Has netfilter forget the connections that it translates; how many.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn forget_translated(&mut self, family: Family, _hold: &Hold) -> Result<usize> {
        import::forget_translated(family).doing(|| "end the translated connections of netfilter".to_owned())
    }

    /// Hands the connections that our programs keep to netfilter, whose rules have to be in force.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn export(&mut self, _hold: &Hold) -> Result<Exported> {
        let doing = || "hand connections to netfilter".to_owned();
        let mut exported = Exported::default();
        let mut requests = Requests::open().doing(doing)?;
        for connection in self.conntrack_list()? {
            let attributes = describe(&connection);
            let family = import::number(connection.family);
            match requests.send(import::CTNETLINK, import::NEW, family, CREATE | EXCLUSIVE, &attributes) {
                Ok(()) => exported.taken += 1,
                Err(error) => {
                    tracing::debug!(%error, ?connection, "not taken by netfilter");
                    exported.refused += 1;
                }
            }
        }
        Ok(exported)
    }
}

/// A connection in ctnetlink's words. The reply's tuple is that of a connection without translation: netfilter makes the true one of it
/// and of the translations.
fn describe(connection: &Connection) -> Vec<u8> {
    let (original, reply) = (&connection.original, &connection.reply);
    let plain = Flow {
        source: original.destination,
        destination: original.source,
        protocol: original.protocol,
        sport: if is_icmp(original) { original.sport } else { original.dport },
        dport: if is_icmp(original) { reply.dport } else { original.sport },
    };
    let zones = connection.zones;
    let mut out = [
        attribute(import::TUPLE_ORIG | NESTED, &tuple(original, (zones[0] != zones[1]).then_some(zones[0]))),
        attribute(import::TUPLE_REPLY | NESTED, &tuple(&plain, (zones[0] != zones[1]).then_some(zones[1]))),
        attribute(import::STATUS, &(connection.status & STATUS | status::CONFIRMED).to_be_bytes()),
        attribute(import::TIMEOUT, &(connection.remaining.div_ceil(1_000_000_000) as u32).to_be_bytes()),
        attribute(import::MARK, &connection.mark.to_be_bytes()),
    ]
    .concat();
    if zones[0] == zones[1] && zones[0] != 0 {
        out.extend(attribute(import::ZONE, &zones[0].to_be_bytes()));
    }
    if original.protocol == 6 {
        // State, and flags with their mask: windows are not told, so they are not to be held to any.
        let sides = [attribute(4, &LIBERAL), attribute(5, &LIBERAL)].concat();
        let tcp = [attribute(1, &[connection.tcp_state]), sides].concat();
        out.extend(attribute(import::PROTOINFO | NESTED, &attribute(import::TCP_INFO | NESTED, &tcp)));
    }
    if original.protocol == 132 {
        let tags = [attribute(2, &connection.tags[0].to_ne_bytes()), attribute(3, &connection.tags[1].to_ne_bytes())];
        let sctp = [attribute(1, &[connection.tcp_state]), tags.concat()].concat();
        out.extend(attribute(import::PROTOINFO | NESTED, &attribute(import::SCTP_INFO | NESTED, &sctp)));
    }
    // Where the first packet was sent to, and where it was said to come from.
    let moved = !is_icmp(original) && reply.sport != plain.sport;
    if reply.source != plain.source || moved {
        out.extend(attribute(NAT_DST | NESTED, &translation(reply.source, reply.sport, original)));
    }
    let answered = if is_icmp(original) { reply.sport } else { reply.dport };
    if (reply.destination, answered) != (original.source, original.sport) {
        out.extend(attribute(NAT_SRC | NESTED, &translation(reply.destination, answered, original)));
    }
    out
}

/// What a new connection may be told to be.
const STATUS: u32 = status::SEEN_REPLY | status::ASSURED;
/// `IP_CT_TCP_FLAG_BE_LIBERAL`, and its mask.
const LIBERAL: [u8; 2] = [8, 8];
/// `CTA_NAT_SRC` and `CTA_NAT_DST`.
const NAT_SRC: u16 = 6;
const NAT_DST: u16 = 13;

const fn is_icmp(flow: &Flow) -> bool {
    matches!((flow.protocol, flow.source), (1, IpAddr::V4(_)) | (58, IpAddr::V6(_)))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn tuple(flow: &Flow, zone: Option<u16>) -> Vec<u8> {
    let v6 = u16::from(flow.source.is_ipv6());
    let addresses = [attribute(1 + 2 * v6, &octets(flow.source)), attribute(2 + 2 * v6, &octets(flow.destination))];
    let mut upper = attribute(1, &[flow.protocol]);
    if is_icmp(flow) {
        let first = if flow.protocol == 1 { 4 } else { 7 };
        let [kind, code] = flow.dport.to_be_bytes();
        upper.extend(attribute(first, &flow.sport.to_be_bytes()));
        upper.extend(attribute(first + 1, &[kind]));
        upper.extend(attribute(first + 2, &[code]));
    } else {
        upper.extend(attribute(2, &flow.sport.to_be_bytes()));
        upper.extend(attribute(3, &flow.dport.to_be_bytes()));
    }
    let mut out = [attribute(1 | NESTED, &addresses.concat()), attribute(2 | NESTED, &upper)].concat();
    if let Some(zone) = zone {
        out.extend(attribute(import::TUPLE_ZONE, &zone.to_be_bytes()));
    }
    out
}

/// One address and one port.
fn translation(address: IpAddr, port: u16, of: &Flow) -> Vec<u8> {
    let (low, high) = if address.is_ipv6() { (4, 5) } else { (1, 2) };
    let mut out = [attribute(low, &octets(address)), attribute(high, &octets(address))].concat();
    if matches!(of.protocol, 6 | 17 | 33 | 132 | 136) || is_icmp(of) {
        let ports = [attribute(1, &port.to_be_bytes()), attribute(2, &port.to_be_bytes())].concat();
        out.extend(attribute(3 | NESTED, &ports));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nfnetlink::Attributes;

    fn connection(original: Flow, reply: Flow) -> Connection {
        Connection {
            carried: None,
            family: Family::V4,
            number: 0,
            original,
            reply,
            zones: [0, 0],
            status: status::SEEN_REPLY | status::ASSURED | status::CONFIRMED | status::LIVE | status::DST_NAT,
            mark: 7,
            tcp_state: 3,
            tags: [0, 0],
            born: 0,
            remaining: 1,
        }
    }

    fn flow(source: [u8; 4], destination: [u8; 4], protocol: u8, sport: u16, dport: u16) -> Flow {
        Flow { source: source.into(), destination: destination.into(), protocol, sport, dport }
    }

    #[test]
    fn an_association_is_told_with_its_state_and_tags() {
        let original = flow([10, 0, 0, 1], [10, 0, 0, 2], 132, 4000, 80);
        let reply = flow([10, 0, 0, 2], [10, 0, 0, 1], 132, 80, 4000);
        let told = describe(&Connection { tcp_state: 4, tags: [1, 0x0200], ..connection(original, reply) });
        let info = Attributes(Attributes(&told).get(import::PROTOINFO).unwrap());
        let sctp = Attributes(info.get(import::SCTP_INFO).unwrap());
        assert_eq!(sctp.get(1), Some(&[4][..]));
        assert_eq!((sctp.get(2), sctp.get(3)), (Some(&1_u32.to_ne_bytes()[..]), Some(&0x0200_u32.to_ne_bytes()[..])));
    }

    #[test]
    fn each_translation_is_told_by_its_address_and_port() {
        let original = flow([10, 0, 0, 1], [10, 96, 0, 1], 6, 4000, 80);
        let both = describe(&connection(original, flow([10, 1, 0, 5], [10, 2, 0, 9], 6, 8080, 4001)));
        let all = Attributes(&both);
        let port = |kind: u16| Attributes(Attributes(all.get(kind).unwrap()).get(3).unwrap()).get(1).unwrap().to_vec();
        assert_eq!((port(NAT_DST), port(NAT_SRC)), (8080_u16.to_be_bytes().to_vec(), 4001_u16.to_be_bytes().to_vec()));
        assert_eq!(all.get(import::STATUS), Some(&(8_u32 | 2 | 4).to_be_bytes()[..]));
        let reply = Attributes(Attributes(all.get(import::TUPLE_REPLY).unwrap()).get(1).unwrap());
        assert_eq!((reply.get(1), reply.get(2)), (Some(&[10, 96, 0, 1][..]), Some(&[10, 0, 0, 1][..])));
        let plain = describe(&connection(original, flow([10, 96, 0, 1], [10, 0, 0, 1], 6, 80, 4000)));
        assert_eq!((Attributes(&plain).get(NAT_DST), Attributes(&plain).get(NAT_SRC)), (None, None));
    }

    #[test]
    fn a_ping_keeps_its_type_and_may_get_another_number() {
        let (original, reply) =
            (flow([10, 0, 0, 1], [8, 8, 8, 8], 1, 5, 0x800), flow([8, 8, 8, 8], [10, 2, 0, 9], 1, 6, 0));
        let bytes = describe(&connection(original, reply));
        let all = Attributes(&bytes);
        assert_eq!(all.get(NAT_DST), None);
        assert_eq!(Attributes(all.get(NAT_SRC).unwrap()).get(1), Some(&[10, 2, 0, 9][..]));
        let upper = Attributes(Attributes(all.get(import::TUPLE_REPLY).unwrap()).get(2).unwrap());
        assert_eq!((upper.get(4), upper.get(5)), (Some(&[0, 5][..]), Some(&[0][..])));
    }
}
