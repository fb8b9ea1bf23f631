//! NFLOG: messages as the kernel's nfnetlink_log makes them, and whom they go to.
//!
//! A listener tells the kernel by its socket which group it wants. The kernel shows in `/proc/net/netfilter/nfnetlink_log` which socket that
//! is, and what it asked for; so a privileged process can send it the same message from a socket of its own. What the listener sees is a
//! sender that is not the kernel, which libmnl, libpcap and ulogd do not look at; libnfnetlink's `nfnl_recv` refuses it.

use bpftables_abi::event::NflogEvent;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use std::collections::BTreeMap;
use std::io;

/// Of each thread, its own network namespace's.
const LISTENERS: &str = "/proc/thread-self/net/netfilter/nfnetlink_log";
/// `NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET`.
const MSG_PACKET: u16 = 0x400;
/// Bytes of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// `NFULNL_COPY_PACKET`.
const COPY_PACKET: u8 = 2;

/// `NFULA_*`.
mod attribute {
    pub(super) const PACKET_HDR: u16 = 1;
    pub(super) const MARK: u16 = 2;
    pub(super) const TIMESTAMP: u16 = 3;
    pub(super) const IFINDEX_INDEV: u16 = 4;
    pub(super) const IFINDEX_OUTDEV: u16 = 5;
    pub(super) const HWADDR: u16 = 8;
    pub(super) const PAYLOAD: u16 = 9;
    pub(super) const PREFIX: u16 = 10;
    pub(super) const UID: u16 = 11;
    pub(super) const GID: u16 = 14;
    pub(super) const HWTYPE: u16 = 15;
    pub(super) const HWHEADER: u16 = 16;
    pub(super) const HWLEN: u16 = 17;
}

/// The listener of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listener {
    port: u32,
    /// Bytes of a packet that it wants.
    range: usize,
}

/// The lines of [`LISTENERS`]: group, port, queued, copy mode, copy range, and what does not matter here.
fn listeners(text: &str) -> BTreeMap<u16, Listener> {
    let listener = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [group, port, _, mode, range, ..] = words[..] else { return None };
        let range = if mode.parse() == Ok(COPY_PACKET) { range.parse().ok()? } else { 0 };
        Some((group.parse().ok()?, Listener { port: port.parse().ok()?, range }))
    };
    text.lines().filter_map(listener).collect()
}

/// Hands the packets of one batch to the listeners that are there now.
#[derive(Debug)]
pub(crate) struct Delivery(io::Result<(Socket, BTreeMap<u16, Listener>)>);

impl Delivery {
    /// What fails here fails for each packet.
    pub(crate) fn open() -> Self {
        Self(Self::find())
    }

    fn find() -> io::Result<(Socket, BTreeMap<u16, Listener>)> {
        let listeners = match std::fs::read_to_string(LISTENERS) {
            Ok(text) => listeners(&text),
            // The kernel's module is not there, so nobody can listen.
            Err(e) if e.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => return Err(e),
        };
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        Ok((socket, listeners))
    }

    /// As the kernel does: a packet of a group without a listener goes nowhere, and a full listener loses it.
    pub(crate) fn send(&self, event: &NflogEvent, packet: &[u8]) -> Result<(), String> {
        let (socket, listeners) = self.0.as_ref().map_err(|error| format!("cannot look for listeners: {error}"))?;
        let Some(listener) = listeners.get(&event.group) else { return Ok(()) };
        let message = message(event, packet, listener.range);
        let sent = socket.send_to(&message, &SocketAddr::new(listener.port, 0), 0);
        sent.map(drop).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => format!("the listener of group {} is full", event.group),
            _ => format!("the listener of group {}: {error}", event.group),
        })
    }
}

