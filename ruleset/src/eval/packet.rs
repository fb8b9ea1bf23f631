//! A packet as hooks see it.

use super::ipv6::{self, Upper};
use crate::addr::Family;
use crate::matches::CtStates;
use std::net::IpAddr;

/// One direction of a connection. Ports in host byte order; ICMP: identifier, and type << 8 | code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtTuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
}

/// What conntrack says of a packet that has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// `NEW`.
    New,
    /// `ESTABLISHED`.
    Established,
    /// `RELATED`.
    Related,
}

/// Bits of [`Connection::status`], numbered as the kernel's `IPS_*`; the low ones as [`crate::matches::CtStatus`].
pub mod status {
    /// The source is translated.
    pub const SRC_NAT: u32 = 1 << 4;
    /// The destination is translated.
    pub const DST_NAT: u32 = 1 << 5;
}

/// The connection of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The packet's state in it.
    pub state: ConnectionState,
    /// The packet goes the way of the answers.
    pub reply: bool,
    /// The connection's mark.
    pub mark: u32,
    /// [`status`] bits.
    pub status: u32,
    /// Protocol number.
    pub proto: u8,
    /// As the first packet came.
    pub original: CtTuple,
    /// As answers come.
    pub answer: CtTuple,
    /// Seconds until it ends.
    pub expires: u32,
    /// Packets and bytes of both directions, original first, if they are counted.
    pub carried: Option<[(u64, u64); 2]>,
    /// Its labels, if it has any.
    pub labels: Option<u128>,
}

/// A packet's relation to conntrack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ct {
    /// None could be found or made: INVALID.
    None,
    /// `CT --notrack`.
    Untracked,
    /// `CT` said how it is to be tracked, which is still to be done.
    Template,
    /// It has one.
    Connection(Box<Connection>),
}

/// A packet at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// From the IPv4 or IPv6 header on. The header is whole and valid (the stack drops others before any hook); what follows may be cut short.
    pub data: Vec<u8>,
    /// Name of the in device, where the hook has one.
    pub iif: Option<Box<str>>,
    /// Name of the out device, where the hook has one.
    pub oif: Option<Box<str>>,
    /// Made by a local socket.
    pub local: bool,
    /// Its mark.
    pub mark: u32,
    /// Its connection.
    pub ct: Ct,
}

impl Packet {
    /// A byte of the packet, zero beyond its end.
    fn byte(&self, at: usize) -> u8 {
        self.data.get(at).copied().unwrap_or(0)
    }

    /// Two bytes in network order.
    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.byte(at), self.byte(at + 1)])
    }

    /// By the version in its header.
    #[must_use]
    pub fn family(&self) -> Family {
        if self.byte(0) >> 4 == 6 { Family::V6 } else { Family::V4 }
    }

    /// Total length as the header says, in bytes: what counters add. Of a jumbogram (length 0) what is there.
    #[must_use]
    pub fn len(&self) -> usize {
        match (self.family(), self.word(4)) {
            (Family::V4, _) => self.word(2).into(),
            (Family::V6, 0) => self.data.len(),
            (Family::V6, length) => ipv6::HEADER + usize::from(length),
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    fn addr(&self, v4: usize, v6: usize) -> IpAddr {
        match self.family() {
            Family::V4 => std::array::from_fn::<u8, 4, _>(|i| self.byte(v4 + i)).into(),
            Family::V6 => std::array::from_fn::<u8, 16, _>(|i| self.byte(v6 + i)).into(),
        }
    }

    /// Source address.
    #[must_use]
    pub fn saddr(&self) -> IpAddr {
        self.addr(12, 8)
    }

    /// Destination address.
    #[must_use]
    pub fn daddr(&self) -> IpAddr {
        self.addr(16, 24)
    }

    /// What stands above the network header; `None` when extension headers are cut short.
    pub(super) fn upper(&self) -> Option<Upper> {
        match self.family() {
            Family::V4 => Some(Upper {
                proto: self.byte(9),
                at: usize::from(self.byte(0) & 15) * 4,
                fragment: self.word(6) & 0x1fff,
                fragmented: self.word(6) & 0x3fff != 0,
            }),
            Family::V6 => ipv6::upper(self.data.get(..self.len()).unwrap_or(&self.data)),
        }
    }

    /// Protocol number: in IPv6 that of the first header which is no extension header. `None`: those are cut short.
    #[must_use]
    pub fn proto(&self) -> Option<u8> {
        self.upper().map(|upper| upper.proto)
    }

    /// Fragment offset, as matches are told of it: in units of 8 bytes in IPv4, in bytes in IPv6.
    #[must_use]
    pub fn fragment_offset(&self) -> u16 {
        self.upper().map_or(0, |upper| upper.fragment)
    }

    /// What follows the network header and its extension headers, up to the packet's total length.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        let end = self.len().min(self.data.len());
        self.upper().and_then(|upper| self.data.get(upper.at..end)).unwrap_or(&[])
    }

    /// The TTL before this host decremented it, as `-m recent --rttl` wants it.
    #[must_use]
    pub fn ttl_as_received(&self) -> u8 {
        let forwarded = self.oif.is_some() && !self.local;
        let at = if self.family() == Family::V4 { 8 } else { 7 };
        self.byte(at).wrapping_add(u8::from(forwarded))
    }

    /// Says how the packet is to be tracked, if nothing did so yet.
    pub fn track(&mut self, how: Ct) {
        if self.ct == Ct::None {
            self.ct = how;
        }
    }

    /// The packet's state, one bit of [`CtStates`].
    #[must_use]
    pub fn state_bit(&self) -> u16 {
        match &self.ct {
            Ct::None => CtStates::INVALID,
            Ct::Untracked => CtStates::UNTRACKED,
            Ct::Template => CtStates::NEW,
            Ct::Connection(ct) => match ct.state {
                ConnectionState::New => CtStates::NEW,
                ConnectionState::Established => CtStates::ESTABLISHED,
                ConnectionState::Related => CtStates::RELATED,
            },
        }
    }

    /// The packet's state and its connection's translations, as `--ctstate` sees them.
    #[must_use]
    pub fn state_bits(&self) -> u16 {
        let mut bits = self.state_bit();
        if let Ct::Connection(ct) = &self.ct {
            if ct.status & status::SRC_NAT != 0 {
                bits |= CtStates::SNAT;
            }
            if ct.status & status::DST_NAT != 0 {
                bits |= CtStates::DNAT;
            }
        }
        bits
    }
}
