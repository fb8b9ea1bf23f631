//! TCP connections a second (connect, request, answer, close) to a service among many.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Bench;
use super::backend::Backend;
use super::report::Row;
use crate::kube::Cluster;
use crate::netns::{Netns, Server, veth};
use crate::sys;

/// Measures each size, and once the way without any rule. Ours and legacy take turns, run by run.
pub(super) fn run(bench: &Bench, keep: &mut impl FnMut(Row)) -> Result<()> {
    for size in [0, 10, 1000, 10_000].into_iter().filter(|size| *size <= bench.up_to) {
        let backends: &[Backend] = if size == 0 { &[Backend::None] } else { &[Backend::Ours, Backend::Legacy] };
        let mut cells: Vec<(Backend, Result<Cell>)> =
            backends.iter().map(|backend| (*backend, Cell::new(bench, size, *backend))).collect();
        for _ in 0..bench.runs() {
            for (_, cell) in &mut cells {
                if let Ok(ready) = cell
                    && let Err(error) = ready.run(bench.run_time() * 2)
                {
                    *cell = Err(error);
                }
            }
        }
        for (backend, cell) in cells {
            let result = cell.map(|cell| cell.values).with_context(|| format!("{size} services, {}", backend.name()));
            keep(Row::new("connect", "services", size, backend, "connections/s", result));
        }
    }
    Ok(())
}

/// client -- node -- pod, with the ruleset loaded in the node.
struct Cell {
    _server: Server,
    _node: Netns,
    client: Netns,
    _pod: Netns,
    to: SocketAddr,
    values: Vec<f64>,
}

impl Cell {
    fn new(bench: &Bench, size: usize, backend: Backend) -> Result<Self> {
        let cluster = Cluster::large(size.max(1));
        // The middle one: as many rules of other services come before as after.
        let service = &cluster.services[size / 2];
        let name = |role: &str| format!("{}-{role}", backend.name());
        let mut node = Netns::new(&name("node"))?;
        backend.adopt(bench, &mut node);
        let client = Netns::new(&name("client"))?;
        let pod = Netns::new(&name("pod"))?;
        veth(&node, "n0", "02:00:0a:cf:00:01", &client, "eth0", "02:00:0a:cf:00:02")?;
        veth(&node, "n1", "02:00:0a:c8:00:01", &pod, "eth0", "02:00:0a:c8:00:02")?;
        node.ip("addr add 10.207.255.1/24 dev n0\naddr add 192.0.2.1/24 dev n1\nroute add default dev n1\n")?;
        // The client is a pod, too: its connections are not masqueraded.
        client.ip(&format!("addr add {CLIENT}/24 dev eth0\nroute add default via 10.207.255.1\n"))?;
        pod.ip("addr add 192.0.2.2/24 dev eth0\nroute add default via 192.0.2.1\n")?;
        for (address, _) in &service.endpoints {
            pod.ip(&format!("addr add {address}/32 dev lo\n"))?;
            node.ip(&format!("route add {address}/32 via 192.0.2.2\n"))?;
        }
        node.sysctl(&[("net.ipv4.ip_forward", "1"), ("net.ipv4.conf.all.rp_filter", "0")])?;
        client.sysctl(&[("net.ipv4.ip_local_port_range", "1024 65535")])?;
        let (endpoint, port) = service.endpoints[0];
        let server = Server::start(&pod, "pod", port, Some(SERVER_CPU))?;
        let to = match backend {
            Backend::None => SocketAddr::from((endpoint, port)),
            _ => {
                let file = bench.file("connect.rules", &cluster.restore_text())?;
                backend.load(bench, &node, &file)?;
                SocketAddr::from((service.cluster_ip, service.port))
            }
        };
        connect(&client, to, bench.run_time() / 4)?;
        Ok(Self { _server: server, _node: node, client, _pod: pod, to, values: Vec::new() })
    }

    fn run(&mut self, time: Duration) -> Result<()> {
        self.values.push(connect(&self.client, self.to, time)?);
        Ok(())
    }
}

/// Where the client runs, and where the server does, when there is a second CPU.
const CLIENT_CPU: usize = 0;
const SERVER_CPU: usize = 1;

/// Connections a second, one after another.
fn connect(client: &Netns, to: SocketAddr, time: Duration) -> Result<f64> {
    client.inside(|| {
        sys::pin_to_cpu(CLIENT_CPU).context("cannot pin the client")?;
        sys::run_before_others().context("cannot raise the client's priority")?;
        let start = Instant::now();
        let mut connections = 0_u32;
        while start.elapsed() < time {
            request(to).with_context(|| format!("connection {connections} to {to}"))?;
            connections += 1;
        }
        Ok(f64::from(connections) / start.elapsed().as_secs_f64())
    })?
}

fn request(to: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    let mut answer = [0; 512];
    let mut length = 0;
    loop {
        match stream.read(&mut answer[length..])? {
            0 => break,
            n => length += n,
        }
    }
    if !answer[..length].ends_with(format!("pod {CLIENT}\n").as_bytes()) {
        bail!("unexpected answer {:?}", String::from_utf8_lossy(&answer[..length]));
    }
    Ok(())
}

/// What the pod must see: the client's own address.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 207, 255, 2);
