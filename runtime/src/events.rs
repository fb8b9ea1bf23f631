//! Takes the programs' events out of their ring and writes them down.
//!
//! A process cannot write a line of the kernel's own facility: what goes to `/dev/kmsg` is of the facility `user`, level and text as the
//! kernel's LOG writes them.

use crate::error::{Doing, EngineError, Result};
use crate::install::Installed;
use crate::logline;
use crate::nflog::Delivery;
use crate::pcapng::Capture;
use aya::maps::{Map, MapData, RingBuf};
use bpftables_abi::event::{self, Event, EventHead, KIND_NFLOG, KIND_SET, NflogEvent};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use zerocopy::FromBytes;

/// Lines a second, and lines at once, that are written for a network namespace and family. More are counted only.
const LINES: u32 = 1000;
/// Packets of NFLOG, likewise.
const PACKETS: u32 = 10_000;

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

/// Where events go.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// Lines of LOG and TRACE.
    pub lines: Sink,
    /// A file for packets of NFLOG, beside their listeners.
    pub packets: Option<PathBuf>,
}

impl From<Sink> for Outputs {
    fn from(lines: Sink) -> Self {
        Self { lines, packets: None }
    }
}

/// Where all threads of the agent write.
#[derive(Debug)]
pub(crate) struct Writing {
    sink: Sink,
    capture: Option<Mutex<Capture>>,
    /// `net.netfilter.nf_log_all_netns`, which only the first namespace shows.
    all_namespaces: AtomicBool,
}

impl Writing {
    pub(crate) fn new(outputs: Outputs) -> Self {
        let capture = outputs.packets.map(|path| Mutex::new(Capture::new(&path)));
        Self { sink: outputs.lines, capture, all_namespaces: AtomicBool::new(false) }
    }

    /// Reads the setting; the calling thread is in the first network namespace, or it reads 0.
    pub(crate) fn refresh(&self) {
        let text = std::fs::read_to_string("/proc/sys/net/netfilter/nf_log_all_netns");
        self.all_namespaces.store(text.is_ok_and(|text| text.trim() == "1"), Ordering::Relaxed);
    }
}

/// How much may be written now.
#[derive(Debug)]
struct Credit {
    rate: u32,
    left: u32,
    since: Instant,
    suppressed: u64,
}

impl Credit {
    fn new(rate: u32) -> Self {
        Self { rate, left: rate, since: Instant::now(), suppressed: 0 }
    }

    /// Takes one; false: there is none left in this second.
    fn take(&mut self) -> bool {
        if self.since.elapsed() >= Duration::from_secs(1) {
            (self.since, self.left) = (Instant::now(), self.rate);
        }
        if self.left == 0 {
            self.suppressed += 1;
            return false;
        }
        self.left -= 1;
        true
    }

    /// What was suppressed, once it is over.
    fn told(&mut self) -> Option<u64> {
        let over = self.suppressed > 0 && self.left > 0;
        over.then(|| std::mem::take(&mut self.suppressed))
    }
}

/// The ring of a namespace and family.
pub(crate) struct Events {
    ring: RingBuf<MapData>,
    writing: Arc<Writing>,
    /// Whether this is the machine's first network namespace.
    first: bool,
    /// Its cookie.
    namespace: u64,
    lines: Credit,
    packets: Credit,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("first", &self.first)
            .field("lines", &self.lines)
            .field("packets", &self.packets)
            .finish_non_exhaustive()
    }
}

impl Events {
    /// Of what is pinned. `first`: whether this is the machine's first network namespace; `namespace`: its cookie.
    pub(crate) fn open(installed: &Installed, writing: Arc<Writing>, first: bool, namespace: u64) -> Result<Self> {
        let refused = |e: &dyn std::error::Error| EngineError::Load {
            what: "open the ring of events".to_owned(),
            reason: e.to_string(),
        };
        let map = MapData::from_pin(installed.dir.join("maps").join(event::EVENTS)).map_err(|e| refused(&e))?;
        let ring = RingBuf::try_from(Map::RingBuf(map)).map_err(|e| refused(&e))?;
        let (lines, packets) = (Credit::new(LINES), Credit::new(PACKETS));
        Ok(Self { ring, writing, first, namespace, lines, packets })
    }

    /// To wait for events on.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        crate::sys::wait::borrow(&self.ring)
    }

    /// Writes what is there; whether there are changes of sets to be made, too. A line or packet that can't be written does not keep the others.
    pub(crate) fn drain(&mut self, name: impl Fn(u32) -> String) -> Result<bool> {
        let writing = Arc::clone(&self.writing);
        let sink = &writing.sink;
        let wanted = !matches!(sink, Sink::Kernel) || self.first || writing.all_namespaces.load(Ordering::Relaxed);
        let mut delivery = None;
        let (mut failed, mut sets) = (None, false);
        while let Some(item) = self.ring.next() {
            if let Ok((event, packet)) = NflogEvent::read_from_prefix(&item)
                && event.head.kind == KIND_NFLOG
            {
                let packet = &packet[..packet.len().min(event.head.captured as usize)];
                if self.packets.take()
                    && let Err(error) = hand_over(&writing, self.namespace, &mut delivery, &event, packet)
                {
                    failed = Some(("hand over a packet of NFLOG", error));
                }
                continue;
            }
            let Ok(event) = Event::read_from_bytes(&item) else {
                sets |= EventHead::read_from_bytes(&item).is_ok_and(|head| head.kind == KIND_SET);
                continue;
            };
            drop(item);
            if !wanted || !self.lines.take() {
                continue;
            }
            let line = logline::line(&event, &name(event.head.ifin), &name(event.head.ifout));
            if let Err(error) = sink.write(event.params.level & 7, &line) {
                failed = Some(("write a line of LOG", error));
            }
        }
        let lost = delivery.map_or(0, |delivery| delivery.lost);
        if lost > 0 {
            tracing::warn!(lost, "packets of NFLOG, whose listeners were full");
        }
        for (count, what) in [(self.lines.told(), "lines of LOG"), (self.packets.told(), "packets of NFLOG")] {
            let Some(count) = count else { continue };
            tracing::warn!(count, what, "suppressed");
            if wanted && let Err(error) = sink.write(4, &format!("bpftables: {count} {what} suppressed")) {
                failed = Some(("write a line of LOG", error));
            }
        }
        match failed {
            Some((what, error)) => Err(error).doing(|| what.to_owned()),
            None => Ok(sets),
        }
    }
}

/// A packet of NFLOG to its group's listener, and to the file.
fn hand_over(
    writing: &Writing,
    namespace: u64,
    delivery: &mut Option<Delivery>,
    event: &NflogEvent,
    packet: &[u8],
) -> io::Result<()> {
    if let Some(capture) = &writing.capture {
        capture.lock().unwrap_or_else(PoisonError::into_inner).write(namespace, event, packet)?;
    }
    let delivery = match delivery {
        Some(delivery) => delivery,
        None => delivery.insert(Delivery::open()?),
    };
    delivery.send(event, packet);
    Ok(())
}

/// Whether the calling thread is in the network namespace of process 1.
pub(crate) fn in_first_namespace() -> bool {
    let inode =
        |path| File::open(path).and_then(|file| file.metadata()).map(|m| std::os::unix::fs::MetadataExt::ino(&m)).ok();
    inode("/proc/thread-self/ns/net").is_some_and(|own| inode("/proc/1/ns/net") == Some(own))
}
