//! The commit: what is done before its store changes nothing that a packet meets, what is done after it only clears up.

use crate::addrs;
use crate::attach;
use crate::cgroups;
use crate::chains::{self, Layout};
use crate::connections;
use crate::counters::{self, FewCounters};
use crate::demand;
use crate::devices::{self, Coverage, Device};
use crate::engine::Committed;
use crate::error::{Doing, EngineError, Result};
use crate::guard;
use crate::image::{self, Live, Prepared};
use crate::import;
use crate::install::{self, Installed};
use crate::ipsec;
use crate::location::{BUILDING, DirLock, Home, remove_tree};
use crate::part::{self, Part, Planned};
use crate::serve;
use crate::sets;
use crate::slots::{self, SlotSet};
use crate::state::{self, Meta, StateAt};
use crate::sys::bpf;
use crate::sys::grace::Passing;
use crate::sysctl;
use crate::upgrade;
use bpftables_abi::image::{
    FLAG_ACCT, FLAG_CONNTRACK, FLAG_EVENTS, FLAG_GUARD, FLAG_GUARD_LOOPBACK, FLAG_NFLOG, FLAG_NO_VRF, FLAG_SET_CHANGES,
    FLAG_SETS, FLAG_TRACE,
};
use bpftables_abi::maps::{self, ConnTable};
use bpftables_abi::parts;
use bpftables_compiler::{Estimator, HashlimitTable, Options, StateKind, StateLine, chain_flag, compile};
use bpftables_ruleset::{ChainName, CounterView, Counters, Family, Ruleset, Slot, Table, TableKind, named};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often a reader looks again when commits overtake it.
pub(crate) const READ_TRIES: usize = 1000;
/// How long a commit waits for a visit of all CPUs before it asks the kernel for a grace period.
const PASS_AT_MOST: Duration = Duration::from_millis(10);

/// Lines of an image that is large.
const SPREAD_FROM: u32 = 1 << 15;

/// Targets whose events the agent takes, and the flags of images with them.
const TELLING: [(u32, &str); 4] = [
    (FLAG_EVENTS, "LOG writes nothing until bpftablesd runs"),
    (FLAG_NFLOG, "NFLOG writes nothing until bpftablesd runs"),
    (FLAG_TRACE, "TRACE writes nothing until bpftablesd runs"),
    (FLAG_SET_CHANGES, "what SET changes holds for rules at once, but ipset does not show it until bpftablesd runs"),
];

/// What of an image with these flags waits for an agent.
pub(crate) fn telling(flags: u32) -> impl Iterator<Item = &'static str> {
    TELLING.into_iter().filter(move |(flag, _)| flags & flag != 0).map(|(_, what)| what)
}

/// The locks of a commit, and the pins under them: that of all namespaces, shared, and the namespace's own.
pub(crate) struct Locked<'a> {
    home: &'a Home,
    /// None if nothing was ever committed; the own lock is that of the directory in which it is made, then.
    installed: Option<Installed>,
    own: DirLock,
    _all: DirLock,
}

