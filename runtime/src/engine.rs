//! The engine: reads the live ruleset and commits a new one, all or nothing.

use crate::attach;
use crate::commit::{self, Change, Locked, READ_TRIES, What, current, live_generation};
use crate::counters::{CountersThen, KernelCounters};
use crate::error::{Doing, EngineError, Result};
use crate::guard;
use crate::image::Live;
use crate::install::{self, Installed};
use crate::location::{DirLock, Home, remove_tree};
use crate::part::Part;
use crate::record;
use crate::rights;
use crate::sets;
use crate::sys::bpf;
use crate::sysctl;
use bpftables_abi::maps;
use bpftables_ruleset::{ChainName, Family, Ruleset, Table, TableKind};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Everything that touches the kernel, for the network namespace of the thread that uses it.
///
/// An engine that never commits makes nothing: no mount, no file, no map.
///
/// A process that stays keeps one engine for each network namespace (and uses it on a thread in that namespace). Between two commands the
/// engine then holds the ruleset, which the caller gives back by [`Self::keep`], and the live image; [`Self::read`] gives the ruleset
/// out again if nobody else committed, without decoding it. [`Self::commit_table`] does what [`Self::commit`] does, for less, where only
/// one table changed.
///
/// Architecture Invariant: a commit is one store (the live slot in `bt_control`). What is done before it changes nothing that a
/// packet meets, what is done after it only clears up; so whoever is killed leaves the old ruleset or the new one, whole.
#[derive(Debug, Default)]
pub struct Engine {
    /// Where the state is, once it was found.
    home: Option<Home>,
    /// By family: generation that the caller's ruleset came from; none if it never asked.
    known: [Option<u32>; 2],
    /// The image of that generation, if it was read or written.
    live: [Option<Arc<Live>>; 2],
    /// The ruleset of that generation, if the caller gave it back.
    kept: [Option<(u32, Ruleset)>; 2],
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
    /// Lines of 64 bytes among which are those that programs read.
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
        let (mut kept, mut held) = (self.kept[at].take(), self.live[at].take());
        let nothing = || Snapshot { ruleset: Ruleset::new(family), counters: CountersThen::default(), generation: 0 };
        let Some(installed) = self.installed(family)? else {
            self.known[at] = Some(0);
            return Ok(nothing());
        };
        for _ in 0..READ_TRIES {
            let live = match held.take().filter(|live| live.is_live(&installed.images, || installed.slot())) {
                Some(live) => live,
                None => {
                    kept = None;
                    Arc::new(current(&installed)?)
                }
            };
            let generation = live.header.generation;
            let used = live.meta.used();
            let end = used.ranges().last().map_or(0, |(first, count)| first + count);
            let counters = CountersThen::read(&KernelCounters::open(&installed.counters, end)?, &used);
            // A slot that the next commit frees is another rule's after the one that follows it, at the earliest.
            if live_generation(&installed)?.wrapping_sub(generation) > 1 {
                continue;
            }
            let ruleset = match kept.take() {
                Some((of, ruleset)) if of == generation => ruleset,
                _ => match live.ruleset() {
                    // Written again while it was copied, twice overtaken.
                    _ if !live.is_unwritten() => continue,
                    read => read?,
                },
            };
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
        let live =
            match self.live[family as usize].take().filter(|live| live.is_live(&installed.images, || installed.slot()))
            {
                Some(live) => live,
                None => Arc::new(current(&installed)?),
            };
        if live.header.generation != known {
            return Ok(None);
        }
        let used = live.meta.used();
        let counters = CountersThen::read(&KernelCounters::open_all(&installed.counters)?, &used);
        if live_generation(&installed)?.wrapping_sub(known) > 1 {
            return Ok(None);
        }
        self.live[family as usize] = Some(live);
        Ok(Some(counters))
    }

    /// Takes back the ruleset that the last [`Self::read`] gave, unchanged, or that the last commit was of, for the next read to give.
    pub fn keep(&mut self, ruleset: Ruleset) {
        let at = ruleset.family as usize;
        self.kept[at] = self.known[at].map(|known| (known, ruleset));
    }

    /// Makes `ruleset` the live one: gives slots to rules and policies that have none, compiles, uploads, attaches to devices that
    /// are new, swaps. On an error the live ruleset is as before, though rules may have got slots.
    ///
    /// # Errors
    /// [`EngineError::Compile`] when the ruleset cannot be run, [`EngineError::Raced`] when somebody committed since the last
    /// [`Self::read`] or commit of this engine, or what the kernel says.
    pub fn commit(&mut self, ruleset: &mut Ruleset) -> Result<Committed> {
        self.commit_change(ruleset, None, false)
    }

