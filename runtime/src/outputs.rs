//! Where the agent writes events: all of its threads to the same files.

use crate::daytime;
use crate::outage::Outage;
use crate::pcapng::Capture;
use bpftables_abi::event::NflogEvent;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Where lines go. But for the kernel's log they begin with the packet's time, the level and, if it serves several, the network namespace.
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
    lines: Mutex<Lines>,
    packets: Option<Mutex<Packets>>,
    kernels: bool,
    /// `net.netfilter.nf_log_all_netns`, which only the first namespace shows.
    all_namespaces: AtomicBool,
}

#[derive(Debug)]
struct Lines {
    sink: Sink,
    /// Half a line stands at the end of what was written.
    torn: bool,
    outage: Outage,
}

#[derive(Debug)]
struct Packets {
    capture: Capture,
    outage: Outage,
}

impl Writing {
    pub(crate) fn new(outputs: Outputs) -> Self {
        let Outputs { lines: sink, packets } = outputs;
        let kernels = matches!(sink, Sink::Kernel);
        let to = match &sink {
            Sink::Kernel => "/dev/kmsg".to_owned(),
            Sink::Stderr => "standard error".to_owned(),
            Sink::File(path) => path.display().to_string(),
        };
        let outage = Outage::new("lines of LOG and TRACE", to);
        let lines = Mutex::new(Lines { sink, torn: false, outage });
        let packets = packets.map(|path| {
            let outage = Outage::new("packets of NFLOG in a file", path.display().to_string());
            Mutex::new(Packets { capture: Capture::new(&path), outage })
        });
        Self { lines, packets, kernels, all_namespaces: AtomicBool::new(false) }
    }

    /// Reads the setting; the calling thread is in the first network namespace, or it reads 0.
    pub(crate) fn refresh(&self) {
        let text = std::fs::read_to_string("/proc/sys/net/netfilter/nf_log_all_netns");
        self.all_namespaces.store(text.is_ok_and(|text| text.trim() == "1"), Ordering::Relaxed);
    }

    /// Begins files anew, since somebody else may have put others into their places.
    pub(crate) fn reopen(&self) {
        // Lines open it each time.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).torn = false;
        if let Some(packets) = &self.packets {
            packets.lock().unwrap_or_else(PoisonError::into_inner).capture.close();
        }
    }

    /// Whether lines of a namespace are written at all. `first`: whether it is the machine's first one.
    pub(crate) fn wants_lines(&self, first: bool) -> bool {
        !self.kernels || first || self.all_namespaces.load(Ordering::Relaxed)
    }

    /// Writes a line; false: it is lost.
    pub(crate) fn line(&self, line: &Line<'_>) -> bool {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let written = lines.write(line);
        lines.outage.note(written)
    }

    /// Writes a packet of NFLOG, if there is a file for them; false: it is lost. `time`: nanoseconds since 1970, if the event has none.
    pub(crate) fn packet(&self, namespace: u64, time: u64, event: &NflogEvent, packet: &[u8]) -> bool {
        let Some(packets) = &self.packets else { return true };
        let mut packets = packets.lock().unwrap_or_else(PoisonError::into_inner);
        let written = packets.capture.write(namespace, time, event, packet);
        packets.outage.note(written)
    }
}

/// A line of LOG or TRACE.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    /// Nanoseconds since 1970.
    pub(crate) time: u64,
    /// As syslog's.
    pub(crate) level: u8,
    /// What the namespace is called, where it has to be told.
    pub(crate) namespace: Option<&'a str>,
    /// The kernel's text.
    pub(crate) text: &'a str,
}

impl Line<'_> {
    /// With what the kernel's log and syslog tell beside the text.
    fn dated(&self) -> String {
        let level = LEVELS[usize::from(self.level & 7)];
        let namespace = self.namespace.map(|name| format!(" {name}")).unwrap_or_default();
        format!("{} {level}{namespace}: {}\n", daytime::rfc3339(self.time), self.text)
    }
}

/// As `--log-level` calls them.
const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"];

impl Lines {
    fn write(&mut self, line: &Line<'_>) -> io::Result<()> {
        match &self.sink {
            // Opened for each line: the kernel counts lines of one opening, and silently keeps ten in five seconds.
            Sink::Kernel => {
                let text = format!("<{}>{}\n", line.level & 7, line.text);
                OpenOptions::new().write(true).open("/dev/kmsg")?.write_all(text.as_bytes())
            }
            Sink::Stderr => io::stderr().write_all(line.dated().as_bytes()),
            // Opened for each line: it is found again where logrotate left none, or a new one.
            Sink::File(path) => {
                let mut file = OpenOptions::new().create(true).append(true).open(path)?;
                let begin = if self.torn { "\n" } else { "" };
                let appended = append(&mut file, format!("{begin}{}", line.dated()).as_bytes());
                match &appended {
                    Ok(()) => self.torn = false,
                    Err(failure) => self.torn |= failure.torn,
                }
                appended.map_err(|failure| failure.error)
            }
        }
    }
}

/// Why a record was not appended.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: io::Error,
    /// A part of it stands there now.
    pub(crate) torn: bool,
}

/// Appends a record to a file that was opened for that. If there is no room for all of it, the part that was written is taken back, unless
/// it is no regular file or somebody wrote behind it.
pub(crate) fn append(file: &mut File, record: &[u8]) -> Result<(), Failure> {
    let mut written = 0;
    let error = loop {
        match file.write(&record[written..]) {
            Ok(0) => break io::ErrorKind::WriteZero.into(),
            Ok(more) => written += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => break e,
        }
        if written == record.len() {
            return Ok(());
        }
    };
    Err(Failure { error, torn: written > 0 && !take_back(file, written as u64) })
}

/// Whether the last `written` bytes of a file are gone, of which the file's position is the end.
fn take_back(file: &mut File, written: u64) -> bool {
    let Ok(metadata) = file.metadata() else { return false };
    let last = file.stream_position().is_ok_and(|position| position == metadata.len());
    let begin = metadata.len().checked_sub(written);
    metadata.is_file() && last && begin.is_some_and(|begin| file.set_len(begin).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_when_how_grave_and_where_before_the_kernels_text() {
        let line = Line { time: 951_782_400_123_456_000, level: 4, namespace: None, text: "in:IN=lo OUT= " };
        assert_eq!(line.dated(), "2000-02-29T00:00:00.123456Z warning: in:IN=lo OUT= \n");
        let line = Line { namespace: Some("netns/blue"), level: 6, ..line };
        assert_eq!(line.dated(), "2000-02-29T00:00:00.123456Z info netns/blue: in:IN=lo OUT= \n");
    }
}