impl<'a> Locked<'a> {
    /// Waits for no other namespace's commit, however long the kernel takes to verify programs for it.
    pub(crate) fn take(home: &'a Home) -> Result<Self> {
        let doing = || format!("lock {}", home.display());
        let all = home.all();
        if let Some(_lock) = DirLock::try_exclusive(&all).doing(doing)? {
            collect_garbage(home);
        }
        let shared = DirLock::shared(&all).doing(doing)?;
        let found = |result: io::Result<()>, expected| match result {
            Err(e) if e.kind() != expected => Err(e).doing(doing),
            _ => Ok(()),
        };
        loop {
            let (dir, building) = (home.dir(), home.building());
            match DirLock::exclusive(&dir) {
                // Else whoever had the lock before has removed it.
                Ok(own) if own.is_at(&dir) => {
                    let Some(found) = Installed::open(home)? else {
                        install::remove_leftover(home)?;
                        continue;
                    };
                    install::expect_whole(home)?;
                    let installed =
                        if found.is_current() { found } else { upgrade::in_place(home, &found, found.parts)? };
                    return Ok(Self { home, installed: Some(installed), own, _all: shared });
                }
                Ok(_) => continue,
                Err(e) => found(Err(e), io::ErrorKind::NotFound)?,
            }
            found(fs::create_dir(&building), io::ErrorKind::AlreadyExists)?;
            match DirLock::exclusive(&building) {
                // Else whoever had the lock before has finished, or given up.
                Ok(own) if own.is_at(&building) => return Ok(Self { home, installed: None, own, _all: shared }),
                Ok(_) => {}
                Err(e) => found(Err(e), io::ErrorKind::NotFound)?,
            }
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let building = self.home.building();
        if self.own.is_at(&building) {
            let _ = fs::remove_dir(&building);
        }
    }
}

/// The live image. Commits may overtake; then it looks again.
pub(crate) fn current(installed: &Installed) -> Result<Live> {
    for _ in 0..READ_TRIES {
        if let Some(live) = Live::open(&installed.images, || installed.slot())? {
            return Ok(live);
        }
    }
    Err(EngineError::Overtaken)
}

pub(crate) fn live_generation(installed: &Installed) -> Result<u32> {
    for _ in 0..READ_TRIES {
        if let Some(generation) = image::generation(&installed.images, || installed.slot())? {
            return Ok(generation);
        }
    }
    Err(EngineError::Overtaken)
}

/// What is to be committed.
pub(crate) struct Change<'a> {
    pub(crate) what: What<'a>,
    /// Generation that it was made from.
    pub(crate) known: Option<u32>,
    /// The image of that generation, if it was read.
    pub(crate) read: Option<Arc<Live>>,
    /// Rules of netfilter's, which ends translating when this is done.
    pub(crate) adopting: bool,
}

/// See [`Change`].
pub(crate) enum What<'a> {
    /// A ruleset.
    Whole {
        ruleset: &'a mut Ruleset,
        /// The only table that differs from the ruleset of generation `known`, if that is so.
        only: Option<TableKind>,
    },
    /// Chains of one table.
    Part {
        part: &'a Part,
        table: &'a mut Table,
        /// Chains that stay as they are, but count from nothing again.
        refilled: &'a [ChainName],
    },
}

/// What a commit does, once it is known that it can be done.
struct Plan {
    prepared: Prepared,
    used: SlotSet,
    /// Slots that it frees.
    retired: SlotSet,
    /// Programs may send packets in by `lo`: rewritten ones of the nat table, answers of REJECT to senders on this host.
    sends_by_lo: bool,
    /// Tables of `-m hashlimit` that may be new.
    hashlimits: Vec<HashlimitTable>,
    /// Rate estimators that may be new.
    estimators: Vec<Estimator>,
    /// Lines that programs write, and which of the live image each goes on with; none begins anew.
    states: Vec<(u32, Option<u32>)>,
    connlimit: bool,
    warnings: Vec<String>,
}