/// The message about a packet, with at most `range` bytes of it.
pub(crate) fn message(event: &NflogEvent, packet: &[u8], range: usize) -> Vec<u8> {
    let v6 = packet.first().is_some_and(|first| first >> 4 == 6);
    let (family, protocol) = if v6 { (libc::AF_INET6, 0x86dd_u16) } else { (libc::AF_INET, 0x0800) };
    let mut out = Vec::with_capacity(256 + packet.len());
    out.extend([0; 4]);
    out.extend(MSG_PACKET.to_ne_bytes());
    out.extend([0; 10]);
    out.extend([family as u8, 0]);
    out.extend(event.group.to_be_bytes());

    let [high, low] = protocol.to_be_bytes();
    put(&mut out, attribute::PACKET_HDR, &[high, low, event.head.hook, 0]);
    let end = event.prefix.iter().position(|byte| *byte == 0).unwrap_or(event.prefix.len() - 1);
    put(&mut out, attribute::PREFIX, &event.prefix[..=end]);
    let numbers = [
        (attribute::IFINDEX_INDEV, event.head.ifin),
        (attribute::IFINDEX_OUTDEV, event.head.ifout),
        (attribute::MARK, event.head.mark),
    ];
    for (kind, number) in numbers.into_iter().filter(|(_, number)| *number != 0) {
        put(&mut out, kind, &number.to_be_bytes());
    }
    link(&mut out, event);
    if event.stamp != 0 {
        let (seconds, rest) = (event.stamp / 1_000_000_000, event.stamp % 1_000_000_000);
        put(&mut out, attribute::TIMESTAMP, &[seconds.to_be_bytes(), (rest / 1000).to_be_bytes()].concat());
    }
    if event.head.owned != 0 {
        put(&mut out, attribute::UID, &event.head.uid.to_be_bytes());
        put(&mut out, attribute::GID, &event.head.gid.to_be_bytes());
    }
    let sized = if event.sized != 0 { event.size as usize } else { usize::MAX };
    let payload = &packet[..packet.len().min(range).min(sized).min(MAX_ATTRIBUTE)];
    if !payload.is_empty() {
        put(&mut out, attribute::PAYLOAD, payload);
    }
    let length = (out.len() as u32).to_ne_bytes();
    out[..4].copy_from_slice(&length);
    out
}

/// Bytes that the length of an attribute can count, its own four taken off.
const MAX_ATTRIBUTE: usize = u16::MAX as usize - 4;

/// The link header that the packet came in with.
fn link(out: &mut Vec<u8>, event: &NflogEvent) {
    // FORWARD has none any more.
    if event.head.ifin == 0 || event.head.hook > 1 {
        return;
    }
    let header = &event.head.mac[..event.head.mac.len().min(event.head.mac_len.into())];
    if header.len() == 14 {
        let mut address = [0; 12];
        address[1] = 6;
        address[4..10].copy_from_slice(&header[6..12]);
        put(out, attribute::HWADDR, &address);
    }
    put(out, attribute::HWTYPE, &event.hw_type.to_be_bytes());
    put(out, attribute::HWLEN, &event.hw_len.to_be_bytes());
    put(out, attribute::HWHEADER, header);
}

fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend((4 + value.len() as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> NflogEvent {
        let mut event: NflogEvent = zerocopy::FromZeros::new_zeroed();
        (event.group, event.head.hook, event.head.ifin, event.head.mac_len, event.hw_type, event.hw_len) =
            (5, 1, 1, 14, 0x304, 14);
        event.stamp = 0x6b08_4222 * 1_000_000_000 + 0xa_7670 * 1000;
        event.head.mac[12] = 8;
        event
    }

    /// Recorded from the kernel (Linux 6.18): `-A INPUT -p udp -j NFLOG --nflog-group 5 --nflog-size 30` at `lo`.
    const RECORDED: &str = "980000000004000000000000000000000200000508000100080001000\
                            5000a000000000008000400000000011000080000060000000000000000000006000f000304000006001100\
                            000e0000120010000000000000000000000000000800000014000300000000006b08422200000000000a767\
                            02200090045000020e84e40004011547c7f0000017f000001cadb0009000cfe1f64610000";

    #[test]
    fn a_message_is_the_kernels() {
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap()).collect()
        };
        let packet = bytes("45000020e84e40004011547c7f0000017f000001cadb0009000cfe1f64617461");
        let mut event = event();
        (event.sized, event.size) = (1, 30);
        assert_eq!(message(&event, &packet, 65531), bytes(RECORDED));
        // Whatever is least: the listener's range, the rule's, the packet.
        let length = |event: &NflogEvent, range| message(event, &packet, range).len();
        assert_eq!(length(&event, 0), bytes(RECORDED).len() - 36);
        assert_eq!(length(&event, 8), bytes(RECORDED).len() - 24);
        event.sized = 0;
        assert_eq!(length(&event, 65531), bytes(RECORDED).len());
    }

    #[test]
    fn the_largest_packet_fits_its_attribute() {
        let mut packet = vec![0; bpftables_abi::event::NFLOG_PACKET];
        packet[0] = 0x60;
        let message = message(&event(), &packet, usize::MAX);
        assert_eq!(message[HEADER], 10);
        assert!(message.ends_with(&[0; 4]));
        assert_eq!(u32::from_ne_bytes(message[..4].try_into().unwrap()) as usize, message.len());
    }

    #[test]
    fn listeners_are_read_as_the_kernel_shows_them() {
        let text = "    5  16348     0 2 65531    100  1\n    7 4108006495     3 1 65531    100  1\nwhat\n";
        let expected = [(5, Listener { port: 16348, range: 65531 }), (7, Listener { port: 4_108_006_495, range: 0 })];
        assert_eq!(listeners(text), BTreeMap::from(expected));
    }
}
