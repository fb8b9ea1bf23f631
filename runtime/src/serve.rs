//! The agent's core: one thread for every network namespace that has rules of ours.
//!
//! A thread in a namespace, and its socket, hold it. So the agent looks once a second what else does ([`crate::guard::survey`]); where
//! nothing is left but its own thread and socket and the guard's links, it leaves, and the namespace goes.

use crate::error::{Doing, EngineError, Result};
use crate::guard;
use crate::install;
use crate::location::{DirLock, Home};
use crate::outputs::{Outputs, Writing};
use crate::sys::ns;
use crate::sys::wait;
use crate::watch::{Followed, Watcher};
use bpftables_ruleset::Family;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Directory whose lock the agent of all namespaces has. With `_` and a cookie behind it: whoever serves that namespace.
const MARK: &str = "agent";
/// How often an agent tries to get a lock at which commands look for an instant, and how long it waits between.
const TRIES: (u32, Duration) = (20, Duration::from_millis(10));
/// How a served namespace is held by the agent: its thread, and the socket of that thread.
const OWN_REFERENCES: u32 = 2;
/// Between two looks at what holds the namespaces.
const SURVEY_EVERY: Duration = Duration::from_secs(1);
/// Between two readings of sysctls.
const SETTINGS_EVERY: Duration = Duration::from_secs(5);
/// Before something that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Serves every network namespace of this machine that has rules of ours.
#[derive(Debug)]
pub struct Agent {
    home: Home,
    served: BTreeMap<u64, Thread>,
    /// Namespaces that were left, and when.
    left: BTreeMap<u64, Instant>,
    surveyed: Option<Instant>,
    /// Namespaces whose programs are another build's: nobody's until a command of this build commits there.
    foreign: BTreeSet<u64>,
    /// If not all of the machine's.
    only: Option<BTreeSet<u64>>,
    /// Namespaces that are this agent's to serve, but for a single one.
    claimed: BTreeMap<u64, Mark>,
    /// Namespaces that another agent serves.
    others: BTreeSet<u64>,
    writing: Arc<Writing>,
    /// Of an agent of all namespaces, or of a single one.
    mark: Option<Mark>,
}

/// A directory in the BPF file system, which all mount namespaces share, and its lock. The directory goes with it.
#[derive(Debug)]
struct Mark {
    path: PathBuf,
    _lock: DirLock,
}

#[derive(Debug)]
struct Thread {
    handle: JoinHandle<()>,
    /// Closed: the thread ends.
    stop: UnixStream,
    leaving: bool,
}

/// What a look at the machine found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Namespaces that are served now.
    pub namespaces: usize,
    /// Cookies of namespaces that were taken up by this look.
    pub taken_up: Vec<u64>,
    /// Cookies of namespaces that were left by this look.
    pub left: Vec<u64>,
}

