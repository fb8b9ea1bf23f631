//! What is there: for `bpftables status` and tests.

use crate::commit::{READ_TRIES, current, telling};
use crate::devices::{self, Coverage, Place};
use crate::engine::Engine;
use crate::error::{Doing, EngineError, Result};
use crate::guard;
use crate::install::{self, Installed};
use crate::ipsec;
use crate::serve;
use crate::sys::bpf::{self, TCX_EGRESS, TCX_INGRESS};
use crate::sysctl;
use bpftables_abi::maps::{self, stat};
use bpftables_ruleset::Family;
use std::io;
use std::os::fd::AsFd;

/// What is loaded and attached for a family in a network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whose rules.
    pub family: Family,
    /// Directory of the pins.
    pub location: String,
    /// Version of the layouts.
    pub abi: u32,
    /// Hash of the loaded programs, and whether it is this binary's.
    pub object: (String, bool),
    /// Commits so far.
    pub generation: u32,
    /// Slot of the live image.
    pub slot: u32,
    /// Lines of 64 bytes that programs read.
    pub lines: u32,
    /// Bytes of the live image, the state included.
    pub bytes: u64,
    /// Each table in order of initialisation: name, user chains, rules.
    pub tables: Vec<(&'static str, usize, usize)>,
    /// Connections at most.
    pub max_connections: u32,
    /// Forwarded packets may go straight from device to device.
    pub host_routing: bool,
    /// Hooks of netfilter at which the guard is, of two.
    pub guards: usize,
    /// An agent serves this network namespace.
    pub agent: bool,
    /// What does nothing, since no agent does.
    pub unheard: Vec<&'static str>,
    /// Policies of IPsec whose packets the guard drops, but for those of VTI devices.
    pub ipsec: usize,
    /// Devices by number.
    pub devices: Vec<DeviceStatus>,
    /// Settings of `lo` that were changed: name, old value, ours.
    pub settings: Vec<(&'static str, String, &'static str)>,
}

/// A device and its hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceStatus {
    /// Name.
    pub name: String,
    /// Number.
    pub ifindex: u32,
    /// What the programs have to do with it.
    pub coverage: Coverage,
    /// Our program is at its tcx ingress, and it is the first there.
    pub ingress: Hooked,
    /// Likewise at egress.
    pub egress: Hooked,
}

/// Whether our program is at a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hooked {
    /// No.
    No,
    /// Before all others.
    First,
    /// Somebody attached before it since.
    Behind,
    /// Who is there may not be asked.
    Unknown,
}

/// A statistic of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its name, for machines.
    pub name: &'static str,
    /// What it counts.
    pub meaning: &'static str,
    /// How many so far.
    pub count: u64,
}

/// Names and meanings by index of `bt_stats`.
const STATS: [(&str, &str); 21] = [
    ("drop_rule", "dropped by a rule or policy"),
    ("drop_table_full", "dropped: connection table full"),
    ("drop_nat_exhausted", "dropped: no port left for NAT"),
    ("drop_fragment", "dropped: a later fragment whose first was not seen"),
    ("drop_hotdrop", "dropped: malformed header under a match of its protocol"),
    ("drop_depth", "dropped: jump stack too deep (a bug)"),
    ("drop_no_route", "dropped: no route after a rewrite"),
    ("drop_mtu", "dropped: larger than the MTU of the new device; ICMP was sent"),
    ("drop_rewrite", "dropped: could not be rewritten, or an ICMP redirect about a translated connection"),
    ("drop_image", "dropped: the image could not be read (a bug)"),
    ("rejected", "REJECT answered"),
    ("conn_new", "new connections"),
    ("conn_early_drop", "connections dropped early to make room"),
    ("drop_reject_failed", "dropped: REJECT could not be sent"),
    ("drop_uncovered", "dropped by the guard: the device has no program of ours"),
    (
        "event_lost",
        "not a drop: an event of LOG, NFLOG or TRACE found the ring full, or no agent took any, or it lost it (event_...)",
    ),
    ("host_routed", "not a drop: forwarded from device to device, past the stack"),
    ("copy_lost", "not a drop: a copy of TEE that could not be sent (no route, larger than the MTU, queue full)"),
    ("drop_ipsec", "dropped: IPsec unwrapped it, or would wrap it, where no rule sees it"),
    ("set_lost", "not a drop: a change of a set (SET) that found no room, since the agent does not run or is late"),
    (
        "drop_unasked",
        "dropped by the guard: this host was to take it, which its route did not say when PREROUTING was asked",
    ),
];

/// Those of the agent, which are in the count of `event_lost` too.
const AGENTS: [(&str, &str, u32); 3] = [
    ("event_suppressed", "of event_lost: more in a second than the agent writes or hands over", stat::EVENT_SUPPRESSED),
    ("event_unwritten", "of event_lost: the agent could not write it (its log says why)", stat::EVENT_UNWRITTEN),
    ("event_undelivered", "of event_lost: the listener of NFLOG's group did not take it", stat::EVENT_UNDELIVERED),
];

