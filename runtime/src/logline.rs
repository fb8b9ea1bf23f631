//! A line of `-j LOG` or `-j TRACE`, as the kernel's nf_log_syslog writes it.

mod ipv6;

use bpftables_abi::event::{Event, KIND_TRACE, trace};
use bpftables_ruleset::TableKind;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// `NF_LOG_*`.
const TCP_SEQUENCE: u8 = 0x01;
const TCP_OPTIONS: u8 = 0x02;
const IP_OPTIONS: u8 = 0x04;
const MACDECODE: u8 = 0x20;

/// The line without level and without line end.
pub(crate) fn line(event: &Event, device_in: &str, device_out: &str) -> String {
    let mut out = String::new();
    let prefix = &event.params.prefix;
    let end = prefix.iter().position(|byte| *byte == 0).unwrap_or(prefix.len());
    let prefix = String::from_utf8_lossy(&prefix[..end]);
    match event.head.kind {
        KIND_TRACE => traced(&mut out, event, &prefix),
        _ => out.push_str(&prefix),
    }
    put(&mut out, format_args!("IN={device_in} OUT={device_out} "));
    if event.head.ifin != 0 {
        mac(&mut out, event);
    }
    let captured = event.packet.len().min(event.head.captured as usize);
    let packet = Packet { bytes: &event.packet[..captured], len: event.head.len as usize };
    // By the version in its header.
    let whole = match packet.bytes.first().map(|first| first >> 4) {
        Some(6) => ipv6::dump(&mut out, packet, event.params.flags, true),
        _ => ipv4(&mut out, packet, event.params.flags, true),
    };
    // As the kernel's, a line ends where the packet does.
    if !whole {
        return out;
    }
    if event.head.owned != 0 {
        put(&mut out, format_args!("UID={} GID={} ", event.head.uid, event.head.gid));
    }
    if event.head.mark != 0 {
        put(&mut out, format_args!("MARK=0x{:x} ", event.head.mark));
    }
    out
}

/// Where a traced packet is.
fn traced(out: &mut String, event: &Event, chain: &str) {
    let table = TableKind::ALL.get(usize::from(event.table)).map_or("?", |table| table.name());
    let what = match event.what {
        trace::RULE => "rule",
        trace::RETURN => "return",
        _ => "policy",
    };
    put(out, format_args!("TRACE: {table}:{chain}:{what}:{} ", event.number));
}

/// Writing to a string cannot fail.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

fn hex(out: &mut String, bytes: &[u8], between: &str) {
    for (index, byte) in bytes.iter().enumerate() {
        put(out, format_args!("{}{byte:02x}", if index == 0 { "" } else { between }));
    }
}

fn mac(out: &mut String, event: &Event) {
    let bytes = &event.head.mac[..event.head.mac.len().min(event.head.mac_len.into())];
    if event.params.flags & MACDECODE != 0 && bytes.len() == 14 {
        out.push_str("MACSRC=");
        hex(out, &bytes[6..12], ":");
        out.push_str(" MACDST=");
        hex(out, &bytes[..6], ":");
        put(out, format_args!(" MACPROTO={:02x}{:02x} ", bytes[12], bytes[13]));
        return;
    }
    out.push_str("MAC=");
    hex(out, bytes, ":");
    out.push(' ');
}

/// Some bytes of a packet, and how many there were.
#[derive(Clone, Copy)]
struct Packet<'a> {
    bytes: &'a [u8],
    len: usize,
}

impl<'a> Packet<'a> {
    /// What begins at `at`.
    fn after(self, at: usize) -> Self {
        Self { bytes: self.bytes.get(at..).unwrap_or(&[]), len: self.len.saturating_sub(at) }
    }

    /// The first `n` bytes, if they are all there.
    fn head(self, n: usize) -> Option<&'a [u8]> {
        self.bytes.get(..n)
    }

    /// Says so; false, that the packet ended before its time.
    fn incomplete(self, out: &mut String) -> bool {
        put(out, format_args!("INCOMPLETE [{} bytes] ", self.len));
        false
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn addr(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32_at(bytes, at))
}

fn options(out: &mut String, bytes: &[u8]) {
    out.push_str("OPT (");
    for byte in bytes {
        put(out, format_args!("{byte:02X}"));
    }
    out.push_str(") ");
}

