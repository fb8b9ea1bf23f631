//! A listener of NFLOG's groups.

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A listener of an nfnetlink_log group, as ulogd is one.
pub(crate) struct Listener(Socket);

/// A message's hook and attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) family: u8,
    pub(crate) group: u16,
    pub(crate) attributes: BTreeMap<u16, Vec<u8>>,
}

impl Listener {
    pub(crate) fn new(group: u16, range: u32) -> Self {
        let mut socket = Socket::new(NETLINK_NETFILTER).unwrap();
        socket.bind_auto().unwrap();
        let listener = Self(socket);
        // NFULNL_CFG_CMD_BIND; NFULNL_COPY_PACKET; a message for each packet.
        listener.configure(group, 1, &[1]);
        listener.configure(group, 2, &[&range.to_be_bytes()[..], &[2, 0]].concat());
        listener.configure(group, 5, &1_u32.to_be_bytes());
        listener.0.set_non_blocking(true).unwrap();
        listener
    }

    fn configure(&self, group: u16, attribute: u16, value: &[u8]) {
        let mut message = vec![0; 16];
        message.extend([0, 0]);
        message.extend(group.to_be_bytes());
        message.extend((4 + value.len() as u16).to_ne_bytes());
        message.extend(attribute.to_ne_bytes());
        message.extend(value);
        message.resize(message.len().next_multiple_of(4), 0);
        let length = (message.len() as u32).to_ne_bytes();
        message[..4].copy_from_slice(&length);
        // NFNL_SUBSYS_ULOG, NFULNL_MSG_CONFIG; NLM_F_REQUEST, NLM_F_ACK.
        message[4..8].copy_from_slice(&[1, 4, 5, 0]);
        self.0.send_to(&message, &SocketAddr::new(0, 0), 0).unwrap();
        let (answer, _) = self.0.recv_from_full().unwrap();
        assert_eq!(answer[16..20], [0; 4], "the kernel takes {attribute}");
    }

    /// `count` messages, or what came within some seconds; and whatever comes right behind them.
    pub(crate) fn take(&self, count: usize) -> Vec<Message> {
        let (begin, mut found, mut enough) = (Instant::now(), Vec::new(), None);
        while begin.elapsed() < Duration::from_secs(10) {
            match self.0.recv_from_full() {
                Ok((datagram, _)) => found.extend(messages(&datagram)),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
            if found.len() >= count && enough.get_or_insert_with(Instant::now).elapsed() > Duration::from_millis(300) {
                break;
            }
        }
        found
    }
}

fn messages(mut datagram: &[u8]) -> Vec<Message> {
    let u16_at = |bytes: &[u8], at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
    let mut found = Vec::new();
    while datagram.len() >= 20 {
        let length = u32::from_ne_bytes(datagram[..4].try_into().unwrap()) as usize;
        let message = &datagram[..length];
        if u16_at(message, 4) == 0x400 {
            let (mut rest, mut attributes) = (&message[20..], BTreeMap::new());
            while rest.len() >= 4 {
                let length = usize::from(u16_at(rest, 0));
                assert!(attributes.insert(u16_at(rest, 2), rest[4..length].to_vec()).is_none(), "each attribute once");
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
            }
            let group = u16::from_be_bytes([message[18], message[19]]);
            found.push(Message { family: message[16], group, attributes });
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    found
}
