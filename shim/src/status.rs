//! `bpftables status`.

use crate::admin::AdminError;
use crate::conntrack_command::name;
use crate::engine::Kernel;
use crate::words::many;
use bpftables_ruleset::Family;
use bpftables_runtime::{Coverage, DeviceStatus, Engine, Framing, Hooked, Neighbour, Status};
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

/// What is there, for people and programs.
#[derive(Debug, Serialize)]
struct Report {
    families: Vec<Loaded>,
    neighbours: Vec<Neighbour>,
}

/// What is loaded for a family.
#[derive(Debug, Serialize)]
struct Loaded {
    family: &'static str,
    /// Directory of the pins.
    state: String,
    programs: Programs,
    generation: u32,
    slot: u32,
    image: Image,
    tables: Vec<Table>,
    connections: usize,
    max_connections: u32,
    /// What uses a device without our programs is dropped.
    guard: bool,
    /// An agent serves this network namespace.
    agent: bool,
    /// What does nothing, since no agent does.
    unheard: Vec<&'static str>,
    ipsec_policies: usize,
    host_routing: bool,
    devices: Vec<Device>,
    settings: Vec<Setting>,
    statistics: Vec<Statistic>,
}

#[derive(Debug, Serialize)]
struct Programs {
    hash: String,
    layouts: u32,
    of_this_version: bool,
}

