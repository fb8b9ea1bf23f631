//! The demo's network: every device and address is the same on both sides.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::kube::{self, Service};
use crate::netns::{Netns, Server, veth};
use crate::project::Tools;

/// The node's address on the client's network.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
/// The node's address on every pod's link, a /32 as routing CNIs have it.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);
/// Pods in order of their addresses; `shell` serves nothing.
const PODS: [&str; 4] = ["web-0", "web-1", "web-2", "shell"];
/// How many of the pods serve.
pub(crate) const BACKENDS: usize = 3;
const POD_PORT: u16 = 8080;

/// Cluster addresses and node ports of the services.
pub(crate) const WEB: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
pub(crate) const WEB_PORT: u16 = 30080;
pub(crate) const SOLO: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 20);
pub(crate) const STICKY: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 30);
pub(crate) const STICKY_PORT: u16 = 30081;
pub(crate) const EMPTY: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 40);
pub(crate) const EMPTY_PORT: u16 = 30082;

/// The address of a pod.
pub(crate) fn pod_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 200, 0, 10).to_bits() + index as u32)
}

/// The services that kube-proxy would be told of.
pub(crate) fn services() -> kube::Cluster {
    let service = |name: &str, cluster_ip, node_port, pods: usize| Service {
        name: format!("demo/{name}:http"),
        cluster_ip,
        port: 80,
        node_port,
        load_balancer: None,
        affinity: name == "sticky",
        endpoints: (0..pods).map(|pod| (pod_address(pod), POD_PORT)).collect(),
    };
    kube::Cluster {
        pods: "10.200.0.0/24",
        services: vec![
            service("web", WEB, Some(WEB_PORT), BACKENDS),
            service("solo", SOLO, None, 1),
            service("sticky", STICKY, Some(STICKY_PORT), BACKENDS),
            service("empty", EMPTY, Some(EMPTY_PORT), 0),
        ],
    }
}

/// The namespaces, up and connected, with a server in each pod that serves. Dropped in the order of the
/// fields: servers first.
pub(crate) struct Cluster {
    _servers: Vec<Server>,
    pub(crate) node: Netns,
    pub(crate) client: Netns,
    pub(crate) pods: Vec<Netns>,
}

impl Cluster {
    /// Builds it; no rule is loaded yet.
    pub(crate) fn new(side: &str, tools: &Tools) -> Result<Self> {
        let mut node = Netns::new(&format!("{side}-node"))?;
        if let Some(admin) = &tools.admin {
            node.detach_with(admin);
        }
        let client = Netns::new(&format!("{side}-client"))?;
        veth(&node, "eth0", "02:00:c0:00:02:01", &client, "eth0", "02:00:c0:00:02:64")?;
        // The client is the node's gateway, so that cluster addresses, which exist nowhere, have a route.
        node.ip(&format!("addr add {NODE}/24 dev eth0\nroute add default via {CLIENT}\n"))?;
        client.ip(&format!("addr add {CLIENT}/24 dev eth0\n"))?;
        node.sysctl(&[
            ("net.ipv4.ip_forward", "1"),
            // Debian's (systemd's) value, and what kube-proxy sets for node ports on localhost.
            ("net.ipv4.conf.all.rp_filter", "2"),
            ("net.ipv4.conf.all.route_localnet", "1"),
            // Else all refusals but the first wait for the kernel's one ICMP error a second.
            ("net.ipv4.icmp_ratelimit", "0"),
        ])?;
        let mut pods = Vec::new();
        let mut servers = Vec::new();
        for (index, name) in PODS.iter().enumerate() {
            let pod = Netns::new(&format!("{side}-{name}"))?;
            let (device, address) = (format!("veth{index}"), pod_address(index));
            let (near, far) = (format!("02:00:0a:c8:01:{index:02x}"), format!("02:00:0a:c8:00:{index:02x}"));
            veth(&node, &device, &near, &pod, "eth0", &far)?;
            node.ip(&format!(
                "addr add {GATEWAY}/32 dev {device}\nroute add {address}/32 dev {device} src {GATEWAY}\n"
            ))?;
            pod.ip(&format!("addr add {address}/32 dev eth0\nroute add default via {GATEWAY} dev eth0 onlink\n"))?;
            if index < BACKENDS {
                servers.push(Server::start(&pod, name, POD_PORT, None)?);
            }
            pods.push(pod);
        }
        Ok(Self { _servers: servers, node, client, pods })
    }
}
