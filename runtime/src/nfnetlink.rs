//! Dumps and changes of netfilter's own tables, of the calling thread's network namespace.

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use std::io;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
/// `NLM_F_EXCL` and `NLM_F_CREATE`.
pub(crate) const EXCLUSIVE: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;
/// `NLA_F_NESTED`, of an attribute's kind.
pub(crate) const NESTED: u16 = 0x8000;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Bytes of `struct nlmsghdr`, and of it with `struct nfgenmsg`.
const HEADER: usize = 16;
const HEADERS: usize = 20;
/// How often an interrupted dump is tried again.
const TRIES: usize = 16;

/// One message: what it is about, and its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// `NFPROTO_*`.
    pub(crate) family: u8,
    body: Vec<u8>,
}

impl Message {
    /// One with these attributes.
    #[cfg(test)]
    pub(crate) const fn new(family: u8, body: Vec<u8>) -> Self {
        Self { family, body }
    }

    /// Its attributes: kind, without the flags, and value.
    pub(crate) fn attributes(&self) -> Attributes<'_> {
        Attributes(&self.body)
    }

    /// What is behind its first four bytes.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }
}

/// Attributes one behind the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Attributes<'a> {
    /// The value of the first of a kind.
    pub(crate) fn get(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|(found, _)| *found == kind).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes([*self.0.first()?, *self.0.get(1)?]));
        let kind = u16::from_ne_bytes([*self.0.get(2)?, *self.0.get(3)?]) & 0x3fff;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    }
}

/// Asks a subsystem for a dump of a family's (0: all) objects.
///
/// # Errors
/// What the kernel says: EINVAL where the subsystem is not there.
pub(crate) fn dump(subsystem: u8, message: u8, family: u8) -> io::Result<Vec<Message>> {
    dump_of(NETLINK_NETFILTER, u16::from(subsystem) << 8 | u16::from(message), family)
}

/// Likewise, of any protocol of netlink whose messages have four bytes or more before their attributes.
///
/// # Errors
/// What the kernel says.
pub(crate) fn dump_of(protocol: isize, message: u16, family: u8) -> io::Result<Vec<Message>> {
    for _ in 0..TRIES {
        if let Some(messages) = dump_once(protocol, message, family)? {
            return Ok(messages);
        }
    }
    Err(io::Error::other("the kernel's tables change too fast to be read"))
}

fn dump_once(protocol: isize, message: u16, family: u8) -> io::Result<Option<Vec<Message>>> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut request = Vec::with_capacity(HEADERS);
    request.extend((HEADERS as u32).to_ne_bytes());
    request.extend(message.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request.extend([1_u32.to_ne_bytes(), [0; 4], [family, 0, 0, 0]].concat());
    socket.send(&request, 0)?;
    let (mut messages, mut interrupted) = (Vec::new(), false);
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while rest.len() >= HEADER {
            let word = |at: usize| u32::from_ne_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
            let (length, kind, flags) = (word(0) as usize, word(4) as u16, (word(4) >> 16) as u16);
            interrupted |= flags & NLM_F_DUMP_INTR != 0;
            match kind {
                NLMSG_DONE => return Ok((!interrupted).then_some(messages)),
                NLMSG_ERROR if rest.len() >= HEADERS => {
                    return Err(io::Error::from_raw_os_error(-word(HEADER).cast_signed()));
                }
                _ => {
                    let short = || io::Error::new(io::ErrorKind::InvalidData, "a short message of nfnetlink");
                    let body = rest.get(HEADERS..length).ok_or_else(short)?.to_vec();
                    messages.push(Message { family: rest[HEADER], body });
                }
            }
            rest = rest.get(length.next_multiple_of(4).max(HEADER)..).unwrap_or(&[]);
        }
    }
}

/// One attribute, padded.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = [(value.len() as u16 + 4).to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Asks for changes, one after the other.
#[derive(Debug)]
pub(crate) struct Requests(Socket);

impl Requests {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn send(
        &mut self,
        subsystem: u8,
        message: u8,
        family: u8,
        flags: u16,
        attributes: &[u8],
    ) -> io::Result<()> {
        let mut request = Vec::with_capacity(HEADERS + attributes.len());
        request.extend(((HEADERS + attributes.len()) as u32).to_ne_bytes());
        request.extend((u16::from(subsystem) << 8 | u16::from(message)).to_ne_bytes());
        request.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
        request.extend([1_u32.to_ne_bytes(), [0; 4], [family, 0, 0, 0]].concat());
        request.extend(attributes);
        self.0.send(&request, 0)?;
        let (answer, _) = self.0.recv_from_full()?;
        let code = answer.get(HEADER..HEADERS).and_then(|code| code.try_into().ok()).map(i32::from_ne_bytes);
        match (answer.get(4..6), code) {
            (Some(kind), Some(0)) if kind == NLMSG_ERROR.to_ne_bytes() => Ok(()),
            (Some(kind), Some(code)) if kind == NLMSG_ERROR.to_ne_bytes() => Err(io::Error::from_raw_os_error(-code)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "no answer of nfnetlink")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_walked_to_the_last_whole_one() {
        let bytes = [7, 0, 1, 0x80, b'a', b'b', 0, 0, 8, 0, 2, 0, 1, 2, 3, 4, 9, 0, 3, 0, 0];
        let found: Vec<_> = Attributes(&bytes).collect();
        assert_eq!(found, [(1, &b"ab\0"[..]), (2, &[1, 2, 3, 4][..])]);
        assert_eq!(Attributes(&bytes).get(2), Some(&[1, 2, 3, 4][..]));
    }
}