impl Agent {
    /// For all namespaces, or for some by their cookies. Mounts the BPF file system if it is not, and makes our directory there. None if
    /// there is an agent of all namespaces already, or one that serves the only one that this would be for.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(only: Option<BTreeSet<u64>>, outputs: impl Into<Outputs>) -> Result<Option<Self>> {
        let home = Home::find(true)?.ok_or_else(|| EngineError::Internal("no BPF file system".to_owned()))?;
        home.make_all()?;
        let name = match &only {
            None => Some(MARK.to_owned()),
            // Of several some may be left to it.
            Some(only) if only.len() > 1 => None,
            Some(only) => only.first().copied().map(mark_of),
        };
        let mark = name.map(|name| Mark::take(&home, &name, TRIES.0)).transpose()?;
        if matches!(mark, Some(None)) {
            return Ok(None);
        }
        Ok(Some(Self {
            home,
            served: BTreeMap::new(),
            left: BTreeMap::new(),
            surveyed: None,
            foreign: BTreeSet::new(),
            only,
            claimed: BTreeMap::new(),
            others: BTreeSet::new(),
            writing: Arc::new(Writing::new(outputs.into())),
            mark: mark.flatten(),
        }))
    }

    /// Looks for namespaces that have come or gone. To be called some times a second.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn look(&mut self) -> Result<Served> {
        let mut found = Served::default();
        let ended: Vec<u64> =
            self.served.iter().filter(|(_, thread)| thread.handle.is_finished()).map(|(cookie, _)| *cookie).collect();
        for cookie in ended {
            if let Some(thread) = self.served.remove(&cookie) {
                if thread.handle.join().is_err() {
                    tracing::error!(cookie = format!("{cookie:x}"), "the thread of a network namespace panicked");
                }
                self.left.insert(cookie, Instant::now());
                self.claimed.remove(&cookie);
                found.left.push(cookie);
            }
        }
        self.left.retain(|_, when| when.elapsed() < RETRY_AFTER);
        let pinned = self.pinned()?;
        let known = |cookie: &u64| self.served.contains_key(cookie) || self.left.contains_key(cookie);
        self.others.retain(|cookie| pinned.contains(cookie));
        let unknown: Vec<u64> = pinned.into_iter().filter(|cookie| !known(cookie)).collect();
        let mut new = Vec::new();
        for cookie in unknown {
            if self.claim(cookie)? {
                new.push(cookie);
            }
        }
        let due = self.surveyed.is_none_or(|last| last.elapsed() >= SURVEY_EVERY);
        if !new.is_empty() || due {
            let survey = guard::survey(&self.home)?;
            self.surveyed = Some(Instant::now());
            self.writing.refresh();
            self.release(&survey);
            for cookie in new {
                let Some(namespace) = survey.get(&cookie).and_then(|holders| find_namespace(holders.inode)) else {
                    tracing::debug!(cookie = format!("{cookie:x}"), "no way into this network namespace is known");
                    self.claimed.remove(&cookie);
                    continue;
                };
                let several = self.only.as_ref().is_none_or(|only| only.len() > 1);
                let told = several.then(|| called(cookie, &namespace).into());
                self.served.insert(cookie, start(cookie, namespace, Arc::clone(&self.writing), told)?);
                found.taken_up.push(cookie);
            }
            if !found.left.is_empty() || due {
                self.sweep();
            }
        }
        found.namespaces = self.served.len();
        Ok(found)
    }

    /// Opens the files of events again, whose names may be others' now: logrotate's.
    pub fn reopen(&self) {
        self.writing.reopen();
    }

    /// Ends all threads. What is attached stays attached.
    pub fn stop(&mut self) {
        let threads = std::mem::take(&mut self.served);
        for thread in threads.into_values() {
            drop(thread.stop);
            let _ = thread.handle.join();
        }
        self.claimed.clear();
    }

    /// Whether a namespace is this agent's to serve, and no other's.
    fn claim(&mut self, cookie: u64) -> Result<bool> {
        let single = self.only.as_ref().is_some_and(|only| only.len() == 1);
        if single || self.claimed.contains_key(&cookie) {
            return Ok(true);
        }
        // Whose it is for longer is not asked again and again.
        let tries = if self.others.contains(&cookie) { 1 } else { TRIES.0 };
        match Mark::take(&self.home, &mark_of(cookie), tries)? {
            Some(mark) => {
                self.claimed.insert(cookie, mark);
                self.others.remove(&cookie);
                Ok(true)
            }
            None => {
                if self.others.insert(cookie) {
                    tracing::info!(
                        cookie = format!("{cookie:x}"),
                        "network namespace left to another agent, which serves it"
                    );
                }
                Ok(false)
            }
        }
    }

    /// Cookies of namespaces that have rules which this build can serve.
    fn pinned(&mut self) -> Result<BTreeSet<u64>> {
        let entries = fs::read_dir(self.home.all()).doing(|| "list the network namespaces".to_owned())?;
        let names = entries.flatten().map(|entry| entry.file_name());
        let mut cookies: BTreeSet<u64> = names.filter_map(|name| Home::cookie_of(name.to_str()?)).collect();
        cookies.retain(|cookie| self.only.as_ref().is_none_or(|only| only.contains(cookie)));
        let is = |cookie: u64, builds: bool| {
            let homes = Family::ALL.map(|family| self.home.elsewhere(cookie).of(family));
            homes.iter().any(|home| install::is_this_builds(home) == Some(builds))
        };
        let foreign: BTreeSet<u64> =
            cookies.iter().copied().filter(|cookie| is(*cookie, false) && !is(*cookie, true)).collect();
        for cookie in foreign.difference(&self.foreign) {
            let cookie = format!("{cookie:x}");
            tracing::warn!(
                cookie,
                "programs of another build: served once a command of this build changes a rule there"
            );
        }
        self.foreign = foreign;
        Ok(cookies.difference(&self.foreign).copied().collect())
    }

    /// Leaves namespaces that nothing holds but the agent and guards.
    fn release(&mut self, survey: &BTreeMap<u64, guard::Holders>) {
        for (cookie, thread) in &mut self.served {
            let Some(holders) = survey.get(cookie) else { continue };
            if !thread.leaving && *cookie != self.home.cookie && holders.references == holders.links + OWN_REFERENCES {
                tracing::info!(cookie = format!("{cookie:x}"), "nobody else uses this network namespace: left");
                let _ = thread.stop.shutdown(std::net::Shutdown::Both);
                thread.leaving = true;
            }
        }
    }

    fn sweep(&self) {
        let swept = match DirLock::try_exclusive(&self.home.all()) {
            Ok(Some(_lock)) => guard::sweep(&self.home),
            // A command has it, and sweeps itself.
            Ok(None) => Ok(()),
            Err(e) => Err(e).doing(|| "lock the namespaces".to_owned()),
        };
        if let Err(error) = swept {
            tracing::warn!(%error, "network namespaces that nobody uses may stay");
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop();
        // As long as the file system is known.
        drop(self.mark.take());
    }
}

