//! `bpftables status`.

use crate::admin::AdminError;
use crate::conntrack_command::name;
use crate::engine::Kernel;
use bpftables_ruleset::Family;
use bpftables_runtime::{Coverage, Engine, Framing, Hooked, Status};
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

pub(crate) fn print() -> Result<ExitCode, AdminError> {
    let mut kernel = Kernel::default();
    let engine = kernel.engine()?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut any = false;
    for family in Family::ALL {
        let Some(status) = engine.status(family)? else { continue };
        any = true;
        of_family(&mut out, engine, &status)?;
    }
    if !any {
        writeln!(out, "nothing is loaded in this network namespace")?;
    }
    for neighbour in engine.neighbours()? {
        writeln!(out, "neighbour    {}: {}", neighbour.what, neighbour.meaning)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn of_family(out: &mut impl Write, engine: &mut Engine, status: &Status) -> Result<(), AdminError> {
    let connections = engine.conntrack_list()?.iter().filter(|c| c.family == status.family).count();
    let (object, ours) = &status.object;
    writeln!(out, "family       {}", name(status.family))?;
    writeln!(out, "state        {}", status.location)?;
    let whose = if *ours { "of this version" } else { "of another version" };
    writeln!(out, "programs     {object}, layouts {}, {whose}", status.abi)?;
    writeln!(out, "generation   {} in slot {}", status.generation, status.slot)?;
    writeln!(out, "image        {} lines for the programs, {} bytes in all", status.lines, status.bytes)?;
    for (name, chains, rules) in &status.tables {
        writeln!(out, "table        {name}: {rules} rules, {chains} user chains")?;
    }
    writeln!(out, "connections  {connections} of at most {}", status.max_connections)?;
    let guard = match status.guards {
        0 => "off: nothing but ACCEPT policies, or not known to this kernel",
        _ => "on: what uses a device without our programs is dropped",
    };
    writeln!(out, "guard        {guard}")?;
    if status.ipsec > 0 {
        let what = "what IPsec wraps, or unwraps in transport mode, goes no further where rules would be asked";
        writeln!(out, "IPsec        {} policies: {what} (but by xfrm and VTI devices)", status.ipsec)?;
    }
    let routing = match status.host_routing {
        true => "on: forwarded packets go from device to device, where the stack would only forward them",
        false => "off: all forwarded packets go up the stack",
    };
    writeln!(out, "host routing {routing}")?;
    for device in &status.devices {
        let note = match device.coverage {
            Coverage::Attached(Framing::Ethernet | Framing::Raw) => String::new(),
            Coverage::Vrf(forwards) if forwards[status.family as usize] => String::new(),
            Coverage::Vrf(_) => ", a VRF that does not forward: the guard drops its packets".to_owned(),
            Coverage::Lower => ", owned by another device".to_owned(),
            Coverage::BridgePort(of) if of.shown[status.family as usize] => {
                ", a bridge's port: what is bridged meets the rules".to_owned()
            }
            Coverage::BridgePort(_) => ", a bridge's port: br_netfilter shows the rules nothing of it".to_owned(),
            Coverage::Unknown(kind) => {
                format!(", link header of unknown kind {kind}: no program fits, the guard drops its IP packets")
            }
        };
        let (ingress, egress) = (hooked(device.ingress), hooked(device.egress));
        writeln!(out, "device       {} ({}): ingress {ingress}, egress {egress}{note}", device.name, device.ifindex)?;
    }
    for (name, old, ours) in &status.settings {
        writeln!(out, "setting      {name}: {ours}, was {old}")?;
    }
    for stat in engine.stats(status.family)?.iter().filter(|stat| stat.count > 0) {
        writeln!(out, "statistic    {} {}: {}", stat.name, stat.count, stat.meaning)?;
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
