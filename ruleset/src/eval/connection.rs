//! What a connection carries: `-m connbytes` (`xt_connbytes.c`) and `-m connlabel` (`xt_connlabel.c`).

use super::packet::{Ct, Packet};
use crate::matches::connbytes::{Connbytes, ConnbytesDirection, ConnbytesMode};
use crate::matches::connlabel::Connlabel;

/// Whether `-m connbytes` holds: not for a connection that was not counted from its beginning.
#[must_use]
pub fn connbytes(m: &Connbytes, packet: &Packet) -> bool {
    let Ct::Connection(ct) = &packet.ct else { return false };
    let Some([there, back]) = ct.carried else { return false };
    let (packets, bytes) = match m.direction {
        ConnbytesDirection::Original => there,
        ConnbytesDirection::Reply => back,
        ConnbytesDirection::Both => (there.0.wrapping_add(back.0), there.1.wrapping_add(back.1)),
    };
    let what = match m.mode {
        ConnbytesMode::Packets => packets,
        ConnbytesMode::Bytes => bytes,
        ConnbytesMode::AveragePacket => bytes.checked_div(packets).unwrap_or(0),
    };
    if m.to >= m.from { (m.from..=m.to).contains(&what) } else { what < m.to || what > m.from }
}

/// Whether `-m connlabel` holds; with `--set` the label is there afterwards. A connection that was made before any rule asked has no labels.
pub fn connlabel(m: &Connlabel, packet: &mut Packet) -> bool {
    let Ct::Connection(ct) = &mut packet.ct else { return m.invert };
    let Some(labels) = &mut ct.labels else { return m.invert };
    let bit = 1u128 << (m.bit & 127);
    if m.set {
        *labels |= bit;
    }
    (*labels & bit != 0) != m.invert
}