/// The packet itself (`outer`), or the one that an ICMP error quotes. False: nothing follows in the line.
fn ipv4(out: &mut String, packet: Packet<'_>, flags: u8, outer: bool) -> bool {
    let Some(ip) = packet.head(20) else {
        out.push_str("TRUNCATED");
        return false;
    };
    put(out, format_args!("SRC={} DST={} ", addr(ip, 12), addr(ip, 16)));
    let (tos, fragment) = (ip[1], u16_at(ip, 6));
    put(
        out,
        format_args!(
            "LEN={} TOS=0x{:02X} PREC=0x{:02X} TTL={} ID={} ",
            u16_at(ip, 2),
            tos & 0x1e,
            tos & 0xe0,
            ip[8],
            u16_at(ip, 4)
        ),
    );
    for (bit, name) in [(0x8000, "CE "), (0x4000, "DF "), (0x2000, "MF ")] {
        if fragment & bit != 0 {
            out.push_str(name);
        }
    }
    let offset = fragment & 0x1fff;
    if offset != 0 {
        put(out, format_args!("FRAG:{offset} "));
    }
    let header = usize::from(ip[0] & 15) * 4;
    if flags & IP_OPTIONS != 0 && header > 20 {
        let Some(all) = packet.head(header) else {
            out.push_str("TRUNCATED");
            return false;
        };
        options(out, &all[20..]);
    }
    let upper = packet.after(header);
    let first = offset == 0;
    match ip[9] {
        6 => return tcp(out, upper, flags, first),
        17 => return udp(out, "UDP", upper, first),
        136 => return udp(out, "UDPLITE", upper, first),
        1 => icmp(out, upper, flags, first, outer),
        // Of a later fragment not even the name.
        51 if first => security(out, "AH", upper, first, 12, 4),
        51 => {}
        50 => security(out, "ESP", upper, first, 8, 0),
        other => put(out, format_args!("PROTO={other} ")),
    }
    true
}

/// False: nothing follows in the line.
fn tcp(out: &mut String, tcp: Packet<'_>, flags: u8, first: bool) -> bool {
    out.push_str("PROTO=TCP ");
    if !first {
        return true;
    }
    let Some(h) = tcp.head(20) else { return tcp.incomplete(out) };
    put(out, format_args!("SPT={} DPT={} ", u16_at(h, 0), u16_at(h, 2)));
    if flags & TCP_SEQUENCE != 0 {
        put(out, format_args!("SEQ={} ACK={} ", u32_at(h, 4), u32_at(h, 8)));
    }
    put(out, format_args!("WINDOW={} RES=0x{:02x} ", u16_at(h, 14), (h[12] & 0x0e) << 2));
    // Linux 6.15 and later: the last of the reserved bits has a name.
    if h[12] & 1 != 0 {
        out.push_str("AE ");
    }
    let names = [
        (0x80, "CWR "),
        (0x40, "ECE "),
        (0x20, "URG "),
        (0x10, "ACK "),
        (8, "PSH "),
        (4, "RST "),
        (2, "SYN "),
        (1, "FIN "),
    ];
    for (bit, name) in names {
        if h[13] & bit != 0 {
            out.push_str(name);
        }
    }
    put(out, format_args!("URGP={} ", u16_at(h, 18)));
    let header = usize::from(h[12] >> 4) * 4;
    if flags & TCP_OPTIONS != 0 && header > 20 {
        match tcp.head(header) {
            Some(all) => options(out, &all[20..]),
            None => {
                out.push_str("OPT (TRUNCATED)");
                return false;
            }
        }
    }
    true
}

/// False: nothing follows in the line.
fn udp(out: &mut String, name: &str, udp: Packet<'_>, first: bool) -> bool {
    put(out, format_args!("PROTO={name} "));
    if !first {
        return true;
    }
    let Some(h) = udp.head(8) else { return udp.incomplete(out) };
    put(out, format_args!("SPT={} DPT={} LEN={} ", u16_at(h, 0), u16_at(h, 2), u16_at(h, 4)));
    true
}

/// AH and ESP: a header of `size` bytes with the SPI at `spi`.
fn security(out: &mut String, name: &str, packet: Packet<'_>, first: bool, size: usize, spi: usize) {
    put(out, format_args!("PROTO={name} "));
    if !first {
        return;
    }
    let Some(h) = packet.head(size) else {
        packet.incomplete(out);
        return;
    };
    put(out, format_args!("SPI=0x{:x} ", u32_at(h, spi)));
}

