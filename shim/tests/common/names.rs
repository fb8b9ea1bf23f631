//! The system's names, and sets of ipset and a pinned program that there always are.

use bpftables::names::SystemNames;
use bpftables_ruleset::names::{NumberNames, SetLookup};
use bpftables_ruleset::{Family, Names};
use std::net::{IpAddr, Ipv4Addr};

/// How the sets that [`WithSets`] knows are made.
pub(crate) const SETS: &[&str] =
    &["web hash:ip", "pair hash:ip,port", "bulk hash:ip skbinfo timeout 0", "six hash:ip family inet6", "any list:set"];

/// Where a program of BPF is pinned.
pub(crate) const PINNED: &str = "/sys/fs/bpf/bpftables-says-yes";

/// What the system says, but of sets alone those of [`SETS`], or that there is any, and of pinned objects [`PINNED`].
#[derive(Debug, Default)]
pub(crate) struct WithSets {
    system: SystemNames,
    any: bool,
}

impl WithSets {
    /// Every set is there.
    pub(crate) fn of_any_name() -> Self {
        Self { any: true, ..Self::default() }
    }
}

impl Names for WithSets {
    fn find_set(&self, name: &str) -> SetLookup {
        match name {
            "web" | "pair" | "bulk" => SetLookup::Found(Some(Family::V4)),
            "six" => SetLookup::Found(Some(Family::V6)),
            "any" => SetLookup::Found(None),
            _ if self.any => SetLookup::Found(None),
            _ => SetLookup::Missing,
        }
    }
    fn protocol_number(&self, name: &str) -> Option<u8> {
        self.system.protocol_number(name)
    }
    fn protocol_name(&self, number: u8) -> Option<String> {
        self.system.protocol_name(number)
    }
    fn service_port(&self, name: &str, protocol: Option<&str>) -> Option<u16> {
        self.system.service_port(name, protocol)
    }
    fn service_name(&self, port: u16, protocol: Option<&str>) -> Option<String> {
        self.system.service_name(port, protocol)
    }
    fn host_addresses(&self, name: &str, family: Family) -> Result<Vec<IpAddr>, &'static str> {
        self.system.host_addresses(name, family)
    }
    fn host_name(&self, addr: IpAddr) -> Option<String> {
        self.system.host_name(addr)
    }
    fn network_name(&self, addr: Ipv4Addr) -> Option<String> {
        self.system.network_name(addr)
    }
    fn network_address(&self, name: &str) -> Option<Ipv4Addr> {
        self.system.network_address(name)
    }
    fn user_id(&self, name: &str) -> Option<u32> {
        self.system.user_id(name)
    }
    fn user_name(&self, id: u32) -> Option<String> {
        self.system.user_name(id)
    }
    fn group_id(&self, name: &str) -> Option<u32> {
        self.system.group_id(name)
    }
    fn group_name(&self, id: u32) -> Option<String> {
        self.system.group_name(id)
    }
    fn has_pinned_object(&self, path: &str) -> bool {
        path.starts_with('/') && path.ends_with("/bpf/bpftables-says-yes")
    }
    fn number_names(&self, which: NumberNames) -> Option<Vec<(u32, String)>> {
        self.system.number_names(which)
    }
}
