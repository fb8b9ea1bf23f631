//! What kube-proxy 1.30 writes, generated: the same chains, rules and order, for services of our choice.
//!
//! The proportions of [`Cluster::large`] (services without endpoints, node ports, load balancers) are
//! those of the recorded saves, so that 20,000 services are 225,515 rules in 81,577 chains.

use std::fmt::Write;
use std::net::Ipv4Addr;

/// A service and what stands behind it.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// `namespace/name:port`, as kube-proxy's comments have it.
    pub(crate) name: String,
    /// Its virtual address.
    pub(crate) cluster_ip: Ipv4Addr,
    /// Its port there.
    pub(crate) port: u16,
    /// The port that every node serves it on.
    pub(crate) node_port: Option<u16>,
    /// The address that a cloud's load balancer has for it.
    pub(crate) load_balancer: Option<Ipv4Addr>,
    /// sessionAffinity: ClientIP, three hours.
    pub(crate) affinity: bool,
    /// Pods; none: connections are refused.
    pub(crate) endpoints: Vec<(Ipv4Addr, u16)>,
}

/// Services of one node's kube-proxy.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    /// The pods' addresses: what comes from elsewhere to a service is masqueraded.
    pub(crate) pods: &'static str,
    /// In the order of their rules.
    pub(crate) services: Vec<Service>,
}

/// More endpoints than this, and kube-proxy leaves the comments of endpoint rules out.
const LARGE_CLUSTER: usize = 1000;

impl Cluster {
    /// `count` services of three endpoints in the shape of the recorded saves.
    pub(crate) fn large(count: usize) -> Self {
        let bare = count / 100; // without endpoints
        let external = (count * 1176 + 5000) / 10000; // with a node port
        let balanced = count / 50; // with a load balancer
        let bare_external = (count * 18 + 5000) / 10000; // node port, no endpoints
        let served = count - bare;
        let address = |base: [u8; 4], n: usize| Ipv4Addr::from_bits(Ipv4Addr::from(base).to_bits() + n as u32);
        let services = (0..count)
            .map(|i| Service {
                name: format!("ns-{:02}/svc-{i:05}:p", i % 97),
                cluster_ip: address([10, 96, 0, 1], i),
                port: 80,
                node_port: (i < external || (served..served + bare_external).contains(&i))
                    .then(|| 30000 + (i % 32000) as u16),
                load_balancer: (i < balanced).then(|| address([203, 0, 113, 0], i)),
                affinity: false,
                endpoints: if i < served {
                    (0..3).map(|e| (address([10, 200, 0, 1], 3 * i + e), 8080)).collect()
                } else {
                    Vec::new()
                },
            })
            .collect();
        Self { pods: "10.200.0.0/13", services }
    }