/// Name of the mark of a namespace.
fn mark_of(cookie: u64) -> String {
    format!("{MARK}_{cookie:x}")
}

impl Mark {
    /// None: another process has it.
    fn take(home: &Home, name: &str, tries: u32) -> Result<Option<Self>> {
        let doing = || "see whether there is an agent".to_owned();
        let path = home.all().join(name);
        for attempt in 0..tries {
            if attempt > 0 {
                std::thread::sleep(TRIES.1);
            }
            match fs::create_dir(&path) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e).doing(doing),
                _ => {}
            }
            // Commands look at it for an instant, and whoever held it may just be removing it.
            let lock = match DirLock::try_exclusive(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => None,
                found => found.doing(doing)?.filter(|lock| lock.is_at(&path)),
            };
            if let Some(lock) = lock {
                return Ok(Some(Self { path, _lock: lock }));
            }
        }
        Ok(None)
    }
}

/// They would pile up.
impl Drop for Mark {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

/// Removes the marks of namespaces that agents left that were killed. The caller holds the lock of all namespaces.
pub(crate) fn forget_marks(home: &Home) {
    for entry in fs::read_dir(home.all()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let single =
            name.to_str().is_some_and(|name| name.strip_prefix(MARK).is_some_and(|rest| rest.starts_with('_')));
        // Whoever has it open, but no lock yet, looks whether it is still there.
        if single && let Ok(Some(_lock)) = DirLock::try_exclusive(&entry.path()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Whether an agent runs that serves a namespace: one for all, or one that has claimed it.
pub(crate) fn runs(home: &Home) -> io::Result<bool> {
    for mark in [MARK.to_owned(), mark_of(home.cookie)] {
        match DirLock::try_exclusive(&home.all().join(mark)) {
            Ok(None) => return Ok(true),
            Ok(Some(_)) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}

fn start(cookie: u64, namespace: File, writing: Arc<Writing>, told: Option<Arc<str>>) -> Result<Thread> {
    let doing = || "start a thread".to_owned();
    let (stop, stopped) = UnixStream::pair().doing(doing)?;
    let handle = std::thread::Builder::new()
        .name(format!("netns-{cookie:x}"))
        .spawn(move || {
            let entered = ns::enter_network_namespace(namespace.as_fd());
            drop(namespace);
            let entered = entered.doing(|| "enter the network namespace".to_owned());
            let result = entered.and_then(|()| serve(&stopped, writing, told));
            if let Err(error) = result {
                tracing::error!(cookie = format!("{cookie:x}"), %error, "network namespace");
            }
        })
        .doing(doing)?;
    Ok(Thread { handle, stop, leaving: false })
}

/// Until the other end of `stopped` is closed, or there is nothing to serve.
fn serve(stopped: &UnixStream, writing: Arc<Writing>, told: Option<Arc<str>>) -> Result<()> {
    let mut watcher = Watcher::open(writing, told)?;
    let mut result = watcher.resync();
    let mut refreshed = Instant::now();
    loop {
        let wait = match &result {
            Ok(Followed::Left) => return Ok(()),
            Ok(Followed::Served) => SETTINGS_EVERY.saturating_sub(refreshed.elapsed()),
            Err(error) => {
                tracing::warn!(%error, "tried again in a moment");
                RETRY_AFTER
            }
        };
        let failed = result.is_err();
        let descriptors: Vec<_> = std::iter::once(stopped.as_fd()).chain(watcher.descriptors()).collect();
        // After a failure events wait until everything is looked at.
        let polled = if failed { &descriptors[..1] } else { &descriptors[..] };
        let ready = wait::readable(polled, wait).doing(|| "wait for changes".to_owned())?;
        if ready[0] && stopped_now(stopped) {
            return Ok(());
        }
        if ready.get(2..).is_some_and(|events| events.contains(&true)) {
            watcher.write_events();
        }
        result = if failed {
            watcher.resync()
        } else if ready[1] {
            watcher.follow()
        } else if refreshed.elapsed() >= SETTINGS_EVERY {
            refreshed = Instant::now();
            watcher.refresh()
        } else {
            Ok(Followed::Served)
        };
    }
}

fn stopped_now(mut stopped: &UnixStream) -> bool {
    matches!(stopped.read(&mut [0]), Ok(0) | Err(_))
}

/// Directories where network namespaces have names. Those of process 1, too: where mounts are not shared, what is named after the agent has
/// begun does not reach its own.
fn named() -> Vec<String> {
    let places = ["/run/netns", "/run/docker/netns", "/var/run/netns"];
    ["", "/proc/1/root"].into_iter().flat_map(|root| places.map(|place| format!("{root}{place}"))).collect()
}

/// What lines call a network namespace: the machine's first one, or by its name, or else by its cookie.
fn called(cookie: u64, namespace: &File) -> String {
    let inode = |found: io::Result<fs::Metadata>| found.ok().map(|found| found.ino());
    let own = inode(namespace.metadata());
    if own == inode(fs::metadata("/proc/1/ns/net")) {
        return "host".to_owned();
    }
    match name_in(&named(), own) {
        Some(name) => format!("netns/{name}"),
        None => format!("cookie/{cookie:x}"),
    }
}

/// The name of a network namespace in some directories.
fn name_in(places: &[String], inode: Option<u64>) -> Option<String> {
    let files = places.iter().flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten());
    let is = |file: &fs::DirEntry| fs::metadata(file.path()).ok().map(|found| found.ino()) == inode;
    let mut names: Vec<String> = files.filter(is).filter_map(|file| file.file_name().into_string().ok()).collect();
    names.sort();
    // Where somebody put a space or a line's end into a name, no line is to be two.
    names.into_iter().next().map(|name| name.replace(|c: char| c.is_control() || c == ' ', "?"))
}

/// A network namespace by its inode, by whatever process, mount or open file shows it.
fn find_namespace(inode: u32) -> Option<File> {
    let matches = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.ino() == u64::from(inode));
    let entries = |dir: &str| -> Vec<PathBuf> {
        fs::read_dir(dir).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
    };
    let processes: Vec<PathBuf> = entries("/proc")
        .into_iter()
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.parse::<u32>().is_ok()))
        .collect();
    let own = std::iter::once(PathBuf::from("/proc/self/ns/net"));
    let named = named().into_iter().flat_map(|place| entries(&place));
    let by_process = processes.iter().map(|process| process.join("ns/net"));
    let by_thread = processes.iter().flat_map(|process| {
        entries(&process.join("task").to_string_lossy()).into_iter().map(|task| task.join("ns/net"))
    });
    let wanted = format!("net:[{inode}]");
    let by_file = processes.iter().flat_map(|process| entries(&process.join("fd").to_string_lossy()));
    let path = own.chain(named).chain(by_process).chain(by_thread).find(matches).or_else(|| {
        by_file.into_iter().find(|path| fs::read_link(path).is_ok_and(|to| to.as_os_str() == wanted.as_str()))
    })?;
    let file = File::open(path).ok()?;
    // The process may have gone, and its number may be another's.
    file.metadata().ok().filter(|found| found.ino() == u64::from(inode)).map(|_| file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_is_found_by_its_inode() {
        let own = fs::metadata("/proc/self/ns/net").unwrap();
        let found = find_namespace(u32::try_from(own.ino()).unwrap()).unwrap();
        assert_eq!(found.metadata().unwrap().ino(), own.ino());
        assert!(find_namespace(1).is_none());
    }

    #[test]
    fn a_namespace_is_called_by_its_name_where_it_has_one() {
        let own = fs::metadata("/proc/self/ns/net").unwrap().ino();
        let places = ["/nowhere".to_owned(), "/proc/self/ns".to_owned()];
        assert_eq!(name_in(&places, Some(own)).as_deref(), Some("net"));
        assert_eq!(name_in(&places, Some(1)), None);
    }
}
