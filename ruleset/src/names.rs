//! Names of protocols, services, hosts and networks, which the system keeps outside of the ruleset.

use crate::addr::Family;
use std::net::{IpAddr, Ipv4Addr};

/// What the system's databases (`/etc/protocols`, `/etc/services`, the resolver, `/etc/networks`) say. Numbers never need it.
///
/// Every method may answer "not known"; then legacy's own tables and the numeric form are used.
pub trait Names {
    /// `getprotobyname`.
    fn protocol_number(&self, name: &str) -> Option<u8>;
    /// `getprotobynumber`.
    fn protocol_name(&self, number: u8) -> Option<String>;
    /// `getservbyname`; `protocol` is `tcp`, `udp`, ... or `None` for any. Host byte order.
    fn service_port(&self, name: &str, protocol: Option<&str>) -> Option<u16>;
    /// `getservbyport`; host byte order.
    fn service_name(&self, port: u16, protocol: Option<&str>) -> Option<String>;
    /// `getaddrinfo` for one family: every address of a host, in the resolver's order, as often as it says it.
    ///
    /// # Errors
    /// Its own words (`gai_strerror`).
    fn host_addresses(&self, name: &str, family: Family) -> Result<Vec<IpAddr>, &'static str>;
    /// `getnameinfo` that insists on a name.
    fn host_name(&self, addr: IpAddr) -> Option<String>;
    /// `getnetbyaddr`; asked when [`Names::host_name`] has no answer. Legacy gets here only where the resolver fails.
    fn network_name(&self, _addr: Ipv4Addr) -> Option<String> {
        None
    }
    /// `getnetbyname`, which knows IPv4 only.
    fn network_address(&self, name: &str) -> Option<Ipv4Addr>;
    /// `getpwnam`.
    fn user_id(&self, _name: &str) -> Option<u32> {
        None
    }
    /// `getpwuid`.
    fn user_name(&self, _id: u32) -> Option<String> {
        None
    }
    /// `getgrnam`.
    fn group_id(&self, _name: &str) -> Option<u32> {
        None
    }
    /// `getgrgid`.
    fn group_name(&self, _id: u32) -> Option<String> {
        None
    }
    /// Asks the kernel for a set of ipset.
    fn find_set(&self, _name: &str) -> SetLookup {
        SetLookup::Missing
    }
    /// Whether an object of BPF is pinned there and may be had.
    fn has_pinned_object(&self, _path: &str) -> bool {
        false
    }
    /// The numbers of a file and their names, in its order; `None`: there is no such file.
    fn number_names(&self, _which: NumberNames) -> Option<Vec<(u32, String)>> {
        None
    }
}

/// What the kernel says of a set of ipset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetLookup {
    /// There is one, of this family; `None`: of any.
    Found(Option<Family>),
    /// There is none.
    Missing,
    /// The kernel has no sets.
    NoModule,
    /// The caller may not ask.
    NoSocket,
    /// Asking failed with this errno.
    Failed(i32),
}

/// Which file names numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberNames {
    /// `/etc/iproute2/group`.
    DeviceGroups,
    /// `/etc/iproute2/rt_realms`.
    Realms,
    /// `/etc/xtables/connlabel.conf`.
    ConnectionLabels,
}

/// What the resolver says of a name that nobody knows (`EAI_NONAME`).
pub const UNKNOWN_HOST: &str = "Name or service not known";

/// Databases that know nothing: only numbers and the names that legacy has built in.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNames;

impl Names for NoNames {
    fn protocol_number(&self, _name: &str) -> Option<u8> {
        None
    }
    fn protocol_name(&self, _number: u8) -> Option<String> {
        None
    }
    fn service_port(&self, _name: &str, _protocol: Option<&str>) -> Option<u16> {
        None
    }
    fn service_name(&self, _port: u16, _protocol: Option<&str>) -> Option<String> {
        None
    }
    fn host_addresses(&self, _name: &str, _family: Family) -> Result<Vec<IpAddr>, &'static str> {
        Err(UNKNOWN_HOST)
    }
    fn host_name(&self, _addr: IpAddr) -> Option<String> {
        None
    }
    fn network_address(&self, _name: &str) -> Option<Ipv4Addr> {
        None
    }
}

/// Protocols that legacy names without asking any database, in its order: the first name of a number is the one printed.
pub const BUILTIN_PROTOCOLS: &[(&str, u8)] = &[
    ("tcp", 6),
    ("sctp", 132),
    ("udp", 17),
    ("udplite", 136),
    ("icmp", 1),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("esp", 50),
    ("ah", 51),
    ("mobility-header", 135),
    ("ipv6-mh", 135),
    ("mh", 135),
    ("dccp", 33),
    ("ipcomp", 108),
    ("all", 0),
];

/// The built-in name of a protocol.
#[must_use]
pub fn builtin_protocol_name(number: u8) -> Option<&'static str> {
    BUILTIN_PROTOCOLS.iter().find(|(_, n)| *n == number).map(|(name, _)| *name)
}
