//! The engine: reads the live ruleset and commits a new one, all or nothing.

use crate::addrs;
use crate::attach;
use crate::connections;
use crate::counters::{self, CountersThen, KernelCounters};
use crate::devices::{self, Coverage, Device};
use crate::error::{Doing, EngineError, Result};
use crate::guard;
use crate::image::{self, Live, Placed, Prepared};
use crate::install::{self, Installed};
use crate::location::{BUILDING, DirLock, Home, remove_tree};
use crate::slots::{self, SlotSet};
use crate::state::Tables;
use crate::sys::bpf;
use crate::sys::grace::Passing;
use crate::sysctl;
use crate::upgrade;
use bpftables_abi::image::FLAG_GUARD;
use bpftables_abi::maps;
use bpftables_compiler::{Options, StateKind, compile};
use bpftables_ruleset::{CounterView, Counters, Family, Ruleset, Slot, TableKind, Target};
use std::collections::HashMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// How often a reader looks again when commits overtake it.
pub(crate) const READ_TRIES: usize = 1000;
/// How long a commit waits for a visit of all CPUs before it asks the kernel for a grace period.
const PASS_AT_MOST: Duration = Duration::from_millis(10);

/// Everything that touches the kernel, for the network namespace of the thread that uses it.
///
/// An engine that never commits makes nothing: no mount, no file, no map.
///
/// Architecture Invariant: a commit is one store (the live slot in `bt_control`). What is done before it changes nothing that a
/// packet meets, what is done after it only clears up; so whoever is killed leaves the old ruleset or the new one, whole.
#[derive(Debug, Default)]
pub struct Engine {
    /// Where the state is, once it was found.
    home: Option<Home>,
    /// Generation that the caller's ruleset came from, by family; none if it never asked.
    known: [Option<u32>; 2],
    /// The image of that generation, if it was read.
    live: [Option<Live>; 2],
}

/// A ruleset as it was live at one instant.
#[derive(Debug)]
pub struct Snapshot {
    /// The ruleset; no tables if nothing was ever committed.
    pub ruleset: Ruleset,
    /// What the kernel had counted for it.
    pub counters: CountersThen,
    /// Grows by one with each commit; 0: nothing was ever committed.
    pub generation: u32,
}

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The generation that is live now.
    pub generation: u32,
    /// Lines of 64 bytes that programs read.
    pub lines: u32,
    /// Bytes of the whole image, the state included.
    pub bytes: u64,
    /// The image got a new map, since it did not fit the one in its slot.
    pub new_map: bool,
    /// The kernel was asked to wait for packets under way, which takes some ten milliseconds: the image got a new map, or not every CPU
    /// could be visited in time.
    pub waited: bool,
    /// Devices that were attached by this commit.
    pub attached: Vec<String>,
    /// Devices whose packets meet no rules, for their link header is of no known kind.
    pub uncovered: Vec<String>,
    /// What the administrator should know.
    pub warnings: Vec<String>,
}

impl Engine {
    /// An engine for the current network namespace. Makes nothing.
    ///
    /// # Errors
    /// When the BPF file system cannot be looked at, or the kernel is too old.
    pub fn open() -> Result<Self> {
        Ok(Self { home: Home::find(false)?, ..Self::default() })
    }

    /// The live ruleset and its counters. Takes no lock: it sees one commit, whole.
    ///
    /// # Errors
    /// [`EngineError::AbiMismatch`], [`EngineError::Corrupt`], or what the kernel says.
    pub fn read(&mut self, family: Family) -> Result<Snapshot> {
        self.refresh()?;
        let at = family as usize;
        self.live[at] = None;
        let nothing = || Snapshot { ruleset: Ruleset::new(family), counters: CountersThen::default(), generation: 0 };
        let Some(installed) = self.installed(family)? else {
            self.known[at] = Some(0);
            return Ok(nothing());
        };
        for _ in 0..READ_TRIES {
            let live = current(&installed)?;
            let generation = live.header.generation;
            let used = live.meta().used();
            let end = used.ranges().last().map_or(0, |(first, count)| first + count);
            let counters = CountersThen::read(&KernelCounters::open(&installed.counters, end)?, &used);
            // A slot that the next commit frees is another rule's after the one that follows it, at the earliest.
            if live_generation(&installed)?.wrapping_sub(generation) > 1 {
                continue;
            }
            let ruleset = live.blob.ruleset()?;
            (self.known[at], self.live[at]) = (Some(generation), Some(live));
            return Ok(Snapshot { ruleset, counters, generation });
        }
        Err(EngineError::Overtaken)
    }