/// Commits, under the lock; gives the image that is live then. None: a part that cannot be committed as such.
pub(crate) fn commit(home: &Home, locked: &Locked<'_>, change: Change<'_>) -> Result<Option<(Committed, Live)>> {
    let Change { mut what, known, read, adopting } = change;
    // From here on, under the lock, all packets that are under way have to pass until the store.
    let mut passing = begin_passing()?;
    let live = match &locked.installed {
        None => None,
        Some(installed) => match read {
            Some(live) if live.is_live(&installed.images, || installed.slot()) => Some(live),
            // Overtaken, which the generation tells, unless everything was removed and made anew.
            Some(read) => {
                let found = current(installed)?.header.generation;
                return Err(EngineError::Raced { expected: read.header.generation, found });
            }
            None => Some(Arc::new(current(installed)?)),
        },
    };
    let before = live.as_ref().map_or(0, |live| live.header.generation);
    if let Some(expected) = known.filter(|known| *known != before) {
        return Err(EngineError::Raced { expected, found: before });
    }
    let counters = locked.installed.as_ref().map(|installed| FewCounters::new(&installed.counters)).transpose()?;
    let kernel = |slot: Slot| -> Counters { counters.as_ref().map_or_else(Counters::default, |few| few.get(slot)) };
    // Whatever cannot be run is refused here, before anything is made.
    let mut plan = match &mut what {
        What::Whole { ruleset, only } => plan_whole(live.as_deref(), ruleset, *only, &kernel)?,
        What::Part { part, table, refilled } => match plan_part(live.as_deref(), part, table, refilled, &kernel)? {
            Some(plan) => plan,
            None => return Ok(None),
        },
    };
    if let Some(error) = counters.as_ref().and_then(FewCounters::failure) {
        return Err(error);
    }
    let devices = devices::list()?;
    let guarded = plan.prepared.header.flags & (FLAG_GUARD | FLAG_GUARD_LOOPBACK) != 0;
    if guarded {
        check_vrfs(&devices, home.family, plan.prepared.header.flags)?;
    }

    let asked = plan.prepared.header.flags & parts::ALL;
    let fresh;
    let installed = match &locked.installed {
        Some(installed) if asked & !installed.parts == 0 => installed,
        Some(installed) => {
            fresh = upgrade::in_place(home, installed, parts::grown(installed.parts, asked))?;
            // Nor is a packet to meet the new image by programs that were replaced.
            passing = begin_passing()?;
            &fresh
        }
        None => {
            let (programs, parts) = (attach::needed(home.family, &devices), parts::first(asked, guarded));
            fresh = install::create(home, lo_ifindex(&devices)?, &programs, parts)?;
            &fresh
        }
    };
    plan.prepared.header.flags |= match &what {
        What::Whole { ruleset, .. } => sets::prepare(installed, ruleset)?,
        What::Part { .. } => match sets::prepare_named(installed, &plan.prepared.meta.sets)? {
            Some(flags) => flags,
            None => return Ok(None),
        },
    };
    if plan.prepared.header.flags & FLAG_SETS != 0 {
        sets::changes::prepare(home, installed, plan.prepared.header.flags & FLAG_SET_CHANGES != 0)?;
        // Where no agent does. What cannot be made now holds for rules all the same.
        if let Err(error) = sets::changes::bring(installed) {
            tracing::debug!(%error, "changes of sets are not made yet");
        }
    }
    let Plan { prepared, used, retired, mut warnings, .. } = plan;
    let generation = prepared.header.generation;
    let live = match live {
        Some(live) => live,
        None => Arc::new(current(installed)?),
    };
    let end = used.ranges().last().map_or(0, |(first, count)| first + count);
    counters::ensure(&installed.counters, end)?;
    let (lines, bytes) = (prepared.header.lines, prepared.bytes());

    // What the new ruleset stands on. Packets still meet the old one.
    if guarded || plan.sends_by_lo {
        sysctl::set_lo(installed.family, &installed.dir, plan.sends_by_lo)?;
    }
    installed.refresh_settings()?;
    addrs::mirror(installed)?;
    devices::name(&installed.map(maps::DEVS)?, &devices)?;
    let attached = attach::cover(installed, &devices)?;
    // Said by the command that makes the first such rule, not by all that come after it.
    let new = prepared.header.flags & !live.header.flags;
    let mut telling = telling(new).peekable();
    if telling.peek().is_some() && !serve::runs(home).unwrap_or(false) {
        warnings.extend(telling.map(str::to_owned));
    }
    if guarded {
        let begins = guard::count(&installed.dir) == 0;
        warnings.extend(guard::arm(installed, installed.family)?);
        if begins {
            warnings.extend(ipsec::warning(ipsec::policies(installed.family)));
        }
    }

    let slot = image::next_slot(live.slot);
    let mut placed = prepared.put(&installed.images, slot, &live)?;
    let new_map = placed.waited;
    if !placed.waited && !passing.passed(PASS_AT_MOST) {
        placed.wait(&installed.images, slot)?;
    }
    let waited = placed.waited;
    forget_lists(installed, &live.meta.recent)?;
    let limits: Vec<u32> = live.meta.hashlimits.iter().map(|table| table.id).collect();
    demand::forget_hashlimits(installed, &limits)?;
    demand::make_hashlimits(installed, &plan.hashlimits, &limits)?;
    let named: Vec<u32> = live.meta.estimators.iter().map(|estimator| estimator.id).collect();
    demand::forget_estimators(installed, &named)?;
    demand::make_estimators(installed, &plan.estimators, &named)?;
    if plan.connlimit {
        demand::make_limits(installed)?;
    }
    if prepared.header.flags & FLAG_ACCT != 0 {
        demand::make_accts(installed)?;
    }
    for (line, from) in &plan.states {
        placed.set_state(*line, from.map_or(0, |from| live.state(from)));
    }
    #[cfg(debug_assertions)]
    placed.verify(&prepared)?;
    if prepared.header.flags & !live.header.flags & FLAG_CONNTRACK != 0 {
        warnings.extend(begin_tracking(installed, adopting)?);
    }
    installed.set_slot(slot);

    // It is done; what follows only clears up.
    match connections::end_orphans(installed, &retired) {
        Ok(ended) => tracing::debug!(ended, "UDP connections of rules that are gone"),
        Err(error) => tracing::warn!(%error, "UDP connections of rules that are gone live on"),
    }
    if !guarded && let Err(error) = guard::disarm(installed, installed.family) {
        tracing::warn!(%error, "the guard stays, though no rule asks for it");
    }
    if let Err(error) = attach::prune(installed, &devices) {
        tracing::warn!(%error, "links of devices that are gone stay pinned");
    }
    let uncovered =
        devices.iter().filter(|d| matches!(d.coverage, Coverage::Unknown(_))).map(|d| d.name.clone()).collect();
    tracing::debug!(generation, slot, lines, bytes, waited, ?attached, "committed");
    let committed = Committed { generation, lines, bytes, new_map, waited, attached, uncovered, warnings };
    Ok(Some((committed, placed.into_live(prepared, slot))))
}

