//! Matches that read the transport header (`xt_tcpudp.c`, `xt_multiport.c`).

use super::Answer;
use super::packet::Packet;
use crate::addr::PortRange;
use crate::matches::{Icmp, Icmp6, Multiport, MultiportSide, Tcp, Udp};

fn ports(header: &[u8]) -> (u16, u16) {
    (u16::from_be_bytes([header[0], header[1]]), u16::from_be_bytes([header[2], header[3]]))
}

fn port(range: PortRange, invert: bool, port: u16) -> bool {
    range.contains(port) != invert
}

/// `-m tcp`.
pub(super) fn tcp(m: &Tcp, packet: &Packet) -> Answer {
    match packet.fragment_offset() {
        0 => {}
        // A fragment that would overwrite the flags of a header seen before.
        1 => return Answer::Hotdrop,
        _ => return Answer::No,
    }
    let payload = packet.payload();
    let Some(header) = payload.get(..20) else { return Answer::Hotdrop };
    let (sport, dport) = ports(header);
    if !port(m.sport, m.invert_sport, sport) || !port(m.dport, m.invert_dport, dport) {
        return Answer::No;
    }
    if ((header[13] & m.flags_mask) == m.flags_cmp) == m.invert_flags {
        return Answer::No;
    }
    if m.option == 0 {
        return Answer::Yes;
    }
    let header_len = usize::from(header[12] >> 4) * 4;
    if header_len < 20 {
        return Answer::Hotdrop;
    }
    let Some(options) = payload.get(20..header_len) else { return Answer::Hotdrop };
    (has_option(options, m.option) != m.invert_option).into()
}

/// Whether an option of a TCP or DCCP header is there.
pub(super) fn has_option(options: &[u8], want: u8) -> bool {
    let mut at = 0;
    while at < options.len() {
        if options[at] == want {
            return true;
        }
        at += match options[at] {
            0 | 1 => 1,
            _ => usize::from(options.get(at + 1).copied().unwrap_or(1)).max(1),
        };
    }
    false
}

/// `-m udp`.
pub(super) fn udp(m: &Udp, packet: &Packet) -> Answer {
    if packet.fragment_offset() != 0 {
        return Answer::No;
    }
    let Some(header) = packet.payload().get(..8) else { return Answer::Hotdrop };
    let (sport, dport) = ports(header);
    (port(m.sport, m.invert_sport, sport) && port(m.dport, m.invert_dport, dport)).into()
}

/// `-m icmp`.
pub(super) fn icmp(m: &Icmp, packet: &Packet) -> Answer {
    if packet.fragment_offset() != 0 {
        return Answer::No;
    }
    let Some(header) = packet.payload().get(..8) else { return Answer::Hotdrop };
    let (kind, code) = (header[0], header[1]);
    let holds = m.kind == 255 || (kind == m.kind && m.code_lo <= code && code <= m.code_hi);
    (holds != m.invert).into()
}

/// `-m icmp6`, which needs the whole eight bytes as `-m icmp` does: legacy was seen to drop messages of 4, 6 and 7 bytes.
pub(super) fn icmp6(m: &Icmp6, packet: &Packet) -> Answer {
    if packet.fragment_offset() != 0 {
        return Answer::No;
    }
    let Some(header) = packet.payload().get(..8) else { return Answer::Hotdrop };
    let (kind, code) = (header[0], header[1]);
    ((kind == m.kind && m.code_lo <= code && code <= m.code_hi) != m.invert).into()
}

/// `-m multiport`.
pub(super) fn multiport(m: &Multiport, packet: &Packet) -> Answer {
    if packet.fragment_offset() != 0 {
        return Answer::No;
    }
    let Some(header) = packet.payload().get(..4) else { return Answer::Hotdrop };
    let (sport, dport) = ports(header);
    let any = |port: u16| m.ports.iter().any(|entry| entry.range.contains(port));
    let holds = match m.side {
        MultiportSide::Source => any(sport),
        MultiportSide::Destination => any(dport),
        MultiportSide::Either => any(sport) || any(dport),
    };
    (holds != m.invert).into()
}