    /// As [`Self::commit`], for a ruleset that differs from what [`Self::read`] gave (or from what was committed last) in one table only.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn commit_table(&mut self, ruleset: &mut Ruleset, kind: TableKind) -> Result<Committed> {
        let only = self.known[ruleset.family as usize].map(|_| kind);
        self.commit_change(ruleset, only, false)
    }

    pub(crate) fn commit_change(
        &mut self,
        ruleset: &mut Ruleset,
        only: Option<TableKind>,
        adopting: bool,
    ) -> Result<Committed> {
        let family = ruleset.family;
        let committed = self.commit_what(family, What::Whole { ruleset, only }, adopting)?;
        committed.ok_or_else(|| EngineError::Internal("a whole ruleset was taken for a part".to_owned()))
    }

    fn commit_what(&mut self, family: Family, what: What<'_>, adopting: bool) -> Result<Option<Committed>> {
        if !rights::may_attach() {
            return Err(EngineError::Permission { what: "change rules".to_owned() });
        }
        let home = self.made_home()?.of(family);
        let locked = Locked::take(&home)?;
        let at = family as usize;
        let change = Change { what, known: self.known[at], read: self.live[at].clone(), adopting };
        let Some((committed, live)) = commit::commit(&home, &locked, change)? else { return Ok(None) };
        self.kept[at] = None;
        (self.known[at], self.live[at]) = (Some(committed.generation), Some(Arc::new(live)));
        Ok(Some(committed))
    }

    /// A table of the live ruleset, to be edited chain by chain (`ruleset::Editor::of_parts`); none if it is not there. Takes no lock: what
    /// was read is known to be whole once it is committed.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn part(&mut self, family: Family, kind: TableKind) -> Result<Option<Part>> {
        self.refresh()?;
        let at = family as usize;
        let Some(installed) = self.installed(family)? else { return Ok(None) };
        let held = self.live[at].take().filter(|live| live.is_live(&installed.images, || installed.slot()));
        let live = match held {
            Some(live) => live,
            None => {
                self.kept[at] = None;
                Arc::new(current(&installed)?)
            }
        };
        self.known[at] = Some(live.header.generation);
        let part = Part::open(&live, kind, installed.counters)?;
        self.live[at] = Some(live);
        Ok(part)
    }

    /// Makes the live ruleset what it is with the chains of `table`, which were taken from `part` or are new, and with nothing counted by the
    /// rules of the chains `refilled`. What that costs depends on the chains that changed. None: it takes the whole ruleset to say whether it can be done, and nothing was done.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn commit_part(&mut self, part: &Part, table: &mut Table, refilled: &[ChainName]) -> Result<Option<Committed>> {
        self.commit_what(table.family, What::Part { part, table, refilled }, false)
    }

    /// Makes the next changes quick after some that were of whole tables, for whom it is better to wait now than then. Whether it can does
    /// not matter.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn settle(&mut self, family: Family) -> Result<()> {
        self.refresh()?;
        let Some(home) = self.home.as_ref().map(|home| home.of(family)) else { return Ok(()) };
        let Some(live) = self.live[family as usize].clone() else { return Ok(()) };
        commit::spread(&Locked::take(&home)?, &live)
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
        self.commit_table(&mut ruleset, kind)?;
        Ok(true)
    }

    /// Detaches everything of ours in this network namespace, forgets rules, counters and connections, and puts back what was
    /// changed on `lo`. Works on pins of other versions too. Whether there was anything.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn uninstall(&mut self) -> Result<bool> {
        self.refresh()?;
        (self.known, self.live, self.kept) = Default::default();
        let Some(home) = &self.home else { return Ok(false) };
        if !home.all().exists() {
            return Ok(false);
        }
        let _lock = DirLock::exclusive(&home.all()).doing(|| format!("remove {}", home.display()))?;
        let any = Family::ALL.into_iter().any(|family| home.of(family).dir().exists());
        if any && !rights::may_attach() {
            return Err(EngineError::Permission { what: "remove rules".to_owned() });
        }
        let mut was_there = false;
        for family in [Family::V4, Family::V6] {
            was_there |= uninstall(&home.of(family))?;
        }
        if was_there && !home.has_others() {
            guard::forget_survey(home).doing(|| "remove the survey of links".to_owned())?;
        }
        Ok(was_there)
    }

    /// Settles whether forwarded packets may go straight from device to device where the stack would only forward them: in this network
    /// namespace at once, and in those of this machine that get rules later, until the next boot.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_host_routing(&mut self, on: bool) -> Result<()> {
        record::HOST_ROUTING.write(&self.made_home()?, on.into())?;
        for family in Family::ALL {
            if let Some(installed) = self.installed(family)? {
                installed.set_host_routing(on);
            }
        }
        Ok(())
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

    /// This namespace's directories, if there is a BPF file system.
    pub(crate) const fn home(&self) -> Option<&Home> {
        self.home.as_ref()
    }

    /// This namespace's directory as a person knows it.
    pub(crate) fn location(&self, family: Family) -> Option<String> {
        self.home.as_ref().map(|home| home.of(family).display())
    }

    /// This namespace's directories, in that of all namespaces, which is made if there is none.
    pub(crate) fn made_home(&mut self) -> Result<Home> {
        self.refresh()?;
        if self.home.is_none() {
            self.home = Home::find(true)?;
        }
        let home = self.home.clone().ok_or_else(|| EngineError::Internal("no BPF file system".to_owned()))?;
        home.make_all()?;
        Ok(home)
    }

    /// A thread may have changed its network namespace, or somebody may have mounted a BPF file system.
    pub(crate) fn refresh(&mut self) -> Result<()> {
        let cookie = crate::sys::ns::netns_cookie().doing(|| "identify the network namespace".to_owned())?;
        if self.home.as_ref().is_some_and(|home| home.cookie != cookie) {
            (self.known, self.live, self.kept) = Default::default();
            self.home = None;
        }
        if self.home.is_none() {
            self.home = Home::find(false)?;
        }
        Ok(())
    }

    fn expect_no_programs(&self, family: Family) -> Result<()> {
        if bpf::runs_at_tcx(1, bpf::TCX_INGRESS, install::programs(family)[0]).unwrap_or(false) {
            if let Some(home) = self.home.as_ref().map(|home| home.of(family)).filter(|home| home.dir().exists()) {
                return Err(install::incomplete(&home, install::VERSION));
            }
            let expected = self.location(family).unwrap_or_else(|| "/sys/fs/bpf/bpftables".to_owned());
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
    // What rules changed of sets stays, as it does in legacy.
    if let Ok(Some(installed)) = Installed::open(home)
        && let Err(error) = sets::changes::bring(&installed)
    {
        tracing::warn!(%error, "what rules changed of sets is lost");
    }
    remove_tree(&dir).doing(doing)?;
    Ok(true)
}
