//! The bench's packets: UDP in Ethernet frames of 64 bytes, sent by one pinned thread.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::rules::PORT;
use crate::netns::Netns;
use crate::sys::{self, BATCH, FRAME, FrameSender};

/// The CPU of the sender, on which veth then forwards as well.
const SENDER_CPU: usize = 0;

/// Where frames go in at.
#[derive(Clone, Copy)]
pub(super) struct Link {
    /// The sending device's address.
    pub(super) from: [u8; 6],
    /// The router's address on that link.
    pub(super) to: [u8; 6],
}

/// Which connections the packets belong to.
#[derive(Clone, Copy)]
pub(super) enum Flows {
    /// All to one.
    One,
    /// Each to another, from this number on.
    Each(u64),
}

/// What a run has sent.
pub(super) struct Sent {
    pub(super) packets: u64,
    pub(super) elapsed: Duration,
}

/// The source of connection `number`: one of 4096 addresses, and then the next port.
fn source(number: u64) -> (Ipv4Addr, u16) {
    let port = 1024 + (number >> 12) % 60_000;
    (Ipv4Addr::from_bits(0x0a0a_1000 | (number & 0xfff) as u32), port as u16)
}

const DESTINATION: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 3);

/// One frame; its IP checksum is right, its UDP checksum absent.
fn frame(link: Link, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[..6].copy_from_slice(&link.to);
    frame[6..12].copy_from_slice(&link.from);
    frame[12..14].copy_from_slice(&0x0800_u16.to_be_bytes());
    frame[14] = 0x45;
    let ip_length = (FRAME - 14) as u16;
    frame[16..18].copy_from_slice(&ip_length.to_be_bytes());
    frame[22] = 64; // TTL
    frame[23] = 17; // UDP
    frame[26..30].copy_from_slice(&from.0.octets());
    frame[30..34].copy_from_slice(&to.0.octets());
    let sum: u32 = frame[14..34].chunks_exact(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    frame[24..26].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    frame[34..36].copy_from_slice(&from.1.to_be_bytes());
    frame[36..38].copy_from_slice(&to.1.to_be_bytes());
    frame[38..40].copy_from_slice(&(ip_length - 20).to_be_bytes());
    frame
}

/// Sends on `eth0` of the namespace as fast as possible, for `time` or until `most` packets are sent.
pub(super) fn send(netns: &Netns, link: Link, flows: Flows, time: Duration, most: u64) -> Result<Sent> {
    netns.inside(|| {
        sys::pin_to_cpu(SENDER_CPU).context("cannot pin the sender")?;
        sys::run_before_others().context("cannot raise the sender's priority")?;
        let sender = FrameSender::new("eth0").context("cannot open a packet socket")?;
        let mut frames = [[0; FRAME]; BATCH];
        let mut next = match flows {
            Flows::One => 0,
            Flows::Each(first) => first,
        };
        let to = (DESTINATION, PORT);
        frames.fill(frame(link, source(next), to));
        let start = Instant::now();
        let mut packets = 0;
        while start.elapsed() < time && packets < most {
            let count = BATCH.min(usize::try_from(most - packets).unwrap_or(BATCH));
            if let Flows::Each(_) = flows {
                for frame_out in &mut frames[..count] {
                    *frame_out = frame(link, source(next), to);
                    next += 1;
                }
            }
            packets += sender.send(&mut frames[..count]).context("cannot send")? as u64;
        }
        Ok(Sent { packets, elapsed: start.elapsed() })
    })?
}

/// Sends one answer to connection 0 back from the other side.
pub(super) fn answer(netns: &Netns, link: Link) -> Result<()> {
    netns.inside(|| {
        let mut frames = [frame(link, (DESTINATION, PORT), source(0))];
        FrameSender::new("eth0")?.send(&mut frames).context("cannot send")?;
        Ok(())
    })?
}

/// Packets that `device` of the namespace has received.
pub(super) fn received(netns: &Netns, device: &str) -> Result<u64> {
    let table = netns.inside(|| std::fs::read_to_string("/proc/thread-self/net/dev"))??;
    table
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':')?.split_whitespace().nth(1))
        .and_then(|packets| packets.parse().ok())
        .with_context(|| format!("no {device} in /proc/net/dev"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_a_checksum_that_adds_up() {
        let link = Link { from: [2; 6], to: [4; 6] };
        let frame = frame(link, source(70_000), (DESTINATION, PORT));
        let sum: u32 = frame[14..34].chunks_exact(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }

    #[test]
    fn a_million_connections_have_a_million_sources_that_the_last_rule_matches() {
        let sources: std::collections::HashSet<_> = (0..1_000_000).map(source).collect();
        assert_eq!(sources.len(), 1_000_000);
        assert!(sources.iter().all(|(ip, port)| ip.octets()[..2] == [10, 10] && *port >= 1024));
    }
}
