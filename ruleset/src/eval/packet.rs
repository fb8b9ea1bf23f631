//! A packet as hooks see it.

use crate::matches::CtStates;
use std::net::Ipv4Addr;

/// One direction of a connection. Ports in host byte order; ICMP: identifier, and type << 8 | code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtTuple {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
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
}

/// A packet's relation to conntrack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ct {
    /// None could be found or made: INVALID.
    None,
    /// `CT --notrack`.
    Untracked,
    /// It has one.
    Connection(Box<Connection>),
}

/// A packet at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// From the IPv4 header on. The header is whole and valid (the stack drops others before any hook); what follows may be cut short.
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

    /// Total length as the header says, in bytes: what counters add.
    #[must_use]
    pub fn len(&self) -> u16 {
        self.word(2)
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Length of the IPv4 header in bytes.
    #[must_use]
    pub fn header_len(&self) -> usize {
        usize::from(self.byte(0) & 15) * 4
    }

    /// Source address.
    #[must_use]
    pub fn saddr(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.byte(12), self.byte(13), self.byte(14), self.byte(15))
    }

    /// Destination address.
    #[must_use]
    pub fn daddr(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.byte(16), self.byte(17), self.byte(18), self.byte(19))
    }

    /// Protocol number.
    #[must_use]
    pub fn proto(&self) -> u8 {
        self.byte(9)
    }

    /// Fragment offset in units of 8 bytes.
    #[must_use]
    pub fn fragment_offset(&self) -> u16 {
        self.word(6) & 0x1fff
    }

    /// What follows the IPv4 header, up to the packet's total length.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        let end = usize::from(self.len()).min(self.data.len());
        self.data.get(self.header_len()..end).unwrap_or(&[])
    }

    /// The TTL before this host decremented it, as `-m recent --rttl` wants it.
    #[must_use]
    pub fn ttl_as_received(&self) -> u8 {
        let forwarded = self.oif.is_some() && !self.local;
        self.byte(8).wrapping_add(u8::from(forwarded))
    }

    /// The packet's state, one bit of [`CtStates`].
    #[must_use]
    pub fn state_bit(&self) -> u16 {
        match &self.ct {
            Ct::None => CtStates::INVALID,
            Ct::Untracked => CtStates::UNTRACKED,
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