    /// The kernel's counters, live, for the slots of the live ruleset.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn counters(&mut self, family: Family) -> Result<KernelCounters> {
        self.refresh()?;
        self.installed(family)?.map_or_else(|| Ok(KernelCounters::default()), |i| KernelCounters::open_all(&i.counters))
    }

    /// What the kernel has counted by now for the ruleset that this engine last read or committed; none if that is not the live one
    /// any more.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn counters_if_current(&mut self, family: Family) -> Result<Option<CountersThen>> {
        self.refresh()?;
        let Some(known) = self.known[family as usize] else { return Ok(None) };
        let Some(installed) = self.installed(family)? else {
            return Ok((known == 0).then(CountersThen::default));
        };
        let live = current(&installed)?;
        if live.header.generation != known {
            return Ok(None);
        }
        let used = live.meta().used();
        let counters = CountersThen::read(&KernelCounters::open_all(&installed.counters)?, &used);
        if live_generation(&installed)?.wrapping_sub(known) > 1 {
            return Ok(None);
        }
        self.live[family as usize] = Some(live);
        Ok(Some(counters))
    }

    /// Makes `ruleset` the live one: gives slots to rules and policies that have none, compiles, uploads, attaches to devices that
    /// are new, swaps. On an error the live ruleset is as before, though rules may have got slots.
    ///
    /// # Errors
    /// [`EngineError::Compile`] when the ruleset cannot be run, [`EngineError::Raced`] when somebody committed since the last
    /// [`Self::read`] or commit of this engine, or what the kernel says.
    pub fn commit(&mut self, ruleset: &mut Ruleset) -> Result<Committed> {
        self.refresh()?;
        if self.home.is_none() {
            self.home = Home::find(true)?;
        }
        let home = self.home.as_ref().ok_or_else(|| EngineError::Internal("no BPF file system".to_owned()))?;
        let home = home.of(ruleset.family);
        home.make_all()?;
        let locked = Locked::take(&home)?;
        let at = ruleset.family as usize;
        let committed = commit(&home, &locked, self.known[at], self.live[at].take(), ruleset)?;
        self.known[at] = Some(committed.generation);
        Ok(committed)
    }

    /// Remembers that a table was listed, as legacy initialises a table then: it stands in `iptables-save` from now on. Does
    /// nothing where nothing was ever committed, so that listing makes nothing. Whether the table is new.
    ///
    /// # Errors
    /// As [`Self::read`] and [`Self::commit`].
    pub fn record_initialised(&mut self, family: Family, kind: TableKind) -> Result<bool> {
        let snapshot = self.read(family)?;
        if snapshot.generation == 0 || snapshot.ruleset.table(kind).is_some() {
            return Ok(false);
        }
        let mut ruleset = snapshot.ruleset;
        ruleset.table_mut(kind);
        self.commit(&mut ruleset)?;
        Ok(true)
    }

    /// Detaches everything of ours in this network namespace, forgets rules, counters and connections, and puts back what was
    /// changed on `lo`. Works on pins of other versions too. Whether there was anything.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn uninstall(&mut self) -> Result<bool> {
        self.refresh()?;
        (self.known, self.live) = Default::default();
        let Some(home) = &self.home else { return Ok(false) };
        if !home.all().exists() {
            return Ok(false);
        }
        let _lock = DirLock::exclusive(&home.all()).doing(|| format!("remove {}", home.display()))?;
        let mut was_there = false;
        for family in [Family::V4, Family::V6] {
            was_there |= uninstall(&home.of(family))?;
        }
        if was_there && !home.has_others() {
            guard::forget_survey(home).doing(|| "remove the survey of links".to_owned())?;
        }
        Ok(was_there)
    }

    /// A loaded program, for test runs.
    ///
    /// # Errors
    /// `Internal` if no device needed it so far.
    pub fn program(&mut self, name: &str) -> Result<OwnedFd> {
        self.refresh()?;
        let family = if maps::PROGRAMS6.contains(&name) { Family::V6 } else { Family::V4 };
        let program = self.installed(family)?.map(|installed| installed.program(name)).transpose()?.flatten();
        program.ok_or_else(|| EngineError::Internal(format!("program {name} is not loaded")))
    }

    /// The pins of a family in this namespace, open.
    pub(crate) fn installed(&self, family: Family) -> Result<Option<Installed>> {
        let installed = match &self.home {
            Some(home) => Installed::open(&home.of(family))?,
            None => None,
        };
        if installed.is_none() {
            self.expect_no_programs(family)?;
        }
        Ok(installed)
    }

    /// This namespace's directory as a person knows it.
    pub(crate) fn location(&self) -> Option<String> {
        self.home.as_ref().map(Home::display)
    }

    /// A thread may have changed its network namespace, or somebody may have mounted a BPF file system.
    pub(crate) fn refresh(&mut self) -> Result<()> {
        let cookie = crate::sys::ns::netns_cookie().doing(|| "identify the network namespace".to_owned())?;
        if self.home.as_ref().is_none_or(|home| home.cookie != cookie) {
            self.home = Home::find(false)?;
        }
        Ok(())
    }

    fn expect_no_programs(&self, family: Family) -> Result<()> {
        if bpf::runs_at_tcx(1, bpf::TCX_INGRESS, install::programs(family)[0]).unwrap_or(false) {
            let expected = self.location().unwrap_or_else(|| "/sys/fs/bpf/bpftables".to_owned());
            return Err(EngineError::StateElsewhere { expected });
        }
        Ok(())
    }
}

