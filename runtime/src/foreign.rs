//! What else acts on the packets of a network namespace: programs of others at our devices, and the tables of netfilter.

use crate::devices::Device;
use crate::error::{Doing, Result};
use crate::install::Installed;
use crate::netlink::dump;
use crate::sys::bpf::nf::query_tcx_links;
use crate::sys::bpf::{self, TCX_EGRESS, TCX_INGRESS};
use bpftables_abi::maps::PROGRAMS;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use netlink_packet_route::tc::{TcAttribute, TcMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::AsFd;

/// `BPF_NETKIT_PRIMARY`, `BPF_NETKIT_PEER`.
const NETKIT: [(u32, &str); 2] = [(54, "netkit primary"), (55, "netkit peer")];

/// Something of somebody else's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Foreign {
    /// What it is.
    pub what: String,
    /// What that means.
    pub meaning: &'static str,
}

/// Everything that is found; what cannot be asked is left out.
pub(crate) fn find(installed: &Installed, devices: &[Device]) -> Result<Vec<Foreign>> {
    let mut found = Vec::new();
    let mut ours = BTreeSet::new();
    for name in PROGRAMS {
        if let Some(program) = installed.program(name)? {
            ours.insert(bpf::prog_info(program.as_fd()).doing(|| format!("examine program {name}"))?.id);
        }
    }
    for device in devices {
        tcx(device, &ours, &mut found);
    }
    xdp(devices, &mut found)?;
    classic(devices, &mut found)?;
    tables(&mut found);
    Ok(found)
}

fn named(id: u32) -> String {
    match bpf::prog_name(id) {
        Ok(name) if !name.is_empty() => format!("{name} ({id})"),
        _ => id.to_string(),
    }
}

fn tcx(device: &Device, ours: &BTreeSet<u32>, found: &mut Vec<Foreign>) {
    for (hook, direction) in [(TCX_INGRESS, "ingress"), (TCX_EGRESS, "egress")] {
        // The device may have gone.
        let there = query_tcx_links(device.ifindex, hook).unwrap_or_default();
        let own = there.iter().position(|(program, _)| ours.contains(program));
        for (place, (program, _)) in there.iter().enumerate().filter(|(_, (program, _))| !ours.contains(program)) {
            let meaning = match own {
                Some(own) if place < own => "it runs before the rules, and what it takes they do not see",
                Some(_) => "it sees what the rules let pass",
                None => "no program of ours is there",
            };
            found.push(Foreign { what: format!("tcx {direction} of {}: program {}", device.name, named(*program)), meaning });
        }
    }
    for (hook, name) in NETKIT {
        for (program, _) in query_tcx_links(device.ifindex, hook).unwrap_or_default() {
            let what = format!("{name} of {}: program {}", device.name, named(program));
            found.push(Foreign { what, meaning: "it runs in the device, before the rules of the namespace it sends to" });
        }
    }
}

fn xdp(devices: &[Device], found: &mut Vec<Foreign>) -> Result<()> {
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    for message in dump(&request).doing(|| "list the network devices".to_owned())? {
        let RouteNetlinkMessage::NewLink(link) = message else { continue };
        let Some(device) = devices.iter().find(|device| device.ifindex == link.header.index) else { continue };
        for attribute in &link.attributes {
            let LinkAttribute::Xdp(xdp) = attribute else { continue };
            for program in xdp.iter().filter_map(|one| match one {
                LinkXdp::ProgId(id) if *id != 0 => Some(*id),
                _ => None,
            }) {
                let what = format!("XDP of {}: program {}", device.name, named(program));
                found.push(Foreign { what, meaning: "it runs before the rules, and what it takes they do not see" });
            }
        }
    }
    Ok(())
}

/// Queueing disciplines that carry classic filters.
fn classic(devices: &[Device], found: &mut Vec<Foreign>) -> Result<()> {
    let request = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
    for message in dump(&request).doing(|| "list the queueing disciplines".to_owned())? {
        let RouteNetlinkMessage::NewQueueDiscipline(discipline) = message else { continue };
        let kind = discipline.attributes.iter().find_map(|attribute| match attribute {
            TcAttribute::Kind(kind) if kind == "clsact" || kind == "ingress" => Some(kind),
            _ => None,
        });
        let device = devices.iter().find(|device| i64::from(device.ifindex) == i64::from(discipline.header.index));
        if let (Some(kind), Some(device)) = (kind, device) {
            let what = format!("{kind} of {}", device.name);
            found.push(Foreign { what, meaning: "filters of tc(8) there, if any, see what the rules let pass" });
        }
    }
    Ok(())
}

/// Tables of legacy netfilter and of nftables.
fn tables(found: &mut Vec<Foreign>) {
    for (path, family) in [("/proc/thread-self/net/ip_tables_names", "IPv4"), ("/proc/thread-self/net/ip6_tables_names", "IPv6")] {
        for table in fs::read_to_string(path).unwrap_or_default().lines() {
            found.push(Foreign {
                what: format!("legacy table {table} ({family})"),
                meaning: "its rules, if any, are asked as well, and a packet has to pass both",
            });
        }
    }
    for (family, table) in nft_tables().unwrap_or_default() {
        found.push(Foreign {
            what: format!("nft table {family} {table}"),
            meaning: "its chains, if any, are asked as well, and a packet has to pass both",
        });
    }
}

/// Families and names, as `nft list tables`.
fn nft_tables() -> io::Result<Vec<(&'static str, String)>> {
    // NFT_MSG_GETTABLE of NFNL_SUBSYS_NFTABLES, NLM_F_REQUEST | NLM_F_DUMP, then a struct nfgenmsg of no family.
    const GET_TABLE: u16 = 10 << 8 | 1;
    const NAME: u16 = 1;
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut request = Vec::new();
    request.extend(20_u32.to_ne_bytes());
    request.extend(GET_TABLE.to_ne_bytes());
    request.extend(0x301_u16.to_ne_bytes());
    request.extend([0; 12]);
    socket.send(&request, 0)?;
    let mut found = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while let Some((length, kind)) = header(rest) {
            // NLMSG_ERROR and NLMSG_DONE.
            if kind == 2 || kind == 3 {
                return Ok(found);
            }
            let message = rest.get(16..length).unwrap_or(&[]);
            let family = match message.first() {
                Some(1) => "inet",
                Some(2) => "ip",
                Some(3) => "arp",
                Some(5) => "netdev",
                Some(7) => "bridge",
                Some(10) => "ip6",
                _ => "?",
            };
            let mut attributes = message.get(4..).unwrap_or(&[]);
            while let [a, b, c, d, ..] = *attributes {
                let (size, kind) = (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d]));
                if kind & 0x3fff == NAME {
                    let name = attributes.get(4..size).unwrap_or(&[]);
                    let name = name.split(|byte| *byte == 0).next().unwrap_or(&[]);
                    found.push((family, String::from_utf8_lossy(name).into_owned()));
                }
                attributes = attributes.get(size.max(4).next_multiple_of(4)..).unwrap_or(&[]);
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        }
    }
}

/// Length and type of a netlink message.
fn header(bytes: &[u8]) -> Option<(usize, u16)> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    (length >= 16 && bytes.len() >= 16).then_some((length, kind))
}
