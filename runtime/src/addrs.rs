//! The local routing table (255), mirrored for the programs: which addresses are this host's, broadcast, and so on.

use crate::error::{Doing, Result};
use crate::install::Installed;
use crate::netlink::dump;
use bpftables_abi::maps::{self, AddrInfo, AddrKey, AddrKey6};
use bpftables_ruleset::Family;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `RT_TABLE_LOCAL`.
const TABLE_LOCAL: u8 = 255;

/// Prefixes: address and length.
type Prefix = (IpAddr, u32);

/// A family's key of the mirror.
trait Key: FromBytes + IntoBytes + Immutable + Copy {
    /// `RouteMessage`'s family.
    const FAMILY: AddressFamily;
    /// Where a route without a destination leads.
    const ANY: IpAddr;

    /// The key of a prefix; none: of another family.
    fn new(prefix: Prefix) -> Option<Self>;
    fn prefix(self) -> Prefix;
}

impl Key for AddrKey {
    const FAMILY: AddressFamily = AddressFamily::Inet;
    const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    fn new((addr, len): Prefix) -> Option<Self> {
        let IpAddr::V4(addr) = addr else { return None };
        Some(Self { len, addr: addr.to_bits().to_be() })
    }

    fn prefix(self) -> Prefix {
        (Ipv4Addr::from_bits(u32::from_be(self.addr)).into(), self.len)
    }
}

impl Key for AddrKey6 {
    const FAMILY: AddressFamily = AddressFamily::Inet6;
    const ANY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

    fn new((addr, len): Prefix) -> Option<Self> {
        let IpAddr::V6(addr) = addr else { return None };
        Some(Self { len, addr: addr.octets() })
    }

    fn prefix(self) -> Prefix {
        (Ipv6Addr::from(self.addr).into(), self.len)
    }
}

fn local_routes<K: Key>() -> Result<BTreeMap<Prefix, AddrInfo>> {
    let mut request = RouteMessage::default();
    request.header.address_family = K::FAMILY;
    request.header.table = TABLE_LOCAL;
    let messages = dump(&RouteNetlinkMessage::GetRoute(request)).doing(|| "list the local addresses".to_owned())?;
    let mut wanted = BTreeMap::new();
    for message in messages {
        let RouteNetlinkMessage::NewRoute(route) = message else { continue };
        if route.header.table != TABLE_LOCAL || route.header.address_family != K::FAMILY {
            continue;
        }
        let mut addr = K::ANY;
        let mut ifindex = 0;
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(to)) => addr = (*to).into(),
                RouteAttribute::Destination(RouteAddress::Inet6(to)) => addr = (*to).into(),
                RouteAttribute::Oif(device) => ifindex = *device,
                _ => {}
            }
        }
        let kind = u32::from(u8::from(route.header.kind));
        // Routes to one prefix come in order of preference: the first counts.
        wanted.entry((addr, u32::from(route.header.destination_prefix_length))).or_insert(AddrInfo { kind, ifindex });
    }
    Ok(wanted)
}

/// Makes the map equal to the family's routing table, by as few changes as there are differences.
pub(crate) fn mirror(installed: &Installed) -> Result<()> {
    match installed.family {
        Family::V4 => mirror_of::<AddrKey>(installed),
        Family::V6 => mirror_of::<AddrKey6>(installed),
    }
}

fn mirror_of<K: Key>(installed: &Installed) -> Result<()> {
    let doing = || "mirror the local addresses".to_owned();
    let map = installed.map::<K, AddrInfo>(maps::ADDRS)?;
    let wanted = local_routes::<K>()?;
    let present = map.keys().doing(doing)?;
    let stale = present.iter().filter(|key| !wanted.contains_key(&key.prefix()));
    let there: BTreeSet<Prefix> = present.iter().map(|key| key.prefix()).collect();
    for (prefix, info) in &wanted {
        let Some(key) = K::new(*prefix) else { continue };
        // A lookup finds shorter prefixes too: it answers for this one only if this one is there.
        let same = there.contains(prefix) && map.get(&key).doing(doing)?.as_ref() == Some(info);
        if !same {
            map.set(&key, info).doing(doing)?;
        }
    }
    for key in stale {
        map.remove(key).doing(doing)?;
    }
    Ok(())
}
