//! Matches that ask where a packet comes from and goes to.

use super::Place;
use super::draw::Draw;
use super::matches::incoming;
use crate::world::Family;

/// Whether an answer would go where it came from.
pub(super) fn rpfilter(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    let mut out = "-m rpfilter".to_owned();
    for word in [" --loose", " --validmark", " --accept-local", " --invert"] {
        if draw.percent(30) {
            out += word;
        }
    }
    (place.only(&["PREROUTING"]) && place.table != "nat").then_some(out)
}

/// The group of its device.
pub(super) fn devgroup(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    let group = draw.pick(&["0", "5", "0x105", "0x5/0xff"]);
    let side = match (incoming(place), place.only(&["FORWARD", "OUTPUT", "POSTROUTING"])) {
        (true, true) => draw.pick(&["--src-group", "--dst-group"]),
        (true, false) => "--src-group",
        (false, true) => "--dst-group",
        _ => return None,
    };
    Some(format!("-m devgroup {}{side} {group}", draw.not()))
}

/// The realm of its route.
pub(super) fn realm(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    let place_ok = place.only(&["FORWARD", "OUTPUT", "POSTROUTING"]);
    (place.family == Family::V4 && place_ok)
        .then(|| format!("-m realm {}--realm {}", draw.not(), draw.pick(&["5", "0", "0x5/0xf"])))
}

/// The ports of a bridge, where packets have any.
pub(super) fn physdev(draw: &mut Draw, place: &Place<'_>) -> Option<String> {
    let mut of =
        vec!["--physdev-in eth0", "--physdev-in eth1", "--physdev-in eth+", "--physdev-is-in", "--physdev-is-bridged"];
    // Legacy refuses it where packets begin.
    if place.only(&["FORWARD", "POSTROUTING"]) {
        of.extend(["--physdev-out eth1", "--physdev-is-out"]);
    }
    Some(format!("-m physdev {}{}", draw.not(), draw.pick(&of)))
}