    /// The whole ruleset, as input of iptables-restore.
    pub(crate) fn restore_text(&self) -> String {
        let mut text = String::with_capacity(self.services.len() * 1100 + 4096);
        self.write_filter(&mut text);
        text.push_str("*mangle\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n");
        text.push_str(":OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n*nat\n");
        for chain in ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"] {
            let _ = writeln!(text, ":{chain} ACCEPT [0:0]");
        }
        for chain in ["KUBE-MARK-MASQ", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-PROXY-CANARY", "KUBE-SERVICES"] {
            let _ = writeln!(text, ":{chain} - [0:0]");
        }
        for service in self.with_endpoints() {
            service.declare(&mut text);
        }
        for (hook, comment, chain) in [
            ("PREROUTING", "kubernetes service portals", "KUBE-SERVICES"),
            ("OUTPUT", "kubernetes service portals", "KUBE-SERVICES"),
            ("POSTROUTING", "kubernetes postrouting rules", "KUBE-POSTROUTING"),
        ] {
            let _ = writeln!(text, "-A {hook} -m comment --comment \"{comment}\" -j {chain}");
        }
        self.write_dispatch(&mut text);
        for service in self.with_endpoints() {
            service.write_chains(self, &mut text);
        }
        text.push_str("COMMIT\n");
        text
    }

    /// What kube-proxy writes with `--noflush --counters`: the chains that name every service, and of the others those of services
    /// `written`: the one that has changed, or all. `stale` chains are removed.
    pub(crate) fn update_text(&self, written: &[usize], stale: &[String]) -> String {
        let mut text = String::with_capacity(self.services.len() * 200 + 4096);
        text.push_str("*filter\n");
        for chain in FILTER_CHAINS.iter().filter(|chain| !matches!(**chain, "KUBE-FIREWALL" | "KUBE-PROXY-CANARY")) {
            let _ = writeln!(text, ":{chain} - [0:0]");
        }
        self.write_filter_chains(&mut text);
        text.push_str("COMMIT\n*nat\n");
        for chain in ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"] {
            let _ = writeln!(text, ":{chain} - [0:0]");
        }
        let written = || written.iter().map(|at| &self.services[*at]).filter(|service| !service.endpoints.is_empty());
        written().for_each(|service| service.declare(&mut text));
        for chain in stale {
            let _ = writeln!(text, ":{chain} - [0:0]");
        }
        self.write_dispatch(&mut text);
        written().for_each(|service| service.write_chains(self, &mut text));
        for chain in stale {
            let _ = writeln!(text, "-X {chain}");
        }
        text.push_str("COMMIT\n");
        text
    }

    fn with_endpoints(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(|service| !service.endpoints.is_empty())
    }

    fn write_filter(&self, text: &mut String) {
        text.push_str("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n");
        for chain in FILTER_CHAINS {
            let _ = writeln!(text, ":{chain} - [0:0]");
        }
        let new = "-m conntrack --ctstate NEW -m comment --comment";
        let _ = write!(
            text,
            "-A INPUT -j KUBE-FIREWALL\n\
             -A INPUT {new} \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL\n\
             -A INPUT -m comment --comment \"kubernetes health check service ports\" -j KUBE-NODEPORTS\n\
             -A INPUT {new} \"kubernetes externally-visible service portals\" -j KUBE-EXTERNAL-SERVICES\n\
             -A FORWARD {new} \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL\n\
             -A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD\n\
             -A FORWARD {new} \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -A FORWARD {new} \"kubernetes externally-visible service portals\" -j KUBE-EXTERNAL-SERVICES\n\
             -A OUTPUT -j KUBE-FIREWALL\n\
             -A OUTPUT {new} \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL\n\
             -A OUTPUT {new} \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment \"block incoming localnet \
             connections\" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\n"
        );
        self.write_filter_chains(text);
        text.push_str("COMMIT\n");
    }

    fn write_filter_chains(&self, text: &mut String) {
        let reject = "-j REJECT --reject-with icmp-port-unreachable";
        let bare = || self.services.iter().filter(|service| service.endpoints.is_empty());
        for service in bare() {
            if let Some(port) = service.node_port {
                let _ = writeln!(
                    text,
                    "-A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment \"{} has no endpoints\" -m addrtype \
                     --dst-type LOCAL -m tcp --dport {port} {reject}",
                    service.name
                );
            }
        }
        text.push_str("-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\n");
        text.push_str("-A KUBE-FORWARD -m comment --comment \"kubernetes forwarding rules\" -m mark --mark 0x4000/0x4000 -j ACCEPT\n");
        text.push_str("-A KUBE-FORWARD -m comment --comment \"kubernetes forwarding conntrack rule\" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n");
        for service in bare() {
            let _ = writeln!(
                text,
                "-A KUBE-SERVICES -d {}/32 -p tcp -m comment --comment \"{} has no endpoints\" -m tcp --dport {} {reject}",
                service.cluster_ip, service.name, service.port
            );
        }
    }

    /// KUBE-MARK-MASQ, KUBE-NODEPORTS, KUBE-POSTROUTING and KUBE-SERVICES of nat.
    fn write_dispatch(&self, text: &mut String) {
        text.push_str("-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n");
        for service in self.with_endpoints() {
            if let Some(port) = service.node_port {
                let _ = writeln!(
                    text,
                    "-A KUBE-NODEPORTS -p tcp -m comment --comment \"{}\" -m tcp --dport {port} -j KUBE-EXT-{}",
                    service.name,
                    service.hash()
                );
            }
        }
        text.push_str("-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n");
        text.push_str("-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0\n");
        text.push_str("-A KUBE-POSTROUTING -m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE --random-fully\n");
        for service in self.with_endpoints() {
            let (name, port, hash) = (&service.name, service.port, service.hash());
            let mut rule = |ip: Ipv4Addr, kind: &str, chain: &str| {
                let _ = writeln!(
                    text,
                    "-A KUBE-SERVICES -d {ip}/32 -p tcp -m comment --comment \"{name} {kind} IP\" -m tcp --dport {port} -j {chain}-{hash}"
                );
            };
            rule(service.cluster_ip, "cluster", "KUBE-SVC");
            if let Some(ip) = service.load_balancer {
                rule(ip, "loadbalancer", "KUBE-EXT");
            }
        }
        text.push_str("-A KUBE-SERVICES -m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in this chain\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n");
    }
}

const FILTER_CHAINS: [&str; 7] = [
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-FIREWALL",
    "KUBE-FORWARD",
    "KUBE-NODEPORTS",
    "KUBE-PROXY-CANARY",
    "KUBE-PROXY-FIREWALL",
    "KUBE-SERVICES",
];

impl Service {
    fn external(&self) -> bool {
        self.node_port.is_some() || self.load_balancer.is_some()
    }

    fn hash(&self) -> String {
        chain_hash(&self.name)
    }

    /// The chain of one endpoint.
    pub(crate) fn endpoint_chain(&self, index: usize) -> String {
        let (ip, port) = self.endpoints[index];
        format!("KUBE-SEP-{}", chain_hash(&format!("{}/{ip}:{port}", self.name)))
    }

    fn declare(&self, text: &mut String) {
        if self.external() {
            let _ = writeln!(text, ":KUBE-EXT-{} - [0:0]", self.hash());
        }
        for index in 0..self.endpoints.len() {
            let _ = writeln!(text, ":{} - [0:0]", self.endpoint_chain(index));
        }
        let _ = writeln!(text, ":KUBE-SVC-{} - [0:0]", self.hash());
    }

