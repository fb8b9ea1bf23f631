//! The local routing table (255), mirrored for the programs: which addresses are this host's, broadcast, and so on.

use crate::error::{Doing, Result};
use crate::netlink::dump;
use crate::sys::bpf::Map;
use bpftables_abi::maps::{AddrInfo, AddrKey};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::collections::{BTreeMap, BTreeSet};

/// `RT_TABLE_LOCAL`.
const TABLE_LOCAL: u8 = 255;

/// Host-order address and prefix length, so that the order is that of people.
type Wanted = BTreeMap<(u32, u32), AddrInfo>;

fn local_routes() -> Result<Wanted> {
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet;
    request.header.table = TABLE_LOCAL;
    let messages = dump(&RouteNetlinkMessage::GetRoute(request)).doing(|| "list the local addresses".to_owned())?;
    let mut wanted = Wanted::new();
    for message in messages {
        let RouteNetlinkMessage::NewRoute(route) = message else { continue };
        if route.header.table != TABLE_LOCAL {
            continue;
        }
        let mut addr = 0;
        let mut ifindex = 0;
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(to)) => addr = u32::from(*to),
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

/// Makes the map equal to the routing table, by as few changes as there are differences.
pub(crate) fn mirror(map: &Map<AddrKey, AddrInfo>) -> Result<()> {
    let doing = || "mirror the local addresses".to_owned();
    let wanted = local_routes()?;
    let present = map.keys().doing(doing)?;
    let stale = present.iter().filter(|key| !wanted.contains_key(&(u32::from_be(key.addr), key.len)));
    let there: BTreeSet<(u32, u32)> = present.iter().map(|key| (u32::from_be(key.addr), key.len)).collect();
    for ((addr, len), info) in &wanted {
        let key = AddrKey { len: *len, addr: addr.to_be() };
        // A lookup finds shorter prefixes too: it answers for this one only if this one is there.
        let same = there.contains(&(*addr, *len)) && map.get(&key).doing(doing)?.as_ref() == Some(info);
        if !same {
            map.set(&key, info).doing(doing)?;
        }
    }
    for key in stale {
        map.remove(key).doing(doing)?;
    }
    Ok(())
}