/// Refuses rules that the packets of a VRF could not be asked.
fn check_vrfs(devices: &[Device], family: Family, flags: u32) -> Result<()> {
    for device in devices {
        let Coverage::Vrf(forwards) = device.coverage else { continue };
        let reason = if flags & FLAG_NO_VRF != 0 {
            "it is a VRF, and of its packets nothing can be told that socket, addrtype --limit-iface-in and --limit-iface-out, \
             rpfilter --accept-local, TPROXY or TEE ask for"
        } else if !forwards[family as usize] {
            "it is a VRF whose setting `forwarding` is off, and the kernel tells programs no routes of such a VRF"
        } else {
            continue;
        };
        return Err(EngineError::Device { name: device.name.clone(), reason });
    }
    Ok(())
}

/// Sends a thread to all CPUs, so that packets under way now are known to have passed.
fn begin_passing() -> Result<Passing> {
    Ok(Passing::begin(bpf::possible_cpus().doing(|| "count the CPUs".to_owned())?))
}

/// Puts the live image into the other slots too, if it is large and was made as a whole, for then the next commits would have to. Where it
/// cannot be done, they do.
pub(crate) fn spread(locked: &Locked<'_>, live: &Live) -> Result<()> {
    let Some(installed) = &locked.installed else { return Ok(()) };
    if live.meta.end < SPREAD_FROM || !live.meta.steps.is_empty() {
        return Ok(());
    }
    let passing = begin_passing()?;
    if !live.is_live(&installed.images, || installed.slot()) {
        return Ok(());
    }
    let copy = Prepared::copy_of(live);
    let next = image::next_slot(live.slot);
    copy.put(&installed.images, next, live)?;
    // What was live before the last commit may be under the eyes of packets until here.
    if passing.passed(PASS_AT_MOST) {
        copy.put(&installed.images, image::next_slot(next), live)?;
    }
    Ok(())
}