/// Removes what a family has. The caller holds the lock of all namespaces.
fn uninstall(home: &Home) -> Result<bool> {
    let doing = || format!("remove {}", home.display());
    let dir = home.dir();
    remove_tree(&home.building()).doing(doing)?;
    if !dir.exists() {
        return Ok(false);
    }
    // Links first: programs never run without their maps, and packets pass as soon as the rules go. The guard before all: it would
    // stop what no program sees any more.
    guard::detach_all(&dir).doing(doing)?;
    attach::detach_all(&dir.join("links")).doing(doing)?;
    sysctl::restore_lo(home.family, &dir)?;
    remove_tree(&dir).doing(doing)?;
    Ok(true)
}

/// The locks of a commit, and the pins under them.
struct Locked {
    /// None if nothing was ever committed; the lock is exclusive then.
    installed: Option<Installed>,
    _all: DirLock,
    _own: Option<DirLock>,
}

impl Locked {
    fn take(home: &Home) -> Result<Self> {
        let doing = || format!("lock {}", home.display());
        let all = home.all();
        if let Some(_lock) = DirLock::try_exclusive(&all).doing(doing)? {
            collect_garbage(home);
        }
        let shared = DirLock::shared(&all).doing(doing)?;
        if let Some(installed) = Installed::open(home)?.filter(Installed::is_current) {
            let own = DirLock::exclusive(&home.dir()).doing(doing)?;
            return Ok(Self { installed: Some(installed), _all: shared, _own: Some(own) });
        }
        drop(shared);
        let exclusive = DirLock::exclusive(&all).doing(doing)?;
        let mut installed = Installed::open(home)?;
        if let Some(old) = installed.take_if(|installed| !installed.is_current()) {
            installed = Some(upgrade::in_place(home, &old)?);
        }
        Ok(Self { installed, _all: exclusive, _own: None })
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

fn live_generation(installed: &Installed) -> Result<u32> {
    for _ in 0..READ_TRIES {
        if let Some(generation) = image::generation(&installed.images, || installed.slot())? {
            return Ok(generation);
        }
    }
    Err(EngineError::Overtaken)
}

fn commit(
    home: &Home,
    locked: &Locked,
    known: Option<u32>,
    read: Option<Live>,
    ruleset: &mut Ruleset,
) -> Result<Committed> {
    // From here on, under the lock, all packets that are under way have to pass until the store.
    let passing = Passing::begin(bpf::possible_cpus().doing(|| "count the CPUs".to_owned())?);
    let live = match &locked.installed {
        None => None,
        Some(installed) => match read.filter(|live| live.is_live(|| installed.slot())) {
            Some(live) => Some(live),
            None => Some(current(installed)?),
        },
    };
    let before = live.as_ref().map_or(0, |live| live.header.generation);
    if let Some(expected) = known.filter(|known| *known != before) {
        return Err(EngineError::Raced { expected, found: before });
    }

    // Slots.
    let mut used = slots::used(ruleset)?;
    let old_used = live.as_ref().map(|live| live.meta().used()).unwrap_or_default();
    let mut busy = live.as_ref().map(|live| live.meta().retired()).unwrap_or_default();
    busy.extend(&old_used);
    let kernel = match &locked.installed {
        Some(installed) => KernelCounters::open_all(&installed.counters)?,
        None => KernelCounters::default(),
    };
    slots::assign(ruleset, &mut used, &busy, &|slot: Slot| -> Counters { kernel.get(slot) })?;
    let retired = old_used.without(&used);

    // The image; whatever cannot be run is refused here, before anything is made.
    let compiled = compile(ruleset, &Options::default())?;
    let mut warnings: Vec<String> = compiled.warnings.iter().map(ToString::to_string).collect();
    let tables = Tables::encode(ruleset)?;
    let devices = devices::list()?;

    let fresh;
    let installed = match &locked.installed {
        Some(installed) => installed,
        None => {
            fresh = install::create(home, lo_ifindex(&devices)?, &attach::needed(home.family, &devices))?;
            &fresh
        }
    };
    let live = match live {
        Some(live) => live,
        None => current(installed)?,
    };
    let end = used.ranges().last().map_or(0, |(first, count)| first + count);
    counters::ensure(&installed.counters, end)?;

    let states = compiled.states.clone();
    let generation = before.wrapping_add(1).max(1);
    let prepared = Prepared::new(compiled, generation, &tables, &used, &retired, ruleset.family)?;
    let (lines, bytes) = (prepared.header.lines, prepared.bytes());

    // What the new ruleset stands on. Packets still meet the old one.
    if sends_by_lo(ruleset) {
        sysctl::set_lo(installed.family, &installed.dir)?;
    }
    installed.refresh_settings()?;
    addrs::mirror(installed)?;
    devices::name(&installed.map(maps::DEVS)?, &devices)?;
    let attached = attach::cover(installed, &devices)?;
    let guarded = prepared.header.flags & FLAG_GUARD != 0;
    if guarded {
        warnings.extend(guard::arm(installed, ruleset.family)?);
    }

    let slot = image::next_slot(live.slot);
    let mut placed = prepared.put(&installed.images, slot)?;
    let new_map = placed.waited;
    if !placed.waited && !passing.passed(PASS_AT_MOST) {
        placed.wait(&installed.images, slot)?;
    }
    let waited = placed.waited;
    carry_states(ruleset, &tables, &live, &states, &placed);
    installed.set_slot(slot);

    // It is done; what follows only clears up.
    match connections::end_orphans(installed, &retired) {
        Ok(ended) => tracing::debug!(ended, "UDP connections of rules that are gone"),
        Err(error) => tracing::warn!(%error, "UDP connections of rules that are gone live on"),
    }
    if !guarded && let Err(error) = guard::disarm(installed, ruleset.family) {
        tracing::warn!(%error, "the guard stays, though no rule asks for it");
    }
    if let Err(error) = attach::prune(installed, &devices) {
        tracing::warn!(%error, "links of devices that are gone stay pinned");
    }
    let uncovered =
        devices.iter().filter(|d| matches!(d.coverage, Coverage::Unknown(_))).map(|d| d.name.clone()).collect();
    tracing::debug!(generation, slot, lines, bytes, waited, ?attached, "committed");
    Ok(Committed { generation, lines, bytes, new_map, waited, attached, uncovered, warnings })
}

/// Whether programs may send packets in by `lo`: rewritten ones of the nat table, answers of REJECT to senders on this host.
fn sends_by_lo(ruleset: &Ruleset) -> bool {
    let rejects = || {
        let mut rules = ruleset.tables.iter().flat_map(|table| table.chains()).flat_map(|chain| &chain.rules);
        rules.any(|rule| matches!(rule.target, Target::Reject(_)))
    };
    ruleset.table(TableKind::Nat).is_some() || rejects()
}

fn lo_ifindex(devices: &[Device]) -> Result<u32> {
    let lo = devices.iter().find(|device| device.name == "lo");
    lo.map(|device| device.ifindex).ok_or_else(|| EngineError::Internal("no device lo".to_owned()))
}

/// Copies what `limit` and `nth` rules remember, for rules of tables that this commit leaves alone. Legacy makes this state anew for
/// every rule of a table that it replaces, and only for these.
fn carry_states(
    ruleset: &Ruleset,
    tables: &Tables,
    live: &Live,
    states: &[bpftables_compiler::StateLine],
    placed: &Placed,
) {
    let old: HashMap<(Slot, u8, StateKind), u32> =
        live.meta().states().map(|s| ((s.slot, s.ordinal, s.kind), s.line)).collect();
    if old.is_empty() || states.is_empty() {
        return;
    }
    let mut kept = SlotSet::default();
    for (kind, bytes) in tables.each() {
        if live.blob.table(kind) != Some(bytes) {
            continue;
        }
        for rule in ruleset.table(kind).into_iter().flat_map(|t| t.chains()).flat_map(|chain| &chain.rules) {
            kept.insert(rule.slot.0);
        }
    }
    for state in states.iter().filter(|state| kept.contains(state.slot.0)) {
        if let Some(line) = old.get(&(state.slot, state.ordinal, state.kind)) {
            placed.set_state(state.line, live.state(*line));
        }
    }
}

/// Removes directories of namespaces that are gone, and of commits that were killed while making one. The caller holds the lock of
/// all namespaces, so nobody is making one now.
fn collect_garbage(home: &Home) {
    if let Err(error) = guard::sweep(home) {
        tracing::warn!(%error, "network namespaces that nobody uses may stay");
    }
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
