//! Others that look at the packets of this network namespace: their programs at our devices, and netfilter's own rules. They go on as if
//! ours were not there; who looks for a lost packet has to know of them.

use crate::devices::{self, Device};
use crate::engine::Engine;
use crate::error::{Doing, EngineError, Result};
use crate::netlink::dump;
use crate::nftables::nft_tables;
use crate::sys::bpf::{self, TCX_EGRESS, TCX_INGRESS};
use crate::sys::xtables;
use bpftables_abi::maps;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;

/// `BPF_NETKIT_PRIMARY` and `BPF_NETKIT_PEER`.
const NETKIT: [(u32, &str); 2] = [(54, "netkit"), (55, "netkit peer")];
/// `TC_H_CLSACT` and its ingress and egress.
const CLSACT: [(TcHandle, bool); 2] =
    [(TcHandle { major: 0xffff, minor: 0xfff2 }, true), (TcHandle { major: 0xffff, minor: 0xfff3 }, false)];
/// Where the kernel names the tables that legacy has in this namespace; whose they are, and whether IPv6's.
const LEGACY: [(&str, &str, bool); 2] = [
    ("/proc/thread-self/net/ip_tables_names", "iptables-legacy", false),
    ("/proc/thread-self/net/ip6_tables_names", "ip6tables-legacy", true),
];

/// Somebody else's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Neighbour {
    /// Where it is, and what.
    pub what: String,
    /// What that means for packets.
    pub meaning: Cow<'static, str>,
}

const AFTER: &str = "it sees what our rules let pass";
const BEFORE: &str = "what it drops or sends elsewhere meets no rule of ours";
const NETFILTER: &str = "packets have to pass both: at ingress ours come first, at egress ours come last, and it sees addresses as ours leave them; \
                         what only it sends to this host is dropped if our INPUT has a rule or a policy other than ACCEPT";
const BELOW: &str = "at ingress it comes after ours, at egress before";
const BESIDE: &str = "what it sees is no IP packet of this host, and meets no rule of ours";

impl Engine {
    /// Programs of others at the devices of this network namespace, and tables of netfilter that are not empty.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn neighbours(&mut self) -> Result<Vec<Neighbour>> {
        let mut found = Vec::new();
        for device in devices::list()? {
            at_tcx(&device, &mut found);
            at_tc(&device, &mut found)?;
        }
        xdp(&mut found)?;
        netfilter(&mut found)?;
        Ok(found)
    }
}

fn is_ours(name: &str) -> bool {
    // The kernel keeps 15 bytes of a name.
    maps::PROGRAMS.iter().chain(&maps::PROGRAMS6).any(|known| &known[..known.len().min(15)] == name)
}

/// Name of a program; empty if it went meanwhile.
fn name(id: u32) -> String {
    bpf::prog_name(id).unwrap_or_default()
}

fn at_tcx(device: &Device, found: &mut Vec<Neighbour>) {
    for (hook, place) in [(TCX_INGRESS, "tcx ingress"), (TCX_EGRESS, "tcx egress")] {
        // The device may have gone, or the kernel know no such hook.
        let programs: Vec<(u32, String)> =
            bpf::query_tcx(device.ifindex, hook).unwrap_or_default().into_iter().map(|id| (id, name(id))).collect();
        let ours = programs.iter().position(|(_, name)| is_ours(name));
        for (at, (id, name)) in programs.iter().enumerate().filter(|(_, (_, name))| !is_ours(name)) {
            let meaning = if ours.is_some_and(|ours| at < ours) { BEFORE } else { AFTER };
            found.push(Neighbour {
                what: format!("{place} of {}: program {name} ({id})", device.name),
                meaning: meaning.into(),
            });
        }
    }
    for (hook, place) in NETKIT {
        for id in bpf::query_tcx(device.ifindex, hook).unwrap_or_default() {
            // What a netkit device sends passes its program on the way to the peer's ingress, behind our egress.
            let what = format!("{place} of {}: program {} ({id})", device.name, name(id));
            found.push(Neighbour {
                what,
                meaning: Cow::Borrowed("it sees what our rules let out, and what comes in before ours do"),
            });
        }
    }
}

/// Filters of a clsact qdisc.
fn at_tc(device: &Device, found: &mut Vec<Neighbour>) -> Result<()> {
    for (parent, ingress) in CLSACT {
        let mut request = TcMessage::default();
        request.header.index = device.ifindex.cast_signed();
        request.header.parent = parent;
        let Ok(messages) = dump(&RouteNetlinkMessage::GetTrafficFilter(request)) else { continue };
        let kinds: BTreeSet<&str> = messages
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewTrafficFilter(filter) => Some(&filter.attributes),
                _ => None,
            })
            .flatten()
            .filter_map(|attribute| match attribute {
                TcAttribute::Kind(kind) => Some(kind.as_str()),
                _ => None,
            })
            .collect();
        let place = if ingress { "ingress" } else { "egress" };
        for kind in kinds {
            let what = format!("tc {place} of {}: filter of kind {kind}", device.name);
            found.push(Neighbour { what, meaning: AFTER.into() });
        }
    }
    Ok(())
}

fn xdp(found: &mut Vec<Neighbour>) -> Result<()> {
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    for message in dump(&request).doing(|| "list the network devices".to_owned())? {
        let RouteNetlinkMessage::NewLink(link) = message else { continue };
        let named = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.as_str()),
            _ => None,
        });
        let programs = link.attributes.iter().filter_map(|attribute| match attribute {
            LinkAttribute::Xdp(xdp) => Some(xdp.iter()),
            _ => None,
        });
        for id in programs.flatten().filter_map(|xdp| match xdp {
            LinkXdp::ProgId(id) => Some(*id),
            _ => None,
        }) {
            let what = format!("XDP of {}: program {} ({id})", named.unwrap_or_default(), name(id));
            found.push(Neighbour { what, meaning: BEFORE.into() });
        }
    }
    Ok(())
}

fn netfilter(found: &mut Vec<Neighbour>) -> Result<()> {
    for (path, command, ipv6) in LEGACY {
        // Not there where the kernel has no such tables.
        let names = fs::read_to_string(path).unwrap_or_default();
        // Legacy's kernel makes a table for who lists it; one that lets everything pass does nothing. What can't be read is named.
        for table in names.lines().filter(|table| xtables::is_in_force(ipv6, table).unwrap_or(true)) {
            found.push(Neighbour { what: format!("netfilter: table {table} of {command}"), meaning: NETFILTER.into() });
        }
    }
    let tables = match nft_tables() {
        Err(error @ EngineError::Permission { .. }) => {
            found.push(Neighbour { what: "netfilter".to_owned(), meaning: error.to_string().into() });
            return Ok(());
        }
        tables => tables?,
    };
    for table in tables.into_iter().filter(|table| table.in_force) {
        let meaning = match table.family {
            "arp" | "bridge" => BESIDE,
            "netdev" => BELOW,
            _ => NETFILTER,
        };
        found.push(Neighbour { what: format!("netfilter: table {table} of nft"), meaning: meaning.into() });
    }
    Ok(())
}
