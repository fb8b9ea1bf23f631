//! The devices of a network namespace, and which of them meet the rules.

use crate::error::{Doing, Result};
use crate::netlink::dump;
use crate::sys::bpf::Map;
use crate::sysctl;
use bpftables_abi::maps::DevInfo;
use bpftables_ruleset::Family;
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
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
    /// A bridge's port: what is for this host passes the bridge, where the programs are. Programs at the port meet what is bridged, for
    /// the families whose hooks of netfilter br_netfilter shows it to.
    BridgePort(Bridged),
    /// A VRF, with an Ethernet header. Netfilter's hooks meet its members' packets twice, as the member's and as the VRF's, and so do the
    /// programs of the member; those of the VRF meet what this host sends to itself. It has programs for the families that it forwards:
    /// of other VRFs the kernel tells programs no routes.
    Vrf([bool; 2]),
    /// Its kind of link header (`ARPHRD_*`) is not known: its packets meet no rules.
    Unknown(u16),
}

/// Of a bridge's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bridged {
    /// The bridge's number.
    pub bridge: u32,
    /// The families whose rules see bridged packets.
    pub shown: Shown,
}

/// Families whose hooks of netfilter see bridged packets, by `Family as usize`: where a sysctl of br_netfilter says so, or the bridge's own option.
pub type Shown = [bool; 2];

/// What a program is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Devices of this framing.
    Device(Framing),
    /// Ports of bridges.
    Port,
}

impl Place {
    /// In the order of the programs ([`bpftables_abi::maps::PROGRAMS`]).
    pub(crate) const ALL: [Self; 3] = [Self::Device(Framing::Ethernet), Self::Device(Framing::Raw), Self::Port];

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Device(Framing::Ethernet) => 0,
            Self::Device(Framing::Raw) => 1,
            Self::Port => 2,
        }
    }
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

impl Device {
    /// What the programs are for that a family has at this device; none where it has none.
    pub(crate) fn place(&self, family: Family) -> Option<Place> {
        match self.coverage {
            Coverage::Attached(framing) => Some(Place::Device(framing)),
            Coverage::Vrf(forwards) if forwards[family as usize] => Some(Place::Device(Framing::Ethernet)),
            Coverage::BridgePort(of) if of.shown[family as usize] => Some(Place::Port),
            _ => None,
        }
    }

    /// The bridge whose bridged packets a family's rules see at this port.
    pub(crate) fn shown_bridge(&self, family: Family) -> Option<u32> {
        match self.coverage {
            Coverage::BridgePort(of) if of.shown[family as usize] => Some(of.bridge),
            _ => None,
        }
    }
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
    /// Of a bridge: its own options `nf_call_iptables` and `nf_call_ip6tables`.
    calls: Shown,
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
            calls: calls(message),
            header: u16::from(message.header.link_layer_type),
        })
    }
}

/// All devices of the calling thread's network namespace, by number.
pub(crate) fn list() -> Result<Vec<Device>> {
    Ok(devices(&links()?, sysctl::bridged()))
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

/// What the programs have to do with each of them. `shown`: what br_netfilter's sysctls say for all bridges.
pub(crate) fn devices(links: &BTreeMap<u32, Link>, shown: Shown) -> Vec<Device> {
    let vrfs: BTreeSet<u32> = links.values().filter(|link| link.vrf).map(|link| link.ifindex).collect();
    links.values().map(|link| device(link, links, &vrfs, shown)).collect()
}

/// Tells the programs the names of the devices, which they ask when a packet's way leads to a device that they did not see it on.
pub(crate) fn name(map: &Map<u32, DevInfo>, devices: &[Device]) -> Result<()> {
    for device in devices {
        let framing = match device.coverage {
            Coverage::Attached(framing) => framing,
            // Rules name ports too (`--physdev-in`).
            Coverage::BridgePort(_) | Coverage::Vrf(_) => Framing::Ethernet,
            _ => continue,
        };
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

/// A bridge's `nf_call_iptables` and `nf_call_ip6tables`.
fn calls(message: &LinkMessage) -> Shown {
    let mut calls = Shown::default();
    for info in infos(message) {
        let LinkInfo::Data(InfoData::Bridge(options)) = info else { continue };
        for option in options {
            match option {
                InfoBridge::NfCallIpTables(on) => calls[Family::V4 as usize] = *on,
                InfoBridge::NfCallIp6Tables(on) => calls[Family::V6 as usize] = *on,
                _ => {}
            }
        }
    }
    calls
}

fn device(link: &Link, links: &BTreeMap<u32, Link>, vrfs: &BTreeSet<u32>, shown: Shown) -> Device {
    // A member of a VRF keeps its packets; a member of anything else hands them to its master.
    let vrf_member = link.vrf_member || link.master.is_some_and(|master| vrfs.contains(&master));
    let coverage = match link.master {
        _ if link.vrf => Coverage::Vrf(Family::ALL.map(|family| sysctl::forwards(family, &link.name))),
        Some(bridge) if link.bridge_port => {
            let own = links.get(&bridge).map_or_else(Shown::default, |bridge| bridge.calls);
            let shown = [0, 1].map(|family| shown[family] || own[family]);
            Coverage::BridgePort(Bridged { bridge, shown })
        }
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
