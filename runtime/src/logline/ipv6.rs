//! IPv6 in a line of LOG: the fixed header, extension headers, and what they lead to.

use super::{IP_OPTIONS, Packet, put, tcp, u16_at, u32_at, udp};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const ESP: u8 = 50;
const AUTH: u8 = 51;
const DESTINATION: u8 = 60;

/// The packet itself (`outer`), or the one that an ICMPv6 error quotes. False: nothing follows in the line.
pub(super) fn dump(out: &mut String, packet: Packet<'_>, flags: u8, outer: bool) -> bool {
    let Some(ip) = packet.head(40) else {
        out.push_str("TRUNCATED");
        return false;
    };
    out.push_str("SRC=");
    addr(out, &ip[8..24]);
    out.push_str(" DST=");
    addr(out, &ip[24..40]);
    let first = u32_at(ip, 0);
    // A large segment of TCP says no length.
    let length = match u16_at(ip, 4) {
        0 if packet.len > 40 + usize::from(u16::MAX) => packet.len,
        length => 40 + usize::from(length),
    };
    put(
        out,
        format_args!(" LEN={length} TC={} HOPLIMIT={} FLOWLBL={} ", first >> 20 & 0xff, ip[7], first & 0x000f_ffff),
    );
    let mut walk = Walk { rest: packet.after(40), next: ip[6], later: false };
    if !walk.run(out, flags & IP_OPTIONS != 0) {
        return false;
    }
    let Walk { rest, next, later } = walk;
    match next {
        6 => tcp(out, rest, flags, !later),
        17 => udp(out, "UDP", rest, !later),
        136 => udp(out, "UDPLITE", rest, !later),
        58 => icmp(out, rest, flags, !later, outer),
        other => {
            put(out, format_args!("PROTO={other} "));
            true
        }
    }
}

/// All eight groups with all their zeros.
fn addr(out: &mut String, octets: &[u8]) {
    for (index, two) in octets.chunks(2).enumerate() {
        put(out, format_args!("{}{:02x}{:02x}", if index == 0 { "" } else { ":" }, two[0], two[1]));
    }
}

/// A walk over extension headers.
struct Walk<'a> {
    rest: Packet<'a>,
    next: u8,
    /// A fragment header with an offset was met.
    later: bool,
}

impl Walk<'_> {
    /// `told`: with `--log-ip-options`. False: the line ends here.
    fn run(&mut self, out: &mut String, told: bool) -> bool {
        while matches!(self.next, HOP_BY_HOP | ROUTING | FRAGMENT | ESP | AUTH | DESTINATION) {
            let Some(head) = self.rest.head(2) else {
                out.push_str("TRUNCATED");
                return false;
            };
            let (next, units) = (head[0], usize::from(head[1]));
            if told {
                out.push_str("OPT ( ");
            }
            let length = match self.next {
                FRAGMENT => {
                    if !self.fragment(out) {
                        return false;
                    }
                    8
                }
                AUTH => {
                    if told && !self.security(out, "AH ", 12, 4) {
                        return false;
                    }
                    (units + 2) * 4
                }
                ESP => {
                    // What is behind it nobody can read.
                    if told && self.security(out, "ESP ", 8, 0) {
                        out.push(')');
                    }
                    return false;
                }
                _ if self.later => {
                    if told {
                        out.push(')');
                    }
                    return false;
                }
                _ => (units + 1) * 8,
            };
            if told {
                out.push_str(") ");
            }
            (self.rest, self.next) = (self.rest.after(length), next);
        }
        true
    }

    fn fragment(&mut self, out: &mut String) -> bool {
        out.push_str("FRAG:");
        let Some(h) = self.rest.head(8) else {
            out.push_str("TRUNCATED ");
            return false;
        };
        let field = u16_at(h, 2);
        put(out, format_args!("{} ", field & 0xfff8));
        if field & 1 != 0 {
            out.push_str("INCOMPLETE ");
        }
        put(out, format_args!("ID:{:08x} ", u32_at(h, 4)));
        self.later |= field & 0xfff8 != 0;
        true
    }

    /// A header of `size` bytes with the SPI at `spi`.
    fn security(&self, out: &mut String, name: &str, size: usize, spi: usize) -> bool {
        out.push_str(name);
        if self.later {
            out.push(')');
            return false;
        }
        let Some(h) = self.rest.head(size) else {
            self.rest.incomplete(out);
            out.push(')');
            return false;
        };
        put(out, format_args!("SPI=0x{:x} ", u32_at(h, spi)));
        true
    }
}

fn icmp(out: &mut String, icmp: Packet<'_>, flags: u8, first: bool, outer: bool) -> bool {
    out.push_str("PROTO=ICMPv6 ");
    if !first {
        return true;
    }
    let Some(head) = icmp.head(8) else { return icmp.incomplete(out) };
    put(out, format_args!("TYPE={} CODE={} ", head[0], head[1]));
    match head[0] {
        128 | 129 => put(out, format_args!("ID={} SEQ={} ", u16_at(head, 4), u16_at(head, 6))),
        4 => put(out, format_args!("POINTER={:08x} ", u32_at(head, 4))),
        _ => {}
    }
    if matches!(head[0], 1..=4) {
        if outer {
            out.push('[');
            dump(out, icmp.after(8), flags, false);
            out.push_str("] ");
        }
        if head[0] == 2 {
            put(out, format_args!("MTU={} ", u32_at(head, 4)));
        }
    }
    true
}
