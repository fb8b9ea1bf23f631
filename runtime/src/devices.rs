//! The devices of a network namespace, and which of them meet the rules.

use crate::error::{Doing, Result};
use crate::netlink::dump;
use crate::sys::bpf::Map;
use bpftables_abi::maps::DevInfo;
use netlink_packet_route::link::{InfoKind, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::collections::{BTreeMap, BTreeSet};

/// How a device's packets begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// With an Ethernet header of 14 bytes (`lo` too).
    Ethernet,
    /// With the IP header.
    Raw,
}

/// What the programs have to do with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// It carries packets of this namespace: the programs are attached.
    Attached(Framing),
    /// Another device owns its packets (bond or team member): no program there.
    Lower,
    /// A bridge's port: what is for this host passes the bridge, where the programs are; what is bridged passes none.
    BridgePort,
    /// A VRF: netfilter's hooks meet its packets twice, once at its member and once at itself (`drivers/net/vrf.c`), which the programs
    /// cannot do. No rules are committed beside one, and the guard closes one that comes later.
    Vrf,
    /// Its kind of link header (`ARPHRD_*`) is not known: its packets meet no rules.
    Unknown(u16),
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// What the programs have to do with it.
    pub coverage: Coverage,
}

/// What rtnetlink says of a device, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) ifindex: u32,
    pub(crate) name: String,
    /// `IFF_UP`.
    pub(crate) up: bool,
    master: Option<u32>,
    vrf: bool,
    /// It says itself that it is a VRF's member.
    vrf_member: bool,
    /// It says itself that it is a bridge's port.
    bridge_port: bool,
    /// `ARPHRD_*`.
    header: u16,
}

impl Link {
    /// None for messages about a bridge's view of its port.
    pub(crate) fn new(message: &LinkMessage) -> Option<Self> {
        if message.header.interface_family != AddressFamily::Unspec {
            return None;
        }
        let attributes = &message.attributes;
        let name = attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        });
        let master = attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Controller(master) if *master != 0 => Some(*master),
            _ => None,
        });
        Some(Self {
            ifindex: message.header.index,
            name: name.unwrap_or_default(),
            up: message.header.flags.contains(LinkFlags::Up),
            master,
            vrf: infos(message).any(|info| matches!(info, LinkInfo::Kind(InfoKind::Vrf))),
            vrf_member: infos(message).any(|info| matches!(info, LinkInfo::PortKind(InfoPortKind::Vrf))),
            bridge_port: infos(message).any(|info| matches!(info, LinkInfo::PortKind(InfoPortKind::Bridge))),
            header: u16::from(message.header.link_layer_type),
        })
    }
}

/// All devices of the calling thread's network namespace, by number.
pub(crate) fn list() -> Result<Vec<Device>> {
    Ok(devices(&links()?))
}

/// All devices of the calling thread's network namespace, as rtnetlink describes them.
pub(crate) fn links() -> Result<BTreeMap<u32, Link>> {
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let messages = dump(&request).doing(|| "list the network devices".to_owned())?;
    let links = messages.iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewLink(link) => Link::new(link),
        _ => None,
    });
    Ok(links.map(|link| (link.ifindex, link)).collect())
}

/// What the programs have to do with each of them.
pub(crate) fn devices(links: &BTreeMap<u32, Link>) -> Vec<Device> {
    let vrfs: BTreeSet<u32> = links.values().filter(|link| link.vrf).map(|link| link.ifindex).collect();
    links.values().map(|link| device(link, &vrfs)).collect()
}

/// Tells the programs the names of the devices, which they ask when a packet's way leads to a device that they did not see it on.
pub(crate) fn name(map: &Map<u32, DevInfo>, devices: &[Device]) -> Result<()> {
    for device in devices {
        let Coverage::Attached(framing) = device.coverage else { continue };
        let doing = || format!("name device {}", device.name);
        let mut name = [0; 16];
        let bytes = device.name.as_bytes();
        let len = bytes.len().min(name.len() - 1);
        name[..len].copy_from_slice(&bytes[..len]);
        if map.get(&device.ifindex).doing(doing)?.is_some_and(|info| info.name == name) {
            continue;
        }
        let l2len = if framing == Framing::Ethernet { 14 } else { 0 };
        map.set(&device.ifindex, &DevInfo { name, class: 0, l2len, group: 0 }).doing(doing)?;
    }
    Ok(())
}

fn infos(link: &LinkMessage) -> impl Iterator<Item = &LinkInfo> {
    link.attributes
        .iter()
        .filter_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => Some(infos.iter()),
            _ => None,
        })
        .flatten()
}

fn device(link: &Link, vrfs: &BTreeSet<u32>) -> Device {
    // A member of a VRF keeps its packets; a member of anything else hands them to its master.
    let vrf_member = link.vrf_member || link.master.is_some_and(|master| vrfs.contains(&master));
    let coverage = match link.master {
        _ if link.vrf => Coverage::Vrf,
        Some(_) if link.bridge_port => Coverage::BridgePort,
        Some(_) if !vrf_member => Coverage::Lower,
        _ => by_header(link.header),
    };
    Device { ifindex: link.ifindex, name: link.name.clone(), coverage }
}

/// By `ARPHRD_*`.
fn by_header(kind: u16) -> Coverage {
    match kind {
        // ETHER, LOOPBACK
        1 | 772 => Coverage::Attached(Framing::Ethernet),
        // PPP, RAWIP, TUNNEL, TUNNEL6, SIT, IPGRE, IP6GRE, NONE
        512 | 519 | 768 | 769 | 776 | 778 | 823 | 0xfffe => Coverage::Attached(Framing::Raw),
        other => Coverage::Unknown(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_told_apart_by_their_link_header() {
        assert_eq!(by_header(1), Coverage::Attached(Framing::Ethernet));
        assert_eq!(by_header(772), Coverage::Attached(Framing::Ethernet));
        assert_eq!(by_header(65534), Coverage::Attached(Framing::Raw));
        assert_eq!(by_header(24), Coverage::Unknown(24));
    }

    #[test]
    fn every_namespace_has_a_loopback_device() {
        let devices = list().unwrap();
        let lo = devices.iter().find(|d| d.name == "lo").unwrap();
        assert_eq!(lo.coverage, Coverage::Attached(Framing::Ethernet));
    }
}
