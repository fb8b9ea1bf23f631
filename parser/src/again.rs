//! By what a line of a restore file is known again that made a rule.

use bpftables_ruleset::names::{NumberNames, SetLookup};
use bpftables_ruleset::{Family, LineId, Names};
use sha2::{Digest, Sha256};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};

/// The id of a line. What else decides what it means is in it too: the family, and which parser reads it.
pub(crate) fn line_id(family: Family, line: &[u8]) -> LineId {
    const PARSER: &str = env!("CARGO_PKG_VERSION");
    let mut digest = Sha256::new();
    digest.update(line);
    digest.update(PARSER);
    digest.update([family as u8, PARSER.len() as u8]);
    let digest = digest.finalize();
    let mut id = LineId::NONE;
    id.0.copy_from_slice(&digest[..16]);
    id
}

/// Names, and whether any was asked for: what a line means is then more than the line says.
pub(crate) struct Asking<'a> {
    names: &'a dyn Names,
    asked: Cell<bool>,
}

impl<'a> Asking<'a> {
    pub(crate) const fn new(names: &'a dyn Names) -> Self {
        Self { names, asked: Cell::new(false) }
    }

    pub(crate) const fn was_asked(&self) -> bool {
        self.asked.get()
    }

    fn ask(&self) -> &dyn Names {
        self.asked.set(true);
        self.names
    }
}

impl Names for Asking<'_> {
    fn protocol_number(&self, name: &str) -> Option<u8> {
        self.ask().protocol_number(name)
    }
    fn protocol_name(&self, number: u8) -> Option<String> {
        self.ask().protocol_name(number)
    }
    fn service_port(&self, name: &str, protocol: Option<&str>) -> Option<u16> {
        self.ask().service_port(name, protocol)
    }
    fn service_name(&self, port: u16, protocol: Option<&str>) -> Option<String> {
        self.ask().service_name(port, protocol)
    }
    fn host_addresses(&self, name: &str, family: Family) -> Result<Vec<IpAddr>, &'static str> {
        self.ask().host_addresses(name, family)
    }
    fn host_name(&self, addr: IpAddr) -> Option<String> {
        self.ask().host_name(addr)
    }
    fn network_name(&self, addr: Ipv4Addr) -> Option<String> {
        self.ask().network_name(addr)
    }
    fn network_address(&self, name: &str) -> Option<Ipv4Addr> {
        self.ask().network_address(name)
    }
    fn user_id(&self, name: &str) -> Option<u32> {
        self.ask().user_id(name)
    }
    fn user_name(&self, id: u32) -> Option<String> {
        self.ask().user_name(id)
    }
    fn group_id(&self, name: &str) -> Option<u32> {
        self.ask().group_id(name)
    }
    fn group_name(&self, id: u32) -> Option<String> {
        self.ask().group_name(id)
    }
    fn find_set(&self, name: &str) -> SetLookup {
        self.ask().find_set(name)
    }
    fn has_pinned_object(&self, path: &str) -> bool {
        self.ask().has_pinned_object(path)
    }
    fn number_names(&self, which: NumberNames) -> Option<Vec<(u32, String)>> {
        self.ask().number_names(which)
    }
}