fn plan_whole(
    live: Option<&Live>,
    ruleset: &mut Ruleset,
    only: Option<TableKind>,
    kernel: &dyn Fn(Slot) -> Counters,
) -> Result<Plan> {
    let mut used = slots::used(ruleset)?;
    let old_used = live.map(|live| live.meta.used()).unwrap_or_default();
    let mut busy = live.map(|live| live.meta.retired()).unwrap_or_default();
    busy.extend(&old_used);
    slots::assign(slots::chains(ruleset), &mut used, &busy, kernel)?;
    let retired = old_used.without(&used);

    let mut there = live.map(|live| live.meta.there()).unwrap_or_default();
    for table in ruleset.tables.iter().filter(|table| only.is_none_or(|only| only == table.kind)) {
        named::check(table, &mut there)?;
    }
    let before_cgroups = live.map(|live| &live.meta.cgroups[..]).unwrap_or_default();
    let cgroups = cgroups::find(ruleset, before_cgroups, |kind| only.is_some_and(|only| only != kind))?;
    let options = Options { cgroups, ..Options::default() };
    let mut compiled = compile(ruleset, &options)?;
    for estimator in &mut compiled.estimators {
        estimator.times = there.estimators.get(&estimator.name).copied();
    }
    // Once rules asked what connections carried, connections are counted, as with legacy, which turns a sysctl on.
    if live.is_some_and(|live| live.header.flags & FLAG_ACCT != 0) {
        compiled.add_flags(FLAG_ACCT);
    }
    let mut layout = Layout::behind(compiled.lines.len() as u32);
    let mut meta = Meta::new(ruleset.family);
    let mut places = &compiled.chains[..];
    for table in &ruleset.tables {
        let (own, others) = places.split_at(table.builtin.len() + table.user.len());
        places = others;
        let known = live.filter(|_| only.is_some_and(|only| only != table.kind));
        layout.add(table, own, known.and_then(|live| live.table(table.kind)).as_ref())?;
        own.iter().for_each(|place| meta.count_flags(place.flags, 1));
    }
    meta.set_slots(&used, &retired);
    meta.states = chains::states(&compiled.states, &ruleset.tables);
    meta.recent = compiled.recent.iter().map(|list| list.id).collect();
    let limit = |table: &HashlimitTable| {
        let name = &table.maker.name;
        state::Hashlimit {
            name: name.clone(),
            id: table.id,
            rate_match: there.limits.get(name).is_some_and(|rate| *rate),
        }
    };
    meta.hashlimits = compiled.hashlimits.iter().map(limit).collect();
    let known = |e: &Estimator| Some(state::Estimator { name: e.name.clone(), id: e.id, times: e.times? });
    meta.estimators = compiled.estimators.iter().filter_map(known).collect();
    meta.sets = sets::named(ruleset);
    meta.cgroups = options.cgroups.into_iter().map(|((table, path), id)| (table, path, id)).collect();
    meta.ifaces = std::mem::take(&mut compiled.ifaces);
    let states = carried(live, ruleset, only, &meta)?;
    let generation = live.map_or(0, |live| live.header.generation).wrapping_add(1).max(1);
    let warnings = compiled.warnings.iter().map(ToString::to_string).collect();
    let (hashlimits, estimators) = (std::mem::take(&mut compiled.hashlimits), std::mem::take(&mut compiled.estimators));
    let prepared = Prepared::whole(compiled, generation, layout, meta)?;
    Ok(Plan {
        used,
        retired,
        sends_by_lo: sends_by_lo(&prepared.meta),
        states,
        connlimit: connlimit(&prepared.meta),
        hashlimits,
        estimators,
        warnings,
        prepared,
    })
}

fn plan_part(
    live: Option<&Live>,
    part: &Part,
    table: &mut Table,
    refilled: &[ChainName],
    kernel: &dyn Fn(Slot) -> Counters,
) -> Result<Option<Plan>> {
    // Read of the image that is live: whoever committed since is noticed, but not who removed everything and made it anew.
    if live.is_none_or(|live| live.header != part.live.header) {
        return Ok(None);
    }
    let Some(Planned { prepared, used, retired }) = part::plan(part, table, refilled, kernel)? else { return Ok(None) };
    let states = prepared.meta.states.iter();
    let states = states.filter_map(|state| {
        let line = state.get()?.line;
        Some((line, (state.table != part.kind).then_some(line)))
    });
    Ok(Some(Plan {
        used,
        retired,
        sends_by_lo: sends_by_lo(&prepared.meta),
        states: states.collect(),
        connlimit: connlimit(&prepared.meta),
        // What names one is compiled as a whole.
        hashlimits: Vec::new(),
        estimators: Vec::new(),
        warnings: Vec::new(),
        prepared,
    }))
}

fn sends_by_lo(meta: &Meta) -> bool {
    meta.table(TableKind::Nat).is_some() || meta.all_flags() & chain_flag::REJECTS != 0
}

fn connlimit(meta: &Meta) -> bool {
    meta.states.iter().filter_map(StateAt::get).any(|state| state.kind == StateKind::Connlimit)
}

fn lo_ifindex(devices: &[Device]) -> Result<u32> {
    let lo = devices.iter().find(|device| device.name == "lo");
    lo.map(|device| device.ifindex).ok_or_else(|| EngineError::Internal("no device lo".to_owned()))
}

