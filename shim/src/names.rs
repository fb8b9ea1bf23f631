//! Names of protocols, services, hosts and networks, from where the C library finds them.

use crate::accounts;
use bpftables_ruleset::names::{NumberNames, SetLookup, UNKNOWN_HOST};
use bpftables_ruleset::{Family, Names};
use bpftables_runtime::sys::bpf::open_pinned;
use bpftables_runtime::sys::ipset;
use dns_lookup::{AddrInfoHints, LookupErrorKind};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The system's names: `/etc/protocols`, `/etc/services`, `/etc/networks`, and the resolver. Files are read when first asked.
#[derive(Debug)]
pub struct SystemNames {
    directory: PathBuf,
    protocols: OnceLock<Protocols>,
    services: OnceLock<Services>,
    networks: OnceLock<Vec<(String, Ipv4Addr)>>,
    users: OnceLock<Vec<(String, u32)>>,
    groups: OnceLock<Vec<(String, u32)>>,
}

#[derive(Debug, Default)]
struct Protocols {
    by_name: BTreeMap<String, u8>,
    by_number: BTreeMap<u8, String>,
}

#[derive(Debug, Default)]
struct Services {
    /// (protocol, name or alias) to port.
    by_name: BTreeMap<(String, String), u16>,
    by_port: BTreeMap<(String, u16), String>,
}

impl Default for SystemNames {
    fn default() -> Self {
        Self::in_directory("/etc")
    }
}

/// The lines of such a file as words, comments cut off.
fn lines(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let words = |line: &str| -> Vec<String> {
        let line = line.split_once('#').map_or(line, |(before, _)| before);
        line.split_whitespace().map(str::to_owned).collect()
    };
    text.lines().map(words).filter(|words| words.len() >= 2).collect()
}

impl SystemNames {
    /// Reads the three files from another directory.
    #[must_use]
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            protocols: OnceLock::new(),
            services: OnceLock::new(),
            networks: OnceLock::new(),
            users: OnceLock::new(),
            groups: OnceLock::new(),
        }
    }

    fn users(&self) -> &[(String, u32)] {
        self.users.get_or_init(|| accounts::accounts(&self.directory.join("passwd")))
    }

    fn groups(&self) -> &[(String, u32)] {
        self.groups.get_or_init(|| accounts::accounts(&self.directory.join("group")))
    }

    fn protocols(&self) -> &Protocols {
        self.protocols.get_or_init(|| {
            let mut all = Protocols::default();
            for words in lines(&self.directory.join("protocols")) {
                let Ok(number) = words[1].parse::<u8>() else { continue };
                all.by_number.entry(number).or_insert_with(|| words[0].clone());
                for name in words.iter().take(1).chain(&words[2..]) {
                    all.by_name.entry(name.clone()).or_insert(number);
                }
            }
            all
        })
    }

    fn services(&self) -> &Services {
        self.services.get_or_init(|| {
            let mut all = Services::default();
            for words in lines(&self.directory.join("services")) {
                let Some((port, protocol)) = words[1].split_once('/') else { continue };
                let Ok(port) = port.parse::<u16>() else { continue };
                all.by_port.entry((protocol.to_owned(), port)).or_insert_with(|| words[0].clone());
                for name in words.iter().take(1).chain(&words[2..]) {
                    all.by_name.entry((protocol.to_owned(), name.clone())).or_insert(port);
                }
            }
            all
        })
    }

    fn networks(&self) -> &[(String, Ipv4Addr)] {
        self.networks.get_or_init(|| {
            let mut all = Vec::new();
            for words in lines(&self.directory.join("networks")) {
                let Some(network) = network_number(&words[1]) else { continue };
                for name in words.iter().take(1).chain(&words[2..]) {
                    all.push((name.clone(), network));
                }
            }
            all
        })
    }
}

impl Names for SystemNames {
    fn protocol_number(&self, name: &str) -> Option<u8> {
        self.protocols().by_name.get(name).copied()
    }

    fn protocol_name(&self, number: u8) -> Option<String> {
        self.protocols().by_number.get(&number).cloned()
    }

    fn service_port(&self, name: &str, protocol: Option<&str>) -> Option<u16> {
        let services = self.services();
        match protocol {
            Some(protocol) => services.by_name.get(&(protocol.to_owned(), name.to_owned())).copied(),
            None => services.by_name.iter().find(|((_, known), _)| known == name).map(|(_, port)| *port),
        }
    }

    fn service_name(&self, port: u16, protocol: Option<&str>) -> Option<String> {
        let services = self.services();
        match protocol {
            Some(protocol) => services.by_port.get(&(protocol.to_owned(), port)).cloned(),
            None => services.by_port.iter().find(|((_, known), _)| *known == port).map(|(_, name)| name.clone()),
        }
    }