fn icmp(out: &mut String, icmp: Packet<'_>, flags: u8, first: bool, outer: bool) {
    const QUOTING: usize = 8 + 20;
    out.push_str("PROTO=ICMP ");
    if !first {
        return;
    }
    let Some(head) = icmp.head(8) else {
        icmp.incomplete(out);
        return;
    };
    let (kind, code) = (head[0], head[1]);
    put(out, format_args!("TYPE={kind} CODE={code} "));
    let required = match kind {
        0 | 8 => 4,
        3 | 4 | 5 | 11 | 12 => QUOTING,
        13 | 14 => 20,
        17 | 18 => 12,
        _ => 4,
    };
    if icmp.len < required {
        icmp.incomplete(out);
        return;
    }
    match kind {
        0 | 8 => put(out, format_args!("ID={} SEQ={} ", u16_at(head, 4), u16_at(head, 6))),
        12 => put(out, format_args!("PARAMETER={} ", head[4])),
        5 => put(out, format_args!("GATEWAY={} ", addr(head, 4))),
        _ => {}
    }
    if matches!(kind, 3 | 4 | 5 | 11) {
        if outer {
            out.push('[');
            ipv4(out, icmp.after(8), flags, false);
            out.push_str("] ");
        }
        if kind == 3 && code == 4 {
            put(out, format_args!("MTU={} ", u16_at(head, 6)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpftables_abi::event::{EventHead, KIND_LOG};
    use zerocopy::FromZeros;

    fn event(packet: &[u8], prefix: &str, flags: u8) -> Event {
        let mut event = Event::new_zeroed();
        event.head = EventHead {
            kind: KIND_LOG,
            hook: 1,
            mac_len: 14,
            ifin: 2,
            len: packet.len() as u32,
            captured: packet.len() as u32,
            mac: [2, 0, 0, 1, 0, 0, 2, 0, 0, 2, 0, 0, 8, 0, 0, 0],
            ..EventHead::new_zeroed()
        };
        (event.params.level, event.params.flags) = (4, flags);
        event.params.prefix[..prefix.len()].copy_from_slice(prefix.as_bytes());
        event.packet[..packet.len()].copy_from_slice(packet);
        event
    }

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap()).collect()
    }

    #[test]
    fn lines_are_the_kernels() {
        let mut count = 0;
        for recorded in [include_str!("../fixtures/log-lines.txt"), include_str!("../fixtures/log-lines6.txt")] {
            let lines: Vec<&str> = recorded.lines().filter(|line| !line.starts_with('#')).collect();
            for pair in lines.chunks(2) {
                let [packet, told] = pair else { panic!("a packet without a line: {pair:?}") };
                let packet = bytes(packet);
                let mut event = event(&packet, "", TCP_SEQUENCE | TCP_OPTIONS | IP_OPTIONS | 0x08);
                let (prefix, _) = told.split_at(told.find("IN=").expect("a line of LOG"));
                event.params.prefix[..prefix.len()].copy_from_slice(prefix.as_bytes());
                event.head.mac[12..14].copy_from_slice(if packet[0] >> 4 == 6 { &[0x86, 0xdd] } else { &[8, 0] });
                assert_eq!(line(&event, "a0", ""), *told);
                count += 1;
            }
        }
        assert_eq!(count, 12 + 26);
    }

    #[test]
    fn the_link_header_the_owner_and_the_mark_are_told_as_the_kernel_does() {
        let packet = bytes("45000017000100004011666f0a3200020a320001313233");
        assert_eq!(
            line(&event(&packet, "", MACDECODE), "a0", ""),
            "IN=a0 OUT= MACSRC=02:00:00:02:00:00 MACDST=02:00:00:01:00:00 MACPROTO=0800 SRC=10.50.0.2 DST=10.50.0.1 LEN=23 \
             TOS=0x00 PREC=0x00 TTL=64 ID=1 PROTO=UDP INCOMPLETE [3 bytes] "
        );
        let packet = bytes("450000214e2140004011d8490a3200010a320002115c1e61000d000068656c6c6f");
        let mut out = event(&packet, "out: ", 0x08);
        (out.head.ifin, out.head.ifout, out.head.mac_len, out.head.owned, out.head.mark) = (0, 2, 0, 1, 0x2a);
        assert_eq!(
            line(&out, "", "a0"),
            "out: IN= OUT=a0 SRC=10.50.0.1 DST=10.50.0.2 LEN=33 TOS=0x00 PREC=0x00 TTL=64 ID=20001 DF PROTO=UDP SPT=4444 \
             DPT=7777 LEN=13 UID=0 GID=0 MARK=0x2a "
        );
    }

    #[test]
    fn a_traced_packet_is_told_with_its_place() {
        let packet = bytes("450000214e2140004011d8490a3200010a320002115c1e61000d000068656c6c6f");
        let mut event = event(&packet, "CUSTOM", 0x0f);
        (event.head.kind, event.table, event.number) = (KIND_TRACE, 3, 7);
        for (what, name) in [(trace::RULE, "rule"), (trace::RETURN, "return"), (trace::POLICY, "policy")] {
            event.what = what;
            let line = line(&event, "a0", "");
            assert!(line.starts_with(&format!("TRACE: filter:CUSTOM:{name}:7 IN=a0 OUT= MAC=")), "{line}");
        }
    }

    #[test]
    fn what_is_cut_short_is_no_error() {
        let whole = bytes(
            "4500003d00010000400166590a3200020a3200010304000000000578450000210009000040115d7f0a3200010a09090914e9270f",
        );
        for cut in 0..whole.len() {
            let text = line(&event(&whole[..cut], "", 0xff), "a0", "");
            assert!(text.starts_with("IN=a0 OUT= "), "{text}");
        }
    }
}
