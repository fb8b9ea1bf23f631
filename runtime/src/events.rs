//! Takes the programs' events out of their ring and writes them down.
//!
//! A process cannot write a line of the kernel's own facility: what goes to `/dev/kmsg` is of the facility `user`, level and text as the
//! kernel's LOG writes them, and its time is that of writing.

use crate::daytime::{self, Daytime};
use crate::error::{EngineError, Result};
use crate::install::Installed;
use crate::logline;
use crate::nflog::Delivery;
use crate::outage::Outage;
use crate::outputs::{Line, Writing};
use crate::sys::bpf;
use aya::maps::{Map, MapData, RingBuf};
use bpftables_abi::event::{self, Event, EventHead, KIND_NFLOG, KIND_SET, NflogEvent};
use bpftables_abi::maps::{self, stat};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerocopy::FromBytes;

/// Lines a second, and lines at once, that are written for a network namespace and family. More are counted only.
const LINES: u32 = 1000;
/// Packets of NFLOG, likewise.
const PACKETS: u32 = 10_000;

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
    /// What lines call it.
    told: Option<Arc<str>>,
    lines: Credit,
    packets: Credit,
    /// The programs' statistics, of which some entries are the agent's.
    stats: OwnedFd,
    listeners: Outage,
}

/// What became of the events of one batch, but for those that are well.
#[derive(Debug, Default)]
struct Losses {
    suppressed: u64,
    unwritten: u64,
    undelivered: u64,
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
    /// Of what is pinned in the network namespace with the cookie `namespace`, which lines call `told`. `first`: whether it is the
    /// machine's first one.
    pub(crate) fn open(
        installed: &Installed,
        writing: Arc<Writing>,
        first: bool,
        namespace: u64,
        told: Option<Arc<str>>,
    ) -> Result<Self> {
        let refused = |e: &dyn std::error::Error| EngineError::Load {
            what: "open the ring of events".to_owned(),
            reason: e.to_string(),
        };
        let map = MapData::from_pin(installed.dir.join("maps").join(event::EVENTS)).map_err(|e| refused(&e))?;
        let ring = RingBuf::try_from(Map::RingBuf(map)).map_err(|e| refused(&e))?;
        let (lines, packets) = (Credit::new(LINES), Credit::new(PACKETS));
        let stats = installed.raw_map(maps::STATS)?;
        let listeners = Outage::new("packets of NFLOG", format!("listeners in network namespace {namespace:x}"));
        Ok(Self { ring, writing, first, namespace, told, lines, packets, stats, listeners })
    }

    /// To wait for events on.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        crate::sys::wait::borrow(&self.ring)
    }

    /// Writes what is there; whether there are changes of sets to be made, too. What can't be written is counted, and keeps nothing else.
    pub(crate) fn drain(&mut self, name: impl Fn(u32) -> String) -> bool {
        let writing = Arc::clone(&self.writing);
        let wanted = writing.wants_lines(self.first);
        let (mut delivery, mut losses, mut sets) = (None, Losses::default(), false);
        // They may have waited for an agent.
        let daytime = Daytime::now();
        while let Some(item) = self.ring.next() {
            if let Ok((event, packet)) = NflogEvent::read_from_prefix(&item)
                && event.head.kind == KIND_NFLOG
            {
                if !self.packets.take() {
                    losses.suppressed += 1;
                    continue;
                }
                let packet = &packet[..packet.len().min(event.head.captured as usize)];
                let time = daytime.of(event.head.time);
                let sent = delivery.get_or_insert_with(Delivery::open).send(&event, packet);
                losses.undelivered += u64::from(!self.listeners.note(sent));
                losses.unwritten += u64::from(!writing.packet(self.namespace, time, &event, packet));
                continue;
            }
            let Ok(event) = Event::read_from_bytes(&item) else {
                sets |= EventHead::read_from_bytes(&item).is_ok_and(|head| head.kind == KIND_SET);
                continue;
            };
            drop(item);
            if !wanted {
                continue;
            }
            if !self.lines.take() {
                losses.suppressed += 1;
                continue;
            }
            let text = logline::line(&event, &name(event.head.ifin), &name(event.head.ifout));
            let (time, level) = (daytime.of(event.head.time), event.params.level);
            let line = Line { time, level, namespace: self.told.as_deref(), text: &text };
            losses.unwritten += u64::from(!writing.line(&line));
        }
        for (count, what) in [(self.lines.told(), "lines of LOG"), (self.packets.told(), "packets of NFLOG")] {
            let Some(count) = count else { continue };
            tracing::warn!(count, what, "suppressed");
            if wanted {
                let text = &format!("bpftables: {count} {what} suppressed");
                let (time, namespace) = (daytime::nanoseconds(), self.told.as_deref());
                writing.line(&Line { time, level: 4, namespace, text });
            }
        }
        self.count(&losses);
        sets
    }

    /// Adds to the agent's entries of the statistics.
    fn count(&self, losses: &Losses) {
        let counts = [
            (stat::EVENT_SUPPRESSED, losses.suppressed),
            (stat::EVENT_UNWRITTEN, losses.unwritten),
            (stat::EVENT_UNDELIVERED, losses.undelivered),
        ];
        for (index, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            if let Err(error) = bpf::add_per_cpu_u64(self.stats.as_fd(), index, count) {
                tracing::debug!(index, count, %error, "lost events are not counted");
            }
        }
    }
}

/// Whether the calling thread is in the network namespace of process 1.
pub(crate) fn in_first_namespace() -> bool {
    let inode =
        |path| File::open(path).and_then(|file| file.metadata()).map(|m| std::os::unix::fs::MetadataExt::ino(&m)).ok();
    inode("/proc/thread-self/ns/net").is_some_and(|own| inode("/proc/1/ns/net") == Some(own))
}
