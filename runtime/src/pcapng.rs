//! Packets of NFLOG in a file, for whoever does not listen to their group: pcapng (IETF draft-ietf-opsawg-pcapng), link type NFLOG, which
//! tcpdump and wireshark read with prefix, devices and owner.

use crate::nflog::{self, HEADER};
use crate::outputs::append;
use bpftables_abi::event::NflogEvent;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// `LINKTYPE_NFLOG`: nfnetlink's message without its first header.
const LINKTYPE: u16 = 239;
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
/// Options.
const COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;

/// A file that packets are appended to, as a section of their own.
#[derive(Debug)]
pub(crate) struct Capture {
    path: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Number of the interface of each network namespace and group.
    interfaces: BTreeMap<(u64, u16), u32>,
}

impl Capture {
    /// Nothing is opened yet.
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), open: None }
    }

    /// The next packet opens the file again.
    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// Appends a packet, whole or not at all. What fails is begun anew with the next one, by a section of its own. `time`: nanoseconds
    /// since 1970, if the event has none.
    pub(crate) fn write(&mut self, namespace: u64, time: u64, event: &NflogEvent, packet: &[u8]) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open {
                file: OpenOptions::new().create(true).append(true).open(&self.path)?,
                interfaces: BTreeMap::new(),
            },
        };
        let blocks = open.blocks(namespace, time, event, packet);
        append(&mut open.file, &blocks).map_err(|failure| match failure.torn {
            false => failure.error,
            true => io::Error::other(format!("{}; readers stop at what was written of it", failure.error)),
        })?;
        self.open = Some(open);
        Ok(())
    }
}

impl Open {
    /// The packet's block, and what has to stand before it.
    fn blocks(&mut self, namespace: u64, time: u64, event: &NflogEvent, packet: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        if self.interfaces.is_empty() {
            let body =
                [&0x1a2b_3c4d_u32.to_ne_bytes()[..], &1_u16.to_ne_bytes(), &0_u16.to_ne_bytes(), &[0xff; 8]].concat();
            block(&mut out, SECTION, &body);
        }
        let next = self.interfaces.len() as u32;
        let number = *self.interfaces.entry((namespace, event.group)).or_insert(next);
        if number == next {
            let mut body = [&LINKTYPE.to_ne_bytes()[..], &0_u16.to_ne_bytes(), &0_u32.to_ne_bytes()].concat();
            option(&mut body, IF_NAME, format!("nflog:{} netns {namespace:x}", event.group).as_bytes());
            // Nanoseconds.
            option(&mut body, IF_TSRESOL, &[9]);
            option(&mut body, 0, &[]);
            block(&mut out, INTERFACE, &body);
        }
        let stamp = if event.stamp == 0 { time } else { event.stamp };
        let message = nflog::message(event, packet, usize::MAX);
        let data = &message[HEADER..];
        let head = data.len() - packet.len().min(data.len());
        let words = [number, (stamp >> 32) as u32, stamp as u32, data.len() as u32, head as u32 + event.head.len];
        let mut body: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        body.extend(data);
        body.resize(body.len().next_multiple_of(4), 0);
        let prefix = event.prefix.split(|byte| *byte == 0).next().unwrap_or(&[]);
        if !prefix.is_empty() {
            option(&mut body, COMMENT, prefix);
            option(&mut body, 0, &[]);
        }
        block(&mut out, PACKET, &body);
        out
    }
}

fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = (body.len() as u32 + 12).to_ne_bytes();
    out.extend([&kind.to_ne_bytes()[..], &length, body, &length].concat());
}

fn option(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend(kind.to_ne_bytes());
    out.extend((value.len() as u16).to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}