impl Engine {
    /// What is loaded and attached; none if nothing was ever committed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn status(&mut self, family: Family) -> Result<Option<Status>> {
        self.refresh()?;
        let Some(installed) = self.installed(family)? else { return Ok(None) };
        let live = current(&installed)?;
        let ruleset = live.ruleset()?;
        let tables = ruleset.tables.iter().map(|table| {
            let rules = table.chains().map(|chain| chain.rules.len()).sum();
            (table.kind.name(), table.user.len(), rules)
        });
        let control = installed.control();
        let agent = match self.home() {
            Some(home) => serve::runs(home).doing(|| "see whether there is an agent".to_owned())?,
            None => false,
        };
        let names = install::programs(family);
        let devices = devices::list()?.into_iter().map(|device| {
            // Only those count that are made for it.
            let at = |direction: usize| match device.place(family) {
                Some(Place::Port) => vec![names[Place::Port.index() * 2 + direction]],
                _ => vec![names[direction], names[2 + direction]],
            };
            let hooked = |hook, names: Vec<&str>| hooked(&installed, device.ifindex, hook, names);
            Ok(DeviceStatus {
                ingress: hooked(TCX_INGRESS, at(0))?,
                egress: hooked(TCX_EGRESS, at(1))?,
                name: device.name,
                ifindex: device.ifindex,
                coverage: device.coverage,
            })
        });
        Ok(Some(Status {
            family,
            location: self.location(family).unwrap_or_default(),
            abi: bpftables_abi::ABI_VERSION,
            object: (installed.object.clone(), installed.is_current()),
            generation: live.header.generation,
            slot: live.slot,
            lines: live.header.lines,
            bytes: live.bytes(),
            tables: tables.collect(),
            max_connections: control.max_conns,
            host_routing: control.host_routing != 0,
            guards: guard::count(&installed.dir),
            agent,
            unheard: if agent { Vec::new() } else { telling(live.header.flags).collect() },
            ipsec: ipsec::policies(family),
            devices: devices.collect::<Result<_>>()?,
            settings: sysctl::changed(installed.family, &installed.dir),
        }))
    }

    /// The programs' statistics, and the agent's; all zero if nothing was ever committed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn stats(&mut self, family: Family) -> Result<Vec<Stat>> {
        self.refresh()?;
        let map = self.installed(family)?.map(|installed| installed.raw_map(maps::STATS)).transpose()?;
        let count = |index: u32| match &map {
            Some(map) => {
                let counts = bpf::read_per_cpu_u64(map.as_fd(), index).doing(|| "read bt_stats".to_owned())?;
                Ok(counts.iter().sum::<u64>())
            }
            None => Ok(0),
        };
        let agents = AGENTS.map(|(name, meaning, index)| count(index).map(|count| Stat { name, meaning, count }));
        let agents = agents.into_iter().collect::<Result<Vec<Stat>>>()?;
        let stats = STATS.into_iter().zip(0..).map(|((name, meaning), index)| {
            let by_agent = if index == stat::EVENT_LOST { agents.iter().map(|stat| stat.count).sum() } else { 0 };
            Ok(Stat { name, meaning, count: count(index)? + by_agent })
        });
        let mut stats = stats.collect::<Result<Vec<Stat>>>()?;
        stats.extend(agents);
        Ok(stats)
    }

    /// The bytes of the live image that programs read, for debugging; none if nothing was ever committed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn dump_image(&mut self, family: Family) -> Result<Option<Vec<u8>>> {
        self.refresh()?;
        let Some(installed) = self.installed(family)? else { return Ok(None) };
        for _ in 0..READ_TRIES {
            if let Some(lines) = current(&installed)?.lines()? {
                return Ok(Some(lines));
            }
        }
        Err(EngineError::Overtaken)
    }
}

fn hooked(installed: &Installed, ifindex: u32, hook: u32, names: Vec<&str>) -> Result<Hooked> {
    let doing = || format!("query the hooks of device {ifindex}");
    let mut ours = Vec::new();
    for name in names {
        if let Some(program) = installed.program(name)? {
            ours.push(bpf::prog_info(program.as_fd()).doing(doing)?.id);
        }
    }
    let ids = match bpf::query_tcx(ifindex, hook) {
        Ok(ids) => ids,
        // The device went since it was listed.
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Vec::new(),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(Hooked::Unknown),
        Err(e) => return Err(e).doing(doing),
    };
    let Some(at) = ids.iter().position(|id| ours.contains(id)) else { return Ok(Hooked::No) };
    // The other family's program lets our packets pass.
    let own = |id: &u32| {
        bpf::prog_name(*id).is_ok_and(|name| maps::PROGRAMS.contains(&&*name) || maps::PROGRAMS6.contains(&&*name))
    };
    Ok(if ids[..at].iter().all(own) { Hooked::First } else { Hooked::Behind })
}
