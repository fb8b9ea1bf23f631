//! Takes the programs' events out of their ring and writes them down.
//!
//! A process cannot write a line of the kernel's own facility: what goes to `/dev/kmsg` is of the facility `user`, level and text as the
//! kernel's LOG writes them.

use crate::error::{Doing, EngineError, Result};
use crate::install::Installed;
use crate::logline;
use aya::maps::{Map, MapData, RingBuf};
use bpftables_abi::event::{self, Event, KIND_LOG};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use zerocopy::FromBytes;

/// Lines a second, and lines at once, that are written for a network namespace. More are counted only.
const RATE: u32 = 1000;

/// Where lines go.
#[derive(Clone, Debug, Default)]
pub enum Sink {
    /// The kernel's log, as legacy's. Other network namespaces than the first only where `net.netfilter.nf_log_all_netns` is 1, as
    /// legacy's.
    #[default]
    Kernel,
    /// Standard error, which a service manager may keep.
    Stderr,
    /// At the end of a file.
    File(PathBuf),
}

impl Sink {
    fn write(&self, level: u8, line: &str) -> io::Result<()> {
        match self {
            // Opened for each line: the kernel counts lines of one opening, and silently keeps ten in five seconds.
            Self::Kernel => {
                OpenOptions::new().write(true).open("/dev/kmsg")?.write_all(format!("<{level}>{line}\n").as_bytes())
            }
            Self::Stderr => writeln!(io::stderr(), "{line}"),
            Self::File(path) => {
                OpenOptions::new().create(true).append(true).open(path)?.write_all(format!("{line}\n").as_bytes())
            }
        }
    }
}

/// Where all threads of the agent write.
#[derive(Debug, Default)]
pub(crate) struct Writing {
    pub(crate) sink: Sink,
    /// `net.netfilter.nf_log_all_netns`, which only the first namespace shows.
    all_namespaces: AtomicBool,
}

impl Writing {
    pub(crate) fn new(sink: Sink) -> Self {
        Self { sink, all_namespaces: AtomicBool::new(false) }
    }

    /// Reads the setting; the calling thread is in the first network namespace, or it reads 0.
    pub(crate) fn refresh(&self) {
        let text = std::fs::read_to_string("/proc/sys/net/netfilter/nf_log_all_netns");
        self.all_namespaces.store(text.is_ok_and(|text| text.trim() == "1"), Ordering::Relaxed);
    }
}

/// The ring of a namespace.
pub(crate) struct Events {
    ring: RingBuf<MapData>,
    writing: Arc<Writing>,
    /// Whether this is the machine's first network namespace.
    first: bool,
    /// Lines that may be written now.
    credit: u32,
    since: Instant,
    suppressed: u64,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("first", &self.first)
            .field("suppressed", &self.suppressed)
            .finish_non_exhaustive()
    }
}

impl Events {
    /// Of what is pinned. `first`: whether this is the machine's first network namespace.
    pub(crate) fn open(installed: &Installed, writing: Arc<Writing>, first: bool) -> Result<Self> {
        let refused = |e: &dyn std::error::Error| EngineError::Load {
            what: "open the ring of events".to_owned(),
            reason: e.to_string(),
        };
        let map = MapData::from_pin(installed.dir.join("maps").join(event::EVENTS)).map_err(|e| refused(&e))?;
        let ring = RingBuf::try_from(Map::RingBuf(map)).map_err(|e| refused(&e))?;
        Ok(Self { ring, writing, first, credit: RATE, since: Instant::now(), suppressed: 0 })
    }

    /// To wait for events on.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        crate::sys::wait::borrow(&self.ring)
    }

    /// Writes what is there.
    pub(crate) fn drain(&mut self, name: impl Fn(u32) -> String) -> Result<()> {
        let writing = Arc::clone(&self.writing);
        let sink = &writing.sink;
        let wanted = !matches!(sink, Sink::Kernel) || self.first || writing.all_namespaces.load(Ordering::Relaxed);
        while let Some(item) = self.ring.next() {
            let Ok(event) = Event::read_from_bytes(&item) else { continue };
            drop(item);
            if event.kind != KIND_LOG || !wanted {
                continue;
            }
            let elapsed = self.since.elapsed();
            if elapsed >= Duration::from_secs(1) {
                (self.since, self.credit) = (Instant::now(), RATE);
            }
            if self.credit == 0 {
                self.suppressed += 1;
                continue;
            }
            self.credit -= 1;
            let line = logline::line(&event, &name(event.ifin), &name(event.ifout));
            sink.write(event.params.level & 7, &line).doing(|| "write a line of LOG".to_owned())?;
        }
        if self.suppressed > 0 && self.credit > 0 {
            let line = format!("bpftables: {} lines of LOG suppressed", self.suppressed);
            sink.write(4, &line).doing(|| "write a line of LOG".to_owned())?;
            self.suppressed = 0;
        }
        Ok(())
    }
}

/// Whether the calling thread is in the network namespace of process 1.
pub(crate) fn in_first_namespace() -> bool {
    let inode =
        |path| File::open(path).and_then(|file| file.metadata()).map(|m| std::os::unix::fs::MetadataExt::ino(&m)).ok();
    inode("/proc/thread-self/ns/net").is_some_and(|own| inode("/proc/1/ns/net") == Some(own))
}