#[derive(Debug, Serialize)]
struct Image {
    lines: u32,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Table {
    name: &'static str,
    rules: usize,
    user_chains: usize,
}

#[derive(Debug, Serialize)]
struct Device {
    name: String,
    ifindex: u32,
    ingress: &'static str,
    egress: &'static str,
    /// Why its packets meet no rules, or which.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Debug, Serialize)]
struct Setting {
    name: &'static str,
    value: &'static str,
    was: String,
}

#[derive(Debug, Serialize)]
struct Statistic {
    name: &'static str,
    count: u64,
    meaning: &'static str,
}

pub(crate) fn print(json: bool) -> Result<ExitCode, AdminError> {
    let mut kernel = Kernel::default();
    let engine = kernel.engine()?;
    let mut families = Vec::new();
    for family in Family::ALL {
        if let Some(status) = engine.status(family)? {
            families.push(loaded(engine, status)?);
        }
    }
    let report = Report { families, neighbours: engine.neighbours()? };
    let mut out = BufWriter::new(io::stdout().lock());
    if json {
        serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write(&mut out, &report)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn loaded(engine: &mut Engine, status: Status) -> Result<Loaded, AdminError> {
    let family = status.family;
    let (hash, of_this_version) = status.object;
    let tables = status.tables.into_iter().map(|(name, user_chains, rules)| Table { name, rules, user_chains });
    let settings = status.settings.into_iter().map(|(name, was, value)| Setting { name, value, was });
    let statistics = engine.stats(family)?.into_iter();
    Ok(Loaded {
        family: name(family),
        state: status.location,
        programs: Programs { hash, layouts: status.abi, of_this_version },
        generation: status.generation,
        slot: status.slot,
        image: Image { lines: status.lines, bytes: status.bytes },
        tables: tables.collect(),
        connections: engine.conntrack_list()?.iter().filter(|connection| connection.family == family).count(),
        max_connections: status.max_connections,
        guard: status.guards > 0,
        agent: status.agent,
        unheard: status.unheard,
        ipsec_policies: status.ipsec,
        host_routing: status.host_routing,
        devices: status.devices.into_iter().map(|found| device(family, found)).collect(),
        settings: settings.collect(),
        statistics: statistics
            .map(|stat| Statistic { name: stat.name, count: stat.count, meaning: stat.meaning })
            .collect(),
    })
}

fn device(family: Family, found: DeviceStatus) -> Device {
    let note = match found.coverage {
        Coverage::Attached(Framing::Ethernet | Framing::Raw) => None,
        Coverage::Vrf(forwards) if forwards[family as usize] => None,
        Coverage::Vrf(_) => Some("a VRF that does not forward: the guard drops its packets".to_owned()),
        Coverage::Lower => Some("owned by another device".to_owned()),
        Coverage::BridgePort(of) if of.shown[family as usize] => {
            Some("a bridge's port: what is bridged meets the rules".to_owned())
        }
        Coverage::BridgePort(_) => Some("a bridge's port: br_netfilter shows the rules nothing of it".to_owned()),
        Coverage::Unknown(kind) => {
            Some(format!("link header of unknown kind {kind}: no program fits, the guard drops its IP packets"))
        }
    };
    let (ingress, egress) = (hooked(found.ingress), hooked(found.egress));
    Device { name: found.name, ifindex: found.ifindex, ingress, egress, note }
}

fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    for family in &report.families {
        of_family(out, family)?;
    }
    if report.families.is_empty() {
        writeln!(out, "nothing is loaded in this network namespace")?;
    }
    for neighbour in &report.neighbours {
        writeln!(out, "neighbour    {}: {}", neighbour.what, neighbour.meaning)?;
    }
    Ok(())
}

fn of_family(out: &mut impl Write, loaded: &Loaded) -> io::Result<()> {
    writeln!(out, "family       {}", loaded.family)?;
    writeln!(out, "state        {}", loaded.state)?;
    let Programs { hash, layouts, of_this_version } = &loaded.programs;
    let whose = if *of_this_version { "of this version" } else { "of another version" };
    writeln!(out, "programs     {hash}, layouts {layouts}, {whose}")?;
    writeln!(out, "generation   {} in slot {}", loaded.generation, loaded.slot)?;
    let lines = many(loaded.image.lines as usize, "line");
    writeln!(out, "image        {lines} for the programs, {} bytes in all", loaded.image.bytes)?;
    for Table { name, rules, user_chains } in &loaded.tables {
        let (rules, chains) = (many(*rules, "rule"), many(*user_chains, "user chain"));
        writeln!(out, "table        {name}: {rules}, {chains}")?;
    }
    writeln!(out, "connections  {} of at most {}", loaded.connections, loaded.max_connections)?;
    let guard = match loaded.guard {
        false => "off: nothing but ACCEPT policies, or not known to this kernel",
        true => "on: what uses a device without our programs is dropped",
    };
    writeln!(out, "guard        {guard}")?;
    let agent = match loaded.agent {
        true => "serves this network namespace",
        false => "none serves this network namespace: the next command that changes a rule attaches to new devices",
    };
    writeln!(out, "agent        {agent}")?;
    for what in &loaded.unheard {
        writeln!(out, "agent        {what}")?;
    }
    if loaded.ipsec_policies > 0 {
        let what = "what IPsec wraps, or unwraps in transport mode, goes no further where rules would be asked";
        let policies = many(loaded.ipsec_policies, "policy");
        writeln!(out, "IPsec        {policies}: {what} (but by xfrm and VTI devices)")?;
    }
    let routing = match loaded.host_routing {
        true => "on: forwarded packets go from device to device, where the stack would only forward them",
        false => "off: all forwarded packets go up the stack",
    };
    writeln!(out, "host routing {routing}")?;
    for Device { name, ifindex, ingress, egress, note } in &loaded.devices {
        let note = note.as_ref().map(|note| format!(", {note}")).unwrap_or_default();
        writeln!(out, "device       {name} ({ifindex}): ingress {ingress}, egress {egress}{note}")?;
    }
    for Setting { name, value, was } in &loaded.settings {
        writeln!(out, "setting      {name}: {value}, was {was}")?;
    }
    for Statistic { name, count, meaning } in loaded.statistics.iter().filter(|statistic| statistic.count > 0) {
        writeln!(out, "statistic    {name} {count}: {meaning}")?;
    }
    Ok(())
}

const fn hooked(hooked: Hooked) -> &'static str {
    match hooked {
        Hooked::No => "not ours",
        Hooked::First => "ours",
        Hooked::Unknown => "not known without CAP_NET_ADMIN",
        Hooked::Behind => "ours, behind another program",
    }
}