/// Lines of the new image that programs write, and of the live one that they go on with: those of rules of tables that this commit leaves
/// alone. Legacy makes this state anew for every rule of a table that it replaces, and only for these.
fn carried(
    live: Option<&Live>,
    ruleset: &Ruleset,
    only: Option<TableKind>,
    meta: &Meta,
) -> Result<Vec<(u32, Option<u32>)>> {
    let Some(live) = live.filter(|live| !live.meta.states.is_empty() && !meta.states.is_empty()) else {
        return Ok(Vec::new());
    };
    let mut kept = Vec::new();
    for table in &ruleset.tables {
        let same = match only {
            Some(only) => only != table.kind,
            None => live.table(table.kind).map_or(Ok(false), |view| view.holds(table))?,
        };
        kept.extend(same.then_some(table.kind));
    }
    let key = |state: &StateLine| (state.slot, state.ordinal, state.kind);
    let old: HashMap<_, u32> =
        live.meta.states.iter().filter_map(StateAt::get).map(|state| (key(&state), state.line)).collect();
    let new = meta.states.iter().filter(|state| kept.contains(&state.table)).filter_map(StateAt::get);
    Ok(new.filter_map(|state| Some((state.line, Some(*old.get(&key(&state))?)))).collect())
}

/// Where our programs never tracked a connection, they begin with those that netfilter knows. What the administrator should know.
fn begin_tracking(installed: &Installed, adopting: bool) -> Result<Vec<String>> {
    let table = installed.map::<u32, ConnTable>(maps::CONN_TABLE)?.get(&0);
    if table.doing(|| "look at the connections".to_owned())?.is_none_or(|table| table.bump != 0) {
        return Ok(Vec::new());
    }
    let imported = import::import(installed, adopting)?;
    tracing::info!(?imported, "connections of netfilter");
    let said = [
        (
            imported.left,
            "translated connections are left to netfilter, whose rules are in force: they are new to these rules",
        ),
        (imported.dropped, "connections of netfilter find no room in the table: they are new to these rules"),
    ];
    Ok(said.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect())
}

/// Deletes the lists of `-m recent` that no rule of the live image names. Packets of the image before it, which may have named them, have
/// passed by now; so a list that is named again begins empty, as legacy's does, which go with their last rule.
fn forget_lists(installed: &Installed, named: &[u32]) -> Result<()> {
    let doing = || "delete the lists of -m recent that no rule names".to_owned();
    let lists = installed.keys::<u32>(maps::RECENT)?;
    let gone: Vec<u32> = lists.keys().doing(doing)?.into_iter().filter(|list| !named.contains(list)).collect();
    if gone.is_empty() {
        return Ok(());
    }
    let stamps = installed.keys::<u64>(maps::RECENT_STAMPS)?;
    for key in stamps.keys().doing(doing)?.into_iter().filter(|key| gone.contains(&((key >> 32) as u32))) {
        stamps.remove(&key).doing(doing)?;
    }
    gone.iter().try_for_each(|list| lists.remove(list).map(drop)).doing(doing)
}

/// Removes directories of namespaces that are gone, and of commits that were killed while making one. The caller holds the lock of
/// all namespaces, so nobody is making one now.
fn collect_garbage(home: &Home) {
    if let Err(error) = guard::sweep(home) {
        tracing::warn!(%error, "network namespaces that nobody uses may stay");
    }
    serve::forget_marks(home);
    let Ok(entries) = fs::read_dir(home.all()) else { return };
    let own = home.dir();
    for entry in entries.flatten() {
        let path = entry.path();
        let building = path.to_string_lossy().ends_with(BUILDING);
        if path.file_name() == own.file_name() || !(building || is_abandoned(&path)) {
            continue;
        }
        if let Err(error) = remove_tree(&path) {
            tracing::warn!(%error, path = %path.display(), "state of a network namespace that is gone stays");
        }
    }
}

/// Whether no link in it is alive: a namespace that lives has its `lo` attached from before its first commit on.
fn is_abandoned(dir: &Path) -> bool {
    let Ok(links) = fs::read_dir(dir.join("links")) else { return false };
    links.flatten().all(|link| attach::is_defunct(&link.path()).unwrap_or(false))
}