    fn write_chains(&self, cluster: &Cluster, text: &mut String) {
        let (name, hash) = (&self.name, self.hash());
        let large = cluster.services.len() * 3 > LARGE_CLUSTER;
        let comment = |text: &str| if large { String::new() } else { format!(" -m comment --comment \"{text}\"") };
        if self.external() {
            let _ = writeln!(
                text,
                "-A KUBE-EXT-{hash} -m comment --comment \"masquerade traffic for {name} external destinations\" -j KUBE-MARK-MASQ\n\
                 -A KUBE-EXT-{hash} -j KUBE-SVC-{hash}"
            );
        }
        let chains: Vec<String> = (0..self.endpoints.len()).map(|index| self.endpoint_chain(index)).collect();
        for ((ip, port), chain) in self.endpoints.iter().zip(&chains) {
            let remember = match self.affinity {
                true => format!(" -m recent --set --name {chain} --mask 255.255.255.255 --rsource"),
                false => String::new(),
            };
            let _ = writeln!(
                text,
                "-A {chain} -s {ip}/32{} -j KUBE-MARK-MASQ\n\
                 -A {chain} -p tcp{}{remember} -m tcp -j DNAT --to-destination {ip}:{port}",
                comment(name),
                comment(name),
            );
        }
        let _ = writeln!(
            text,
            "-A KUBE-SVC-{hash} ! -s {} -d {}/32 -p tcp -m comment --comment \"{name} cluster IP\" -m tcp --dport {} -j KUBE-MARK-MASQ",
            cluster.pods, self.cluster_ip, self.port
        );
        let target = |index: usize| {
            let (ip, port) = self.endpoints[index];
            comment(&format!("{name} -> {ip}:{port}"))
        };
        if self.affinity {
            for (index, chain) in chains.iter().enumerate() {
                let _ = writeln!(
                    text,
                    "-A KUBE-SVC-{hash}{} -m recent --rcheck --seconds 10800 --reap --name {chain} --mask 255.255.255.255 --rsource -j {chain}",
                    target(index)
                );
            }
        }
        for (index, chain) in chains.iter().enumerate() {
            let left = chains.len() - index;
            let chance = match left {
                1 => String::new(),
                n => format!(" -m statistic --mode random --probability {:.10}", 1.0 / n as f64),
            };
            let _ = writeln!(text, "-A KUBE-SVC-{hash}{}{chance} -j {chain}", target(index));
        }
    }
}

/// Sixteen characters as kube-proxy's hashes have them (A-Z, 2-7), from two rounds of FNV-1a: stable, and
/// without two equal ones in the sizes used here (a test looks).
fn chain_hash(text: &str) -> String {
    let fnv =
        |seed: u64| text.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let bits = (u128::from(fnv(0xcbf2_9ce4_8422_2325)) << 64) | u128::from(fnv(0x9ae1_6a3b_2f90_404f));
    let spread = bits.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645);
    (0..16).map(|i| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[(spread >> (48 + 5 * i) & 31) as usize])).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn sizes(text: &str) -> (usize, usize) {
        let rules = text.lines().filter(|line| line.starts_with("-A ")).count();
        (rules, text.lines().filter(|line| line.starts_with(':')).count())
    }

    #[test]
    fn twenty_thousand_services_are_as_many_rules_and_chains_as_kube_proxy_makes() {
        let text = Cluster::large(20_000).restore_text();
        assert_eq!(sizes(&text), (225_515, 81_577));
    }

    #[test]
    fn no_two_chains_of_the_largest_cluster_have_one_name() {
        let text = Cluster::large(20_000).restore_text();
        let nat = text.split("*nat").nth(1).unwrap();
        let names: Vec<&str> = nat.lines().filter(|line| line.starts_with(':')).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    }

    #[test]
    fn an_update_names_every_service_but_declares_the_chains_of_one() {
        let cluster = Cluster::large(100);
        let update = cluster.update_text(&[50], &[]);
        assert_eq!(update.matches("cluster IP\" -m tcp --dport 80 -j KUBE-SVC-").count(), 99);
        assert_eq!(update.matches(":KUBE-SEP-").count(), 3);
        assert_eq!(update.matches(":KUBE-SVC-").count(), 1);
    }

    #[test]
    fn every_chain_that_is_jumped_to_is_declared() {
        let mut cluster = Cluster::large(200);
        cluster.services[7].affinity = true;
        for table in cluster.restore_text().split("COMMIT\n") {
            let declared: HashSet<&str> =
                table.lines().filter_map(|l| l.strip_prefix(':')?.split(' ').next()).collect();
            for line in table.lines().filter(|line| line.starts_with("-A ")) {
                let target = line.split(" -j ").nth(1).and_then(|t| t.split(' ').next()).unwrap();
                assert!(!target.starts_with("KUBE-") || declared.contains(target), "{line}");
            }
        }
    }
}
