//! Packets.

use super::pools::{DEVICES, addr, mark, port};
use bpftables_ruleset::eval::{Connection, ConnectionState, Ct, CtTuple, Packet};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::net::Ipv4Addr;

/// What the bytes of a packet are made from.
#[derive(Clone, Debug)]
pub struct Header {
    /// Protocol number.
    pub proto: u8,
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Source port, or ICMP type << 8 | code.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// TCP flags.
    pub flags: u8,
    /// TCP options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// Bytes of IP options, a multiple of four.
    pub ip_options: u8,
    /// Fragment offset in units of 8 bytes.
    pub fragment: u16,
    /// Bytes of the transport header and data that are there at most.
    pub cut: usize,
    /// Time to live.
    pub ttl: u8,
}

/// The bytes from the IPv4 header on, with a right header checksum.
#[must_use]
pub fn packet_bytes(h: &Header) -> Vec<u8> {
    let mut payload = Vec::new();
    match h.proto {
        6 => {
            payload.extend(h.sport.to_be_bytes());
            payload.extend(h.dport.to_be_bytes());
            payload.extend([0; 8]);
            payload.push(((5 + h.options.len() / 4) as u8) << 4);
            payload.push(h.flags);
            payload.extend([0xff, 0xff, 0, 0, 0, 0]);
            payload.extend(&h.options);
        }
        1 => {
            payload.extend(h.sport.to_be_bytes());
            payload.extend([0, 0]);
            payload.extend(h.dport.to_be_bytes());
            payload.extend([0, 1]);
        }
        17 | 136 => {
            payload.extend(h.sport.to_be_bytes());
            payload.extend(h.dport.to_be_bytes());
            payload.extend([0, 16, 0, 0]);
        }
        132 => {
            payload.extend(h.sport.to_be_bytes());
            payload.extend(h.dport.to_be_bytes());
            payload.extend([0; 8]);
            payload.extend([h.flags & 3, h.flags >> 4, 0, 6, 0, 0, 0, 0]);
            payload.extend([h.flags >> 6, h.flags & 1, 0, h.ttl & 12]);
        }
        33 => {
            payload.extend(h.sport.to_be_bytes());
            payload.extend(h.dport.to_be_bytes());
            payload.extend([(h.ttl & 7) + 2, 0, 0, 0, h.flags & 31, 0, 0, 0]);
            payload.extend(&h.options);
        }
        51 => {
            payload.extend([17, h.flags & 3, 0, h.flags >> 7]);
            payload.extend(h.sport.to_be_bytes());
            payload.extend(h.dport.to_be_bytes());
            payload.extend([0; 4]);
        }
        _ => {
            payload.extend(h.sport.to_be_bytes());
            payload.extend(h.dport.to_be_bytes());
            payload.extend([0; 8]);
        }
    }
    payload.extend([0x5a; 8]);
    payload.truncate(h.cut);
    let ihl = 20 + usize::from(h.ip_options);
    let mut data = vec![0; ihl];
    data[0] = 0x40 | (ihl / 4) as u8;
    data[2..4].copy_from_slice(&((ihl + payload.len()) as u16).to_be_bytes());
    data[6..8].copy_from_slice(&(h.fragment & 0x1fff).to_be_bytes());
    data[8] = h.ttl;
    data[9] = h.proto;
    data[12..16].copy_from_slice(&h.src.octets());
    data[16..20].copy_from_slice(&h.dst.octets());
    // No-operation options.
    data[20..].fill(1);
    let mut sum: u32 = data.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    data[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    data.extend(payload);
    data
}

fn header() -> impl Strategy<Value = Header> {
    let proto =
        prop_oneof![6 => Just(6u8), 4 => Just(17), 2 => Just(1), 2 => select(&[132u8, 47, 136, 33, 50, 51, 108][..])];
    let flags = prop_oneof![2 => Just(0x02u8), 2 => Just(0x10), 1 => any::<u8>()];
    let options = select(vec![vec![], vec![2, 4, 5, 180], vec![1, 1, 1, 0], vec![8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 4, 2]]);
    let fragment = prop_oneof![12 => Just(0u16), 1 => Just(1), 1 => Just(2), 1 => Just(100)];
    let cut = prop_oneof![10 => Just(100usize), 1 => 0usize..20, 1 => 20usize..32];
    let icmp = (select(&[0u8, 3, 8, 11, 255][..]), 0u8..6);
    (
        (proto, addr(), addr(), port(), port(), flags),
        (options, select(&[0u8, 0, 0, 4, 40][..]), fragment, cut, icmp, 1u8..255),
    )
        .prop_map(|((proto, src, dst, sport, dport, flags), (options, ip_options, fragment, cut, icmp, ttl))| {
            let sport = if proto == 1 { u16::from(icmp.0) << 8 | u16::from(icmp.1) } else { sport };
            Header { proto, src, dst, sport, dport, flags, options, ip_options, fragment, cut, ttl }
        })
}

fn tuple() -> impl Strategy<Value = CtTuple> {
    (addr(), addr(), port(), port()).prop_map(|(src, dst, sport, dport)| CtTuple {
        src: src.into(),
        dst: dst.into(),
        sport,
        dport,
    })
}

fn ct() -> impl Strategy<Value = Ct> {
    let state = select(&[ConnectionState::New, ConnectionState::Established, ConnectionState::Related][..]);
    let connection = (state, any::<bool>(), mark(), any::<u8>(), select(&[6u8, 17][..]), tuple(), tuple(), 0u32..9)
        .prop_map(|(state, reply, mark, status, proto, original, answer, expires)| {
            let labels = (status & 0x40 == 0).then_some(u128::from(mark));
            let carried = (status & 0x80 == 0).then_some([(expires.into(), 400), (u64::from(status) & 3, 200)]);
            let status = u32::from(status & 0x3f);
            let connection =
                Connection { state, reply, mark, status, proto, original, answer, expires, carried, labels };
            Ct::Connection(Box::new(connection))
        });
    prop_oneof![1 => Just(Ct::None), 1 => Just(Ct::Untracked), 6 => connection]
}

/// A packet with everything that a hook may know of it.
pub fn packet() -> impl Strategy<Value = Packet> {
    let device = || option::weighted(0.8, select(&DEVICES[..]));
    (header(), device(), device(), any::<bool>(), mark(), ct()).prop_map(|(header, iif, oif, local, mark, ct)| Packet {
        data: packet_bytes(&header),
        iif: iif.map(Into::into),
        oif: oif.map(Into::into),
        local,
        mark,
        ct,
    })
}