    fn host_addresses(&self, name: &str, family: Family) -> Result<Vec<IpAddr>, &'static str> {
        let address = match family {
            Family::V4 => libc::AF_INET,
            Family::V6 => libc::AF_INET6,
        };
        // As legacy asks: of one family alone, for which the resolver may translate what its files say.
        let hints = AddrInfoHints { address, socktype: libc::SOCK_RAW, ..AddrInfoHints::default() };
        let found =
            dns_lookup::getaddrinfo(Some(name), None, Some(hints)).map_err(|error| resolver_words(error.kind()))?;
        Ok(found.flatten().map(|found| found.sockaddr.ip()).collect())
    }

    fn host_name(&self, addr: IpAddr) -> Option<String> {
        let name = dns_lookup::lookup_addr(&addr).ok()?;
        (name != addr.to_string()).then_some(name)
    }

    fn network_name(&self, addr: Ipv4Addr) -> Option<String> {
        self.networks().iter().find(|(_, known)| *known == addr).map(|(name, _)| name.clone())
    }

    fn network_address(&self, name: &str) -> Option<Ipv4Addr> {
        self.networks().iter().find(|(known, _)| known == name).map(|(_, network)| *network)
    }

    fn user_id(&self, name: &str) -> Option<u32> {
        self.users().iter().find(|(known, _)| known == name).map(|(_, id)| *id)
    }

    fn user_name(&self, id: u32) -> Option<String> {
        self.users().iter().find(|(_, known)| *known == id).map(|(name, _)| name.clone())
    }

    fn group_id(&self, name: &str) -> Option<u32> {
        self.groups().iter().find(|(known, _)| known == name).map(|(_, id)| *id)
    }

    fn group_name(&self, id: u32) -> Option<String> {
        self.groups().iter().find(|(_, known)| *known == id).map(|(name, _)| name.clone())
    }

    fn find_set(&self, name: &str) -> SetLookup {
        let family = |number| match number {
            2 => Some(Family::V4),
            10 => Some(Family::V6),
            _ => None,
        };
        match ipset::find(name) {
            Ok(ipset::Found::Set { family: number, .. }) => SetLookup::Found(family(number)),
            Ok(ipset::Found::Missing) => SetLookup::Missing,
            Err(ipset::Unanswered::Socket(_)) => SetLookup::NoSocket,
            Err(ipset::Unanswered::Version(_)) => SetLookup::NoModule,
            Err(ipset::Unanswered::Question(error)) => SetLookup::Failed(error.raw_os_error().unwrap_or(0)),
        }
    }

    fn has_pinned_object(&self, path: &str) -> bool {
        open_pinned(Path::new(path)).is_ok()
    }

    fn number_names(&self, which: NumberNames) -> Option<Vec<(u32, String)>> {
        accounts::number_names(&self.directory, which)
    }
}

/// gai_strerror(3).
const fn resolver_words(kind: LookupErrorKind) -> &'static str {
    match kind {
        LookupErrorKind::Again => "Temporary failure in name resolution",
        LookupErrorKind::Badflags => "Bad value for ai_flags",
        LookupErrorKind::NoData => "No address associated with hostname",
        LookupErrorKind::Fail => "Non-recoverable failure in name resolution",
        LookupErrorKind::Family => "ai_family not supported",
        LookupErrorKind::Socktype => "ai_socktype not supported",
        LookupErrorKind::Service => "Servname not supported for ai_socktype",
        LookupErrorKind::Memory => "Memory allocation failure",
        LookupErrorKind::System => "System error",
        _ => UNKNOWN_HOST,
    }
}

/// inet_network(3) as an address: `127` and `127.0.0.0` are the same.
fn network_number(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    for (index, part) in text.split('.').enumerate() {
        *octets.get_mut(index)? = part.parse().ok()?;
    }
    Some(octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (tempdir::Dir, SystemNames) {
        let dir = tempdir::Dir::new("names");
        std::fs::write(dir.0.join("protocols"), "# c\nip\t0\tIP\nicmp 1 ICMP\ntcp 6 TCP # x\nipencap 4 IP-ENCAP\n")
            .unwrap();
        std::fs::write(dir.0.join("services"), "http 80/tcp www\nhttp 80/udp\ndomain 53/tcp\ndomain 53/udp\n").unwrap();
        std::fs::write(dir.0.join("networks"), "loopback 127.0.0.0\nlink-local 169.254 alias\n").unwrap();
        let names = SystemNames::in_directory(&dir.0);
        (dir, names)
    }

    #[test]
    fn files_are_read_as_the_c_library_reads_them() {
        let (_dir, names) = names();
        assert_eq!(names.protocol_number("TCP"), Some(6));
        assert_eq!(names.protocol_number("nope"), None);
        assert_eq!(names.protocol_name(4).as_deref(), Some("ipencap"));
        assert_eq!(names.service_port("www", Some("tcp")), Some(80));
        assert_eq!(names.service_port("www", Some("udp")), None);
        assert_eq!(names.service_port("domain", None), Some(53));
        assert_eq!(names.service_name(80, Some("udp")).as_deref(), Some("http"));
        assert_eq!(names.network_address("alias"), Some(Ipv4Addr::new(169, 254, 0, 0)));
        assert_eq!(names.network_address("loopback"), Some(Ipv4Addr::new(127, 0, 0, 0)));
        assert_eq!(names.network_name(Ipv4Addr::new(127, 0, 0, 0)).as_deref(), Some("loopback"));
    }

    #[test]
    fn missing_files_know_no_names() {
        let names = SystemNames::in_directory("/nonexistent");
        assert_eq!(names.protocol_number("tcp"), None);
        assert_eq!(names.service_name(80, None), None);
    }

    mod tempdir {
        pub(super) struct Dir(pub(super) std::path::PathBuf);

        impl Dir {
            pub(super) fn new(name: &str) -> Self {
                let path = std::env::temp_dir().join(format!("bpftables-{name}-{}", std::process::id()));
                std::fs::create_dir_all(&path).unwrap();
                Self(path)
            }
        }

        impl Drop for Dir {
            fn drop(&mut self) {
                let _ = std::fs::remove_dir_all(&self.0);
            }
        }
    }
}
