//! `-m conntrack` (`xt_conntrack.c`).

use super::ip::addr;
use super::packet::{Ct, Packet};
use crate::matches::Conntrack;

/// The state first; a packet without a connection is asked nothing more, and fails unless the state was asked for.
pub(super) fn holds(m: &Conntrack, packet: &Packet) -> bool {
    if let Some((states, invert)) = m.state
        && (packet.state_bits() & states.0 != 0) == invert
    {
        return false;
    }
    let Ct::Connection(ct) = &packet.ct else { return m.state.is_some() };
    let addrs = [
        (&m.orig_src, ct.original.src),
        (&m.orig_dst, ct.original.dst),
        (&m.repl_src, ct.answer.src),
        (&m.repl_dst, ct.answer.dst),
    ];
    let ports = [
        (m.orig_src_port, ct.original.sport),
        (m.orig_dst_port, ct.original.dport),
        (m.repl_src_port, ct.answer.sport),
        (m.repl_dst_port, ct.answer.dport),
    ];
    m.direction_original.is_none_or(|original| original != ct.reply)
        && addrs.iter().all(|(asked, is)| asked.as_ref().is_none_or(|m| addr(m, *is)))
        && m.proto.is_none_or(|(proto, invert)| (ct.proto == proto) != invert)
        && ports.iter().all(|(asked, is)| asked.is_none_or(|(range, invert)| range.contains(*is) != invert))
        && m.status.is_none_or(|(bits, invert)| (u32::from(bits.0) & ct.status != 0) != invert)
        && m.expires.is_none_or(|(lo, hi, invert)| (lo <= ct.expires && ct.expires <= hi) != invert)
}
